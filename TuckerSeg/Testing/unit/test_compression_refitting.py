"""Anchored refit: layers fitted once more behind the inputs that they really get."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from TuckerSegLib.compression.calibration import calibrate
from TuckerSegLib.compression.layers import convolutions
from TuckerSegLib.compression.logit_distance import distance
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.compression.tucker.layers import build, composed, fill
from TuckerSegLib.compression.tucker.method import Spec, apply, plan
from TuckerSegLib.compression.tucker.refit import refit_network
from TuckerSegLib.errors import SpecError

pytestmark = pytest.mark.slow

PATCH = (16, 16, 16)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(conv, nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01))


@pytest.fixture(params=[16, 28], ids=["taps told apart", "too many taps to tell apart"])
def network(request, monkeypatch) -> nn.Module:
    width = request.param
    monkeypatch.setattr("TuckerSegLib.compression.sampling.MOST_TAP_CHANNELS", 27 * 27)
    torch.manual_seed(3)
    layers = [block(1, width), block(width, 24), block(24, 32, 2), nn.ConvTranspose3d(32, width, 2, 2)]
    return nn.Sequential(*layers, block(width, 16), nn.Conv3d(16, 9, 1)).eval().requires_grad_(False)


@pytest.fixture
def patches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 4, 4, 4, generator=generator) for _ in range(5)]
    return [nn.functional.interpolate(each, size=PATCH, mode="trilinear") for each in rough]


@pytest.fixture
def calibration(network, patches):
    return calibrate(network, patches)


def compressed(network, calibration, ratio=0.5):
    basis = CalibratedBasis.from_network(network, calibration)
    changes = plan(network, Spec(ratio, rank_multiple=4, minimum_rank=4), PATCH)
    smaller = copy.deepcopy(network)
    apply(smaller, changes, basis)
    return smaller, changes


def test_a_refit_brings_the_outputs_nearer(network, calibration, patches):
    smaller, changes = compressed(network, calibration)
    before = distance(network, smaller, patches[-1:])
    errors = refit_network(network, smaller, changes, calibration, patches, held_back=1)
    assert distance(network, smaller, patches[-1:]) < 0.95 * before
    assert list(errors) == [change.path for change in changes if change.skipped_because is None]
    assert all(after <= first for first, after in errors.values())
    first, after = errors["4.0"]
    assert after < first, "the last layer, behind three that changed"


def test_a_transposed_convolution_makes_up_for_what_came_before(network, calibration, patches):
    smaller, changes = compressed(network, calibration, 0.3)
    (path,) = (path for path, conv in convolutions(network).items() if conv.transposed)
    assert next(change for change in changes if change.path == path).details["ranks"]
    errors = refit_network(network, smaller, changes, calibration, patches, held_back=1)
    assert errors[path][1] < errors[path][0]


def test_where_inputs_are_the_originals_hardly_anything_changes(network, patches, calibration):
    """The first compressed layer alone: at the rank of its weight the anchor and the outputs want the same."""
    conv = convolutions(network)["1.0"]
    weight = conv.weight
    torch.nn.init.zeros_(weight)
    weight[:8, :8] = torch.randn(8, 8, 3, 3, 3) / 10
    calibration = calibrate(network, patches)
    basis = CalibratedBasis.from_network(network, calibration)
    spec = Spec(0.5, rank_mode="fixed", minimum_rank=8, keep_if_not_cheaper=False)
    changes = [change for change in plan(network, spec, PATCH) if change.path == "1.0"]
    smaller = copy.deepcopy(network)
    apply(smaller, changes, basis)
    refit_network(network, smaller, changes, calibration, patches, held_back=1)
    found = composed(smaller.get_submodule("1.0"), conv, TuckerDetails.from_change(changes[0]))
    torch.testing.assert_close(found, weight, atol=2e-3, rtol=0)


def test_layers_stand_for_the_weight_that_their_factors_make():
    generator = torch.Generator().manual_seed(0)
    for conv in (nn.Conv3d(6, 8, 3), nn.ConvTranspose3d(6, 8, 2, 2)):
        taps = conv.kernel_size
        for ranks in ((4, 3), (8, 3), (4, 6)):
            details = TuckerDetails(ranks, merged=True)
            layers = build(conv, details)
            core = torch.randn(*ranks, *taps, generator=generator)
            outer = [torch.randn(size, rank, generator=generator) for size, rank in zip((8, 6), ranks)]
            fill(layers, conv, details, core, *outer)
            expected = torch.einsum("or,rs...,is->oi...", outer[0], core, outer[1])
            torch.testing.assert_close(composed(layers, conv, details), expected)


def test_patches_to_fit_to_and_to_measure_on_are_both_needed(network, calibration, patches):
    smaller, changes = compressed(network, calibration)
    for held_back in (0, len(patches)):
        with pytest.raises(SpecError, match="measures on others"):
            refit_network(network, smaller, changes, calibration, patches, held_back)
