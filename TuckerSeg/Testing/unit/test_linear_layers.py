"""Linear layers of transformers are decomposed as kernels of one tap: at each rank there is no better matrix."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from TuckerSegLib.compression import tucker
from TuckerSegLib.compression.calibration import calibrate
from TuckerSegLib.compression.cost import count
from TuckerSegLib.errors import SpecError
from TuckerSegLib.nnunet.primus import Primus
from TuckerSegLib.records.compression import Cost

SHAPE = (16, 16, 16)
LINEAR = "eva.blocks.0.mlp.fc1_x"


@pytest.fixture(scope="module")
def network() -> Primus:
    torch.manual_seed(0)
    network = Primus(1, 3, 24, (8, 8, 8), SHAPE, eva_depth=1, eva_numheads=2).eval()
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network


@pytest.fixture(scope="module")
def patches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 1, *SHAPE, generator=generator) for _ in range(3)]


@pytest.fixture(scope="module")
def moments(network, patches):
    return calibrate(network, patches)


def no_keep(facts, make, read=dict):
    return read(make())


def compressed(network, spec, moments=None):
    material = tucker.prepare(network, spec, moments, no_keep)
    changes = tucker.plan(network, spec, SHAPE, 1, [material])
    smaller = copy.deepcopy(network)
    tucker.apply(smaller, changes, material)
    return smaller, {change.path: change for change in changes}


def weight_of(layers: nn.Sequential) -> torch.Tensor:
    first, second = layers
    return second.weight @ first.weight


def test_by_weights_alone_the_matrix_is_the_truncated_singular_value_decomposition(network):
    smaller, changes = compressed(network, tucker.Spec(0.3))
    original = network.get_submodule(LINEAR).weight
    left, values, right = torch.linalg.svd(original)
    rank = changes[LINEAR].details["ranks"][0]
    expected = left[:, :rank] * values[:rank] @ right[:rank]
    assert changes[LINEAR].details["ranks"] == [8, 24]  # of 64 outputs and 24 inputs: one rank, and all inputs
    torch.testing.assert_close(weight_of(smaller.get_submodule(LINEAR)), expected, rtol=1e-4, atol=1e-4)
    assert smaller.get_submodule(LINEAR)[1].bias is not None
    assert smaller.eva.blocks[0].attn.k_proj[1].bias is None


def test_what_is_counted_is_what_runs(network):
    smaller, changes = compressed(network, tucker.Spec(0.3))
    saved = sum((change.before - change.after for change in changes.values()), Cost(0, 0))
    assert count(network, SHAPE).total - saved == count(smaller, SHAPE).total
    assert changes[LINEAR].before.macs == 8 * 24 * 64
    assert changes[LINEAR].after.macs == 8 * 8 * (24 + 64)


def test_moments_of_a_linear_layer_are_those_of_its_tokens(network, patches, moments):
    seen = []
    handle = network.get_submodule(LINEAR).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    for patch in patches:
        network(patch)
    handle.remove()
    expected = sum(tokens.T @ tokens / len(tokens) for tokens in seen).detach() / len(seen)
    torch.testing.assert_close(moments.layers[LINEAR].inputs.float(), expected, rtol=1e-4, atol=1e-4)
    assert moments.layers[LINEAR].outputs.shape == (64, 64) and moments.layers[LINEAR].outputs.trace() > 0


def test_calibrated_no_matrix_of_this_rank_disturbs_the_outputs_less(network, moments):
    spec = tucker.Spec.given({LINEAR: [8, 24]})
    calibrated, plain = (compressed(network, spec, each)[0].get_submodule(LINEAR) for each in (moments, None))
    original, layer = network.get_submodule(LINEAR).weight.double(), moments.layers[LINEAR]

    # As the factors are solved for: what the few tokens of a test never saw is not free
    outputs, inputs = (
        each + 1e-3 * each.diagonal().mean() * torch.eye(len(each)) for each in (layer.outputs, layer.inputs)
    )

    def error(layers):
        missing = weight_of(layers).detach().double() - original.detach()
        return float((outputs @ missing @ inputs @ missing.T).trace())

    # The optimum in closed form: the whitened matrix, truncated
    lower = [torch.linalg.cholesky(each) for each in (outputs, inputs)]
    best = float(torch.linalg.svdvals(lower[0].T @ original.detach() @ lower[1])[8:].square().sum())
    assert error(calibrated) == pytest.approx(best, rel=1e-3)
    assert error(calibrated) < 0.9 * error(plain)


def test_the_budget_goes_where_an_error_costs_least(network, moments):
    spec = tucker.Spec.at(0.5)
    smaller, changes = compressed(network, spec, moments)
    linear = [change for change in changes.values() if change.kind == "Linear"]
    assert len(linear) == 7
    assert any(change.skipped_because is None for change in linear)
    assert sum(change.after.macs for change in changes.values()) < sum(
        change.before.macs for change in changes.values()
    )
    assert count(smaller, SHAPE).total.macs < count(network, SHAPE).total.macs


def test_two_ranks_of_a_matrix_are_refused(network):
    with pytest.raises(SpecError, match="a linear layer has one rank"):
        compressed(network, tucker.Spec.given({LINEAR: [8, 8]}))


def test_a_refit_leaves_them_as_they_are(network, moments, patches):
    spec = tucker.Spec.given({LINEAR: [8, 24], "up_projection.decode.0.0": [8, 8]})
    smaller, changes = compressed(network, spec, moments)
    before = weight_of(smaller.get_submodule(LINEAR)).clone()
    errors = tucker.refit_network(network, smaller, changes.values(), moments, patches, held_back=1)
    assert list(errors) == ["up_projection.decode.0.0"]
    assert torch.equal(weight_of(smaller.get_submodule(LINEAR)), before)
