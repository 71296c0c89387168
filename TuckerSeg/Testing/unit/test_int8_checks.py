"""Settings, evidence, details and values of INT8 are checked, and refused by name."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from Testing.unit.quantizable_networks import Block, made, patches_of, prepared, quantized
from TuckerSegLib.compression import int8
from TuckerSegLib.compression.calibration import Calibration, calibrate
from TuckerSegLib.errors import ModelFileError, SpecError


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return made()


@pytest.fixture(scope="module")
def patches() -> list[torch.Tensor]:
    return patches_of(3)


@pytest.fixture(scope="module")
def calibration(network, patches) -> Calibration:
    return calibrate(network, patches)


@pytest.fixture(scope="module")
def material(network, calibration):
    return prepared(network, calibration)


def test_evidence_of_two_networks_adds_up(material):
    both = material.evidence.plus(material.evidence)
    assert both.errors["last.0"] == 2 * material.evidence.errors["last.0"]


@pytest.mark.parametrize(
    "setting",
    [
        {"float_share": -0.1},
        {"float_share": 1.1},
        {"float_share": float("nan")},
        {"float_share": "all"},
        {"float_share": True},
        {"layers": "down.0"},
        {"layers": ["a", "a"]},
        {"layers": [1]},
        {"keep_pointwise": 1},
        {"calibration": 7},
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting):
    with pytest.raises(SpecError, match=next(iter(setting))):
        int8.Spec(**setting)


def test_without_ranges_it_is_told_what_to_do(network, calibration):
    def prepare(moments):
        return int8.prepare(network, int8.Spec(), moments, lambda facts, make, read: read(make()))

    with pytest.raises(SpecError, match="calibrate on a volume"):
        prepare(None)
    tensors = calibration.to_tensors()
    early = Calibration.from_tensors({name: each for name, each in tensors.items() if "magnitudes" not in name})
    with pytest.raises(SpecError, match="Calibrate again"):
        prepare(early)
    with pytest.raises(SpecError, match="another network"):
        int8.prepare(Block(1, 8).append(Block(8, 8)), int8.Spec(), calibration, lambda facts, make, read: read(make()))


def test_details_and_values_of_a_file_are_checked(network, material):
    smaller, changes = quantized(network, material)
    for parts in ([16, 15], [], [0, 32], "32", None, [16.0, 16.0], [True] * 32, [1] * 200):
        wrong = [replace(change, details={"parts": parts}) if change.path == "last.0" else change for change in changes]
        with pytest.raises(ModelFileError, match=r"last\.0.*parts"):
            int8.apply(copy.deepcopy(network), wrong)
    with pytest.raises(SpecError, match="no such layer"):
        int8.apply(copy.deepcopy(network), [replace(changes[1], path="nowhere")])
    weights = {**dict(smaller.named_parameters()), **dict(smaller.named_buffers())}
    int8.check_weights(changes, weights)
    for name, values in (
        ("weight_scale", torch.zeros(8)),
        ("weight_scale", torch.full((8,), float("inf"))),
        ("input_scale", torch.tensor([1.0, -1.0])),
        ("input_scale", torch.tensor([1.0, float("nan")])),
        ("input_zero_point", torch.tensor([0, 256], dtype=torch.int32)),
        ("input_zero_point", torch.tensor([-1, 0], dtype=torch.int32)),
        ("weight", torch.full((8, 32, 3, 3, 3), -128, dtype=torch.int8)),
    ):
        with pytest.raises(ModelFileError, match=rf"last\.0\.{name}"):
            int8.check_weights(changes, {**weights, f"last.0.{name}": values})
