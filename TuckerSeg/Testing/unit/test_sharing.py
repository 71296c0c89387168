"""Weight sharing of networks: what becomes of the kernels, and that errors of one factor are mended by the next."""

from __future__ import annotations

import copy

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from TuckerSegLib.compression import sharing, tucker
from TuckerSegLib.compression.calibration import calibrate
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.heads import drop_unused_heads
from TuckerSegLib.compression.layers import convolutions, decode
from TuckerSegLib.compression.sharing import Spec
from TuckerSegLib.compression.sharing.feedback import chains, restoring
from TuckerSegLib.compression.sharing.layers import SharedConv3d
from TuckerSegLib.errors import Cancelled, ModelFileError, SpecError, UnsupportedModelError
from TuckerSegLib.monitor import Monitor

PATCH = (16, 16, 16)


def unet(features=(8, 16, 32)):
    torch.manual_seed(0)
    network = PlainConvUNet(
        1,
        3,
        features,
        nn.Conv3d,
        3,
        (1, 2, 2),
        1,
        4,
        1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
    )
    drop_unused_heads(network, PATCH, 1)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    return unet()


@pytest.fixture(scope="module")
def patches():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 1, 1, 4, 4, 4, generator=generator)
    return [nn.functional.interpolate(each, PATCH, mode="trilinear") for each in coarse]


@pytest.fixture(scope="module")
def moments(network, patches):
    return calibrate(network, patches)


def make(facts, compute, read=dict):
    return read(compute())


def shared(network, spec, moments=None):
    smaller = copy.deepcopy(network)
    changes = sharing.plan(network, spec, PATCH)
    sharing.apply(smaller, changes, sharing.prepare(network, spec, moments, make, Monitor()))
    return smaller, changes


def difference(network, other, patches):
    with torch.no_grad():
        pairs = [(network(patch), other(patch)) for patch in patches]
    return sum(float((a - b).square().sum() / a.square().sum()) for a, b in pairs)


@pytest.mark.parametrize("codebook", ["global", "tensor"])
@pytest.mark.parametrize("scale", ["none", "tensor", "channel"])
@pytest.mark.parametrize("quantizer", ["cws", "pws", "uq", "ecsq"])
def test_kernels_become_whole_numbers_and_all_else_stays(network, quantizer, codebook, scale):
    smaller, changes = shared(network, Spec(16, quantizer, codebook, scale))
    changed = {change.path for change in changes if change.skipped_because is None}
    assert len(changed) > 5
    for path, conv in convolutions(smaller).items():
        original = network.get_submodule(path)
        assert torch.equal(conv.bias, original.bias)
        if path not in changed:
            assert torch.equal(conv.weight, original.weight)
            continue
        assert conv.weight.dtype == torch.uint8 and conv.weight.shape == original.weight.shape
        assert len(conv.codebook.centers) == 16
        assert float((conv.kernel() - original.weight).square().mean().sqrt()) < 3 * float(original.weight.std())
    books = {id(convolutions(smaller)[path].codebook) for path in changed}
    assert len(books) == (1 if codebook == "global" else len(changed))
    before, after = (count(each, PATCH) for each in (network, smaller))
    assert after.total == sum((c.after - c.before for c in changes), before.total)
    assert after.total.weight_bits == sum(8 * p.numel() * p.element_size() for p in smaller.parameters())
    assert after.total.macs == before.total.macs


def test_a_network_runs_the_same_decoded_and_decoded_it_is_an_ordinary_one(network, patches):
    smaller, _ = shared(network, Spec(64, scale="channel"))
    ordinary = copy.deepcopy(smaller)
    decode(ordinary)
    assert {type(conv) for conv in convolutions(ordinary).values()} == {nn.Conv3d, nn.ConvTranspose3d}
    assert {parameter.dtype for parameter in ordinary.parameters()} == {torch.float32}
    assert 0 < difference(network, smaller, patches) < 0.05
    assert difference(smaller, ordinary, patches) < 1e-9
    assert ordinary.decoder.encoder is ordinary.encoder


def test_more_than_256_values_take_16_bits():
    smaller, changes = shared(unet((16, 32, 32)), Spec(1000))
    kinds = {conv.weight.dtype for conv in convolutions(smaller).values() if isinstance(conv, SharedConv3d)}
    assert kinds == {torch.uint16}
    decode(smaller)


def test_the_structure_is_rebuilt_without_memory(network):
    spec = Spec(16, "uq", "global", "channel")
    smaller, changes = shared(network, spec)
    with torch.device("meta"):
        structure = unet()
    sharing.apply(structure, changes)
    ours, theirs = (dict(each.named_parameters()) for each in (smaller, structure))
    assert {name: (each.shape, each.dtype) for name, each in ours.items()} == {
        name: (each.shape, each.dtype) for name, each in theirs.items()
    }
    assert all(parameter.is_meta for parameter in theirs.values())


