"""The compact form of a calibration: small, and nearly the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from TuckerSegLib.compression.calibration import LayerMoments, calibrate
from TuckerSegLib.compression.compact_calibration import _blocks, _moment, from_compact_tensors, to_compact_tensors
from TuckerSegLib.compression.tucker.whitening import WhitenedLayer
from TuckerSegLib.errors import ModelFileError

KERNEL = (3, 1, 2)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv3d(12, 16, 3, 2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose3d(16, 8, 2, 2), nn.Conv3d(8, 5, 1)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def calibration(network):
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 5, 5, 5, generator=generator) for _ in range(3)]
    return calibrate(network, [nn.functional.interpolate(each, size=(16,) * 3, mode="trilinear") for each in rough])


@pytest.fixture(scope="module")
def tensors(network, calibration):
    return to_compact_tensors(calibration, network)


def bytes_of(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def test_it_takes_a_fraction_of_the_bytes(calibration, tensors):
    whole, compact = ({k: v for k, v in t.items() if "magn" not in k} for t in (calibration.to_tensors(), tensors))
    assert bytes_of(compact) < bytes_of(whole) / 6


def test_it_is_nearly_the_same_and_its_moments_have_no_negative_eigenvalue(calibration, tensors):
    again = from_compact_tensors(tensors)
    assert (again.patches, again.logit_energy) == (calibration.patches, calibration.logit_energy)
    assert again.layers.keys() == calibration.layers.keys()
    for path, moments in calibration.layers.items():
        found = again.layers[path]
        assert float((found.inputs - moments.inputs).norm() / moments.inputs.norm()) < 0.15
        assert float(torch.linalg.eigvalsh(found.inputs)[0]) > -1e-5 * float(found.inputs.diagonal().mean())
        torch.testing.assert_close(found.outputs, moments.outputs)
        torch.testing.assert_close(found.magnitudes, moments.magnitudes, atol=1e-4, rtol=1e-3)


def test_factors_of_it_are_far_better_than_those_of_the_weights_alone(network, calibration, tensors):
    blind = LayerMoments(torch.eye(12 * 27).double(), torch.eye(16).double(), None)
    known = (calibration.layers["2"], from_compact_tensors(tensors).layers["2"], blind)
    layers = [WhitenedLayer(network[2].weight, moments) for moments in known]
    whole, compact, alone = (layers[0].error_of(layer.truncated((8, 6)).rebuilt()) for layer in layers)
    assert whole < compact < whole + (alone - whole) / 3


def test_a_moment_of_displacements_alone_comes_back_as_it_was():
    torch.manual_seed(1)
    field = torch.randn(2, 4000)  # what taps of a row see of two channels
    moment = _moment(_blocks(torch.cov(field.repeat_interleave(6, 0)).double(), KERNEL), KERNEL)
    torch.testing.assert_close(_moment(_blocks(moment, KERNEL), KERNEL), moment)
    torch.testing.assert_close(moment, moment.T)


@pytest.mark.parametrize("name", ["2/correlations", "2/kernel", "0/outputs", "whole"])
def test_what_is_missing_is_told(tensors, name):
    lacking = copy.copy(tensors)
    del lacking[name]
    with pytest.raises(ModelFileError, match="damaged"):
        from_compact_tensors(lacking)
