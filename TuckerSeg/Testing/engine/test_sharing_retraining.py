"""Retraining of shared weights: a center moves by the sum of its members' gradients, indices stay, moves add up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from TuckerSegLib import compress, image_from_array, load_model
from TuckerSegLib.compression.sharing import Spec
from TuckerSegLib.compression.sharing.details import SharingDetails
from TuckerSegLib.compression.sharing.layers import SharedConv3d
from TuckerSegLib.models.distillation import repair_model
from TuckerSegLib.training.distillation.repair_run import RepairRun
from TuckerSegLib.training.distillation.settings import RepairSettings
from TuckerSegLib.training.tensor_states import parameter_groups, trainable


@pytest.fixture
def layer():
    """One kernel of four taps, whose weights are the centers 1, 3, 1, 1."""
    shared = SharedConv3d(nn.Conv3d(1, 1, (1, 1, 4), bias=False), SharingDetails(2))
    with torch.no_grad():
        shared.weight.copy_(torch.tensor([0, 1, 0, 0], dtype=torch.uint8).view(shared.weight.shape))
        shared.codebook.centers.copy_(torch.tensor([1.0, 3.0]))
    return trainable(shared)


def test_a_center_moves_by_the_sum_of_its_members_gradients_and_moves_add_up(layer):
    """By hand: of the output 1 a + 3 b + 1 c + 1 d with inputs 1, 2, 4, 8 the gradients are (1 + 4 + 8, 2)."""
    inputs = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 1, 1, 1, 4)
    optimizer = torch.optim.SGD([layer.codebook.centers], lr=0.01)
    for step in (1, 2, 3):
        optimizer.zero_grad()
        output = layer(inputs)
        before = torch.tensor([1 - 0.13 * (step - 1), 3 - 0.02 * (step - 1)])
        torch.testing.assert_close(output.flatten(), (13 * before[0] + 2 * before[1])[None])
        output.sum().backward()
        torch.testing.assert_close(layer.codebook.centers.grad, torch.tensor([13.0, 2.0]))
        optimizer.step()
    torch.testing.assert_close(layer.codebook.centers.detach(), torch.tensor([1 - 0.39, 3 - 0.06]))
    torch.testing.assert_close(layer.decoded().weight.flatten(), torch.tensor([0.61, 2.94, 0.61, 0.61]))
    assert layer.weight.flatten().tolist() == [0, 1, 0, 0] and layer.weight.grad is None


def test_centers_have_a_learning_rate_of_their_own(layer):
    network = nn.Sequential(nn.Conv3d(1, 1, 1), layer, nn.Conv3d(1, 1, 1))
    groups = parameter_groups(network, 1.0)
    assert [parameter for group in groups for parameter in group["params"]] == list(network.parameters())
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert rates[layer.codebook.centers] == 0.1 and rates[network[0].weight] == 1.0


@pytest.mark.parametrize("codebook", ["tensor", "global"])
def test_a_repair_moves_centers_and_no_index_and_a_file_keeps_them(make_model_folder, tmp_path, monkeypatch, codebook):
    growing = itertools.count()
    monkeypatch.setattr(RepairRun, "_agreement", lambda run: next(growing) / 100)  # the last weights are kept
    original = load_model(make_model_folder(patch_shape=(16, 16, 16)))
    smaller = compress(original, Spec(8, "pws", codebook), "sharing")
    smooth = nn.functional.interpolate(torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(1)), size=24)
    volume = image_from_array((300 * smooth[0, 0].numpy()).astype(np.int16), spacing_mm=(3, 3, 3))
    settings = RepairSettings(steps=6, check_every=3, voxels=500, learning_rate=2e-2)
    repaired, records = repair_model(smaller, original, [volume], settings, threads=1)
    assert next(iter(records.values())).losses[-1] > 0
    repaired.save(tmp_path / "repaired.tuckerseg")
    read = load_model(tmp_path / "repaired.tuckerseg")
    moved = {name: not torch.equal(value, smaller.weights[name]) for name, value in read.weights.items()}
    assert not any(moved[name] for name, value in read.weights.items() if value.dtype == torch.uint8)
    assert all(moved[name] for name in moved if name.endswith("codebook.centers"))