def test_strength_says_how_many_bits_and_one_keeps_the_network(network):
    assert [Spec.at(strength).clusters for strength in (0.5, 0.25, 0.75)] == [256, 16, 4096]
    assert Spec.at(0.5).strength == 0.5
    changes = sharing.plan(network, Spec.at(1.0), PATCH)
    assert all(change.skipped_because == "all weights are kept" for change in changes)
    assert Spec(64, "uq").with_strength(0.25) == Spec(16, "uq")


def test_errors_count_as_much_as_they_change_the_logits(network, patches, moments):
    plain, _ = shared(network, Spec(8))
    calibrated, _ = shared(network, Spec(8), moments)
    assert difference(network, calibrated, patches) < 0.6 * difference(network, plain, patches)


def test_the_weights_that_count_least_become_zeros(network):
    smaller, changes = shared(network, Spec(16, "cws", "global", sparsity=0.6))
    paths = [change.path for change in changes if change.skipped_because is None]
    kernels = torch.cat([convolutions(smaller)[path].kernel().flatten() for path in paths])
    originals = torch.cat([network.get_submodule(path).weight.flatten() for path in paths])
    assert float((kernels == 0).float().mean()) == pytest.approx(0.6, abs=0.01)
    assert float(originals[kernels == 0].abs().max()) <= float(originals[kernels != 0].abs().min()) + 1e-6


def test_outputs_are_restored_from_those_of_the_quantized_layer():
    """By hand: outputs that came to half become whole again; what is not told stays as it was."""
    weight = torch.eye(2)[:, :, None]
    quantized = torch.tensor([[0.5, 0.0], [0.0, 0.0]])[:, :, None]
    expected = torch.diag(torch.tensor([2.0, 1.0])).double()
    torch.testing.assert_close(restoring(weight, quantized, None), expected, atol=1e-5, rtol=0)


def test_factors_of_a_tucker_step_mend_each_other(patches):
    network = unet((16, 32, 32))
    spec = tucker.Spec(0.5, rank_multiple=1, minimum_rank=2)
    changes = tucker.plan(network, spec, PATCH)
    tucker.apply(network, changes, tucker.decompose(network))
    chain = next(each for each in chains(network) if len(each) == 3)
    assert [type(network.get_submodule(path)) for path in chain] == [nn.Conv3d] * 3
    found = calibrate(network, patches)
    settings = {"clusters": 4, "quantizer": "uq", "scale": "channel"}
    mended, plan = shared(network, Spec(**settings), found)
    alone = copy.deepcopy(network)
    material = {}
    for path, conv in convolutions(network).items():  # each on its own: no layer follows another
        single = nn.Sequential(conv)
        part = sharing.prepare(single, Spec(**settings), None, make, Monitor())
        material |= {f"{path}/{name.removeprefix('0/')}": value for name, value in part.items()}
    sharing.apply(alone, plan, material)
    assert difference(network, mended, patches) < 0.5 * difference(network, alone, patches)


def test_what_cannot_be_is_refused(network):
    for wrong in (
        {"clusters": 1},
        {"clusters": 65537},
        {"quantizer": "kmeans"},
        {"codebook": "all"},
        {"scale": "row"},
        {"rate_weight": -1.0, "quantizer": "ecsq"},
        {"rate_weight": 0.1},
        {"sparsity": 1.0},
        {"clusters": 2, "sparsity": 0.5},
        {"seed": -1},
    ):
        with pytest.raises(SpecError, match="found"):
            Spec(**wrong)
    with pytest.raises(SpecError):
        Spec.at(0.0)
    diverged = copy.deepcopy(network)
    next(iter(convolutions(diverged).values())).weight.data.fill_(float("nan"))
    with pytest.raises(UnsupportedModelError, match="finite"):
        sharing.prepare(diverged, Spec(), None, make, Monitor())
    with pytest.raises(Cancelled):
        sharing.prepare(network, Spec(16), None, make, Monitor(cancelled=lambda: True))


def test_indices_beyond_the_codebook_are_refused(network):
    smaller, changes = shared(network, Spec(16))
    path = next(change.path for change in changes if change.skipped_because is None)
    convolutions(smaller)[path].weight.flatten()[0] = 16
    with pytest.raises(ModelFileError, match="value 16 of a codebook of 16"):
        decode(smaller)


@pytest.mark.parametrize(
    "details",
    [
        {"centers": 70000},
        {"centers": True},
        {"centers": 16, "scales": -1},
        {"centers": 16, "scales": 0, "codebook_of": 3},
        {"centers": 16, "scales": 5, "codebook_of": None},
        {"centers": 16, "scales": 0, "codebook_of": "nowhere"},
    ],
)
def test_details_that_make_no_sense_are_refused(network, details):
    change = next(c for c in sharing.plan(network, Spec(16), PATCH) if c.skipped_because is None)
    change.details.clear()
    change.details.update(details)
    with pytest.raises((ModelFileError, SpecError)):
        sharing.apply(copy.deepcopy(network), [change])
