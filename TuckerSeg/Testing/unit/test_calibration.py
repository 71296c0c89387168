"""Calibration: the moments of every convolution, as patches show them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from Testing.unit.calibrated_blocks import Block, logit_error, made, patches_of
from TuckerSegLib.compression.calibration import Calibration, calibrate
from TuckerSegLib.compression.magnitudes import histogram_of
from TuckerSegLib.compression.sampling import neighborhoods, sample_positions
from TuckerSegLib.compression.second_moments import gram, variances, voxel_gram
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.errors import ModelFileError, SpecError

pytestmark = pytest.mark.slow


@pytest.fixture
def network() -> nn.Module:
    return made()


@pytest.fixture
def patches() -> list[torch.Tensor]:
    return patches_of(3)


@pytest.fixture
def calibration(network, patches) -> Calibration:
    return calibrate(network, patches)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(3, 4, 3, padding=1),
        nn.Conv3d(3, 4, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.Conv3d(3, 4, 3, stride=2, dilation=2, padding=2),
        nn.Conv3d(3, 4, 3, padding="same", dilation=2),
    ],
    ids=str,
)
def test_a_convolution_is_its_weight_times_its_neighborhoods(conv):
    values = torch.randn(1, 3, 7, 8, 9)
    expected = conv(values)
    positions = sample_positions(conv, values, 50, torch.Generator().manual_seed(0))
    found = neighborhoods(conv, values, positions) @ conv.weight.flatten(1).T + conv.bias
    torch.testing.assert_close(found, expected.flatten(2)[0][:, positions].T)


def test_sampled_positions_are_all_where_there_are_few():
    conv, values = nn.Conv3d(1, 1, 3), torch.randn(1, 1, 5, 5, 5)
    assert sample_positions(conv, values, 100, torch.Generator()).tolist() == list(range(27))


@pytest.mark.parametrize("shape", [(5, 9), (63, 20), (200, 30), (1000, 7)])
def test_a_gram_matrix_is_the_product_with_the_transpose(shape):
    rows = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(gram(rows), rows @ rows.T)
    torch.testing.assert_close(gram(rows.T.contiguous().T), rows @ rows.T)


@pytest.mark.parametrize(
    ("shape", "most"),
    [((9, 9, 9), 100), ((80, 80, 80), 4096), ((20, 21, 22), 4096), ((3, 50, 60), 1000), ((5000, 1, 1), 999)],
)
def test_sampled_positions_differ_and_are_spread_evenly(shape, most):
    conv, values = nn.Conv3d(1, 1, 1), torch.empty(1, 1, *shape)
    positions = sample_positions(conv, values, most, torch.Generator().manual_seed(0))
    assert 0.8 * most <= len(positions) <= most
    assert (positions.diff() > 0).all()
    assert positions[0] >= 0
    assert positions[-1] < math.prod(shape)
    for axis, size in enumerate(shape):
        along = torch.unravel_index(positions, shape)[axis]
        shares = torch.histc(along.float(), bins=min(size, 3), min=0, max=size) / len(positions)
        assert shares.max() < 1.6 * shares.min()


def test_values_of_half_precision_have_the_histogram_of_the_same_values_in_single():
    values = torch.cat([torch.randn(3, 4000) * 10.0**power for power in range(-5, 5)], dim=1)
    halves = torch.cat([values, torch.zeros(3, 1), -torch.zeros(3, 1)], dim=1).bfloat16()[None, :, :, None, None]
    assert torch.equal(histogram_of(halves), histogram_of(halves.float()))


def test_moments_of_maps_larger_than_a_piece_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("TuckerSegLib.compression.second_moments.VALUES_AT_ONCE", 64)
    values = torch.randn(2, 5, 3, 4, 6) + 3
    flat = values.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(voxel_gram(values).double(), flat @ flat.T, rtol=1e-5, atol=1e-4)
    expected = values.double().flatten(2).var(dim=2, correction=0).mean(dim=0)
    torch.testing.assert_close(variances(values).double(), expected, rtol=1e-5, atol=1e-6)


def test_something_may_be_done_after_each_patch(network, patches):
    done = []
    calibrate(network, patches, after_patch=lambda: done.append(len(done)))
    assert len(done) == len(patches)


def test_the_variance_is_that_of_the_outputs(network, patches, calibration):
    outputs = []
    handle = network.get_submodule("2.0").register_forward_hook(lambda *call: outputs.append(call[2]))
    for patch in patches:
        network(patch)
    handle.remove()
    expected = torch.stack([each.double().flatten(2)[0].var(dim=1, correction=0) for each in outputs]).mean(dim=0)
    torch.testing.assert_close(calibration.layers["2.0"].variance, expected, rtol=1e-4, atol=1e-9)


def test_the_predicted_error_of_a_small_change_is_what_the_logits_show(network, patches, calibration):
    """First order: the Gauss-Newton norm against the change itself, for one layer at a time."""
    generator = torch.Generator().manual_seed(11)
    basis = CalibratedBasis.from_network(network, calibration)
    for path in ("1.0", "2.0", "3", "4.0"):
        changed = copy.deepcopy(network)
        weight = changed.get_submodule(path).weight
        weight = weight.transpose(0, 1) if path == "3" else weight
        ratios = []
        for _ in range(4):  # random changes: what they do varies, their mean is foretold
            original = basis.weights[path]
            moved = original + 1e-3 * original.std() * torch.randn(original.shape, generator=generator)
            weight.copy_(moved)
            foretold = basis.layer(path).error_of(moved) / calibration.logit_energy
            ratios.append(logit_error(network, changed, patches) / foretold)
        assert 0.3 < sum(ratios) / len(ratios) < 3, path


def test_the_logit_energy_is_that_of_the_logits(network, patches, calibration):
    energies = []
    for patch in patches:
        logits = network(patch)
        energies.append(float((logits - logits.mean(dim=1, keepdim=True)).square().sum()))
    assert calibration.logit_energy == pytest.approx(sum(energies) / len(energies), rel=1e-4)


def test_a_network_without_a_head_is_calibrated_on_its_outputs(patches):
    torch.manual_seed(1)
    network = nn.Sequential(Block(1, 8), Block(8, 8)).eval().requires_grad_(False)
    found = calibrate(network, patches)
    assert found.logit_energy > 0
    assert set(found.layers) == {"0.0", "1.0"}


def test_calibrating_leaves_the_network_as_it_is(network, patches):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    output = network(patches[0])
    calibrate(network, patches)
    assert torch.equal(network(patches[0]), output)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_the_same_patches_give_the_same_calibration_and_others_another(network, patches, calibration):
    assert calibrate(network, patches).sha256 == calibration.sha256
    assert calibrate(network, patches[:2]).sha256 != calibration.sha256
    assert calibrate(network, patches, seed=1).sha256 != calibration.sha256


def test_passes_in_half_the_bits_give_nearly_the_same_moments(network, patches, calibration):
    found = calibrate(network, patches, precision="bf16")
    assert found.sha256 != calibration.sha256
    assert found.logit_energy == pytest.approx(calibration.logit_energy, rel=0.03)
    for path, layer in calibration.layers.items():
        for name in ("inputs", "outputs", "variance"):
            expected, half = getattr(layer, name), getattr(found.layers[path], name)
            assert half.dtype == torch.float64
            assert torch.linalg.norm(half - expected) <= 0.05 * torch.linalg.norm(expected), (path, name)


def test_merged_calibrations_are_those_of_all_patches(network, patches):
    first, rest = calibrate(network, patches[:1]), calibrate(network, patches[1:])
    merged = first.merged(rest)
    assert merged.patches == 3
    for path, moments in merged.layers.items():
        expected = first.layers[path].inputs / 3 + rest.layers[path].inputs * 2 / 3
        torch.testing.assert_close(moments.inputs, expected)
    other = Calibration({"else": first.layers["1.0"]}, 1.0, 1)
    with pytest.raises(SpecError, match="different networks"):
        first.merged(other)


def test_a_calibration_survives_a_file(calibration):
    tensors = calibration.to_tensors()
    assert Calibration.from_tensors(tensors).sha256 == calibration.sha256
    del tensors["1.0/inputs"]
    with pytest.raises(ModelFileError, match="1.0/inputs"):
        Calibration.from_tensors(tensors)


def test_patches_that_tell_nothing_are_refused(network, patches):
    with pytest.raises(SpecError, match="at least one patch"):
        calibrate(network, [])
    network[-1].weight.zero_()
    network[-1].bias.zero_()
    with pytest.raises(SpecError, match="same output everywhere"):
        calibrate(network, patches)
