"""The decomposition: a theorem stands behind it, and a hand-written one judges it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorly
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.compression.tucker.basis import Basis
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.errors import Cancelled, ModelFileError, SpecError, UnsupportedModelError
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.compression import Cost, LayerChange

CONVOLUTIONS = {
    "plain": lambda: nn.Conv3d(8, 12, 3, padding=1),
    "without bias": lambda: nn.Conv3d(8, 12, 3, bias=False),
    "anisotropic": lambda: nn.Conv3d(8, 6, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
    "dilated": lambda: nn.Conv3d(5, 7, 3, dilation=(1, 2, 1), padding=(1, 2, 1)),
    "same, reflected": lambda: nn.Conv3d(5, 7, 3, padding="same", padding_mode="reflect"),
    "stem": lambda: nn.Conv3d(1, 32, 3, padding=1),
    "head": lambda: nn.Conv3d(8, 30, 1),
    "transposed": lambda: nn.ConvTranspose3d(12, 8, 2, stride=2),
    "transposed, anisotropic": lambda: nn.ConvTranspose3d(6, 8, (1, 2, 2), stride=(1, 2, 2), bias=False),
    "transposed, output padding": lambda: nn.ConvTranspose3d(4, 9, 3, stride=2, padding=1, output_padding=(1, 0, 1)),
}


@pytest.fixture(params=CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def conv(request):
    torch.manual_seed(1)
    return request.param()


def output_first(conv):
    weight = conv.weight.detach().double()
    return weight.transpose(0, 1) if conv.transposed else weight


def change(conv, ranks, sweeps=0):
    cost = Cost(0, 0)
    details = TuckerDetails(ranks, sweeps).to_json()
    return LayerChange("0", type(conv).__name__, tuple(conv.weight.shape), cost, cost, details=details)


def compressed(conv, ranks, sweeps=0):
    network = nn.Sequential(conv)
    tucker.apply(network, [change(conv, ranks, sweeps)], tucker.decompose(network))
    return network[0]


def rebuilt(layers):
    """Weight, output channels first, of the one convolution that three layers make."""
    squeeze, core, expand = (layer.weight.detach().double() for layer in layers)
    core = core.transpose(0, 1) if layers[1].transposed else core
    return torch.einsum("or,rszyx,si->oizyx", expand.flatten(1), core, squeeze.flatten(1))


def distance(conv, layers):
    return torch.linalg.vector_norm(output_first(conv) - rebuilt(layers))


def hosvd_by_hand(weight, ranks):
    """Truncated higher-order SVD over both channel modes with full SVDs; the oracle."""
    factors = []
    for mode, rank in enumerate(ranks):
        left, _, _ = torch.linalg.svd(weight.transpose(0, mode).flatten(1), full_matrices=True)
        factors.append(left[:, :rank])
    core = torch.einsum("oizyx,or,is->rszyx", weight, *factors)
    return torch.einsum("rszyx,or,is->oizyx", core, *factors)


def test_full_rank_reproduces_the_convolution(conv):
    layers = compressed(conv, (conv.out_channels, conv.in_channels))
    patch = torch.randn(2, conv.in_channels, 7, 8, 9)
    with torch.no_grad():
        expected, found = conv(patch), layers(patch)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_full_rank_reproduces_the_whole_network(kind):
    torch.manual_seed(0)
    norm = {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}, "nonlin": nn.LeakyReLU}
    network = kind(2, 3, (8, 16, 24), nn.Conv3d, 3, [1, 2, (1, 2, 2)], 2, 5, 2, conv_bias=True, **norm).eval()
    patch = torch.randn(1, 2, 8, 16, 16)
    with torch.no_grad():
        expected = network(patch)
        tucker.apply(network, tucker.plan(network, tucker.Spec.paper(1.0), (8, 16, 16)), tucker.decompose(network))
        found = network(patch)
    assert not any(isinstance(module, nn.Conv3d) and module.kernel_size == (3, 3, 3) and module.bias is not None
                   for module in network.modules())  # fmt: skip
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_truncation_equals_a_hand_written_hosvd(conv):
    ranks = ((conv.out_channels + 1) // 2, (conv.in_channels + 1) // 2)
    expected = hosvd_by_hand(output_first(conv), ranks)
    found = rebuilt(compressed(conv, ranks))
    assert torch.linalg.vector_norm(found - expected) <= 1e-5 * torch.linalg.vector_norm(expected)


@pytest.mark.filterwarnings("ignore:Trying to compute SVD")
def test_slicing_the_full_decomposition_equals_decomposing_afresh_at_that_rank(conv):
    ranks = ((conv.out_channels + 1) // 2, (conv.in_channels + 1) // 2)
    with tensorly.backend_context("pytorch"):
        (core, factors), _ = tensorly.decomposition.partial_tucker(
            output_first(conv), rank=list(ranks), modes=[0, 1], init="svd", n_iter_max=0
        )
        expected = tensorly.tenalg.multi_mode_dot(core, factors, modes=[0, 1])
    found = rebuilt(compressed(conv, ranks))
    assert torch.linalg.vector_norm(found - expected) <= 1e-5 * torch.linalg.vector_norm(expected)


def test_the_error_stays_below_the_bound_of_the_discarded_singular_values_and_never_rises_with_rank(conv):
    layer = tucker.decompose(nn.Sequential(conv)).layers["0"]
    weight = output_first(conv)
    for mode, spectrum in enumerate((layer.output_spectrum, layer.input_spectrum)):
        values = torch.linalg.svdvals(weight.transpose(0, mode).flatten(1))
        assert torch.allclose(spectrum[: len(values)].double(), values, rtol=1e-5, atol=1e-6 * float(values.max()))
    norm = torch.linalg.vector_norm(weight)
    previous = norm
    for step in range(1, 5):
        ranks = (max(1, conv.out_channels * step // 4), max(1, conv.in_channels * step // 4))
        discarded = (layer.output_spectrum[ranks[0] :].double(), layer.input_spectrum[ranks[1] :].double())
        bound = torch.cat(discarded).square().sum().sqrt()
        error = distance(conv, compressed(conv, ranks))
        assert error <= bound + 1e-5 * norm
        assert error <= previous + 1e-6 * norm
        assert layer.retained_energy(ranks) == pytest.approx(float(1 - (error / norm) ** 2), abs=1e-5)
        previous = error


def test_sweeps_lower_the_error_and_keep_the_shapes():
    torch.manual_seed(0)
    for conv in (nn.Conv3d(16, 20, 3), nn.ConvTranspose3d(16, 12, 2)):
        without, with_sweeps = compressed(conv, (6, 5)), compressed(conv, (6, 5), sweeps=3)
        assert distance(conv, with_sweeps) < distance(conv, without) * 0.9999
        assert [layer.weight.shape for layer in with_sweeps] == [layer.weight.shape for layer in without]


@pytest.mark.filterwarnings("error")
def test_sweeps_are_passed_over_where_one_rank_exceeds_what_the_other_leaves_of_the_weight():
    conv = nn.Conv3d(1, 32, 3)
    assert [tuple(layer.weight.shape) for layer in compressed(conv, (30, 1), sweeps=1)] == [
        (1, 1, 1, 1, 1),
        (30, 1, 3, 3, 3),
        (32, 30, 1, 1, 1),
    ]


def test_the_structure_without_a_basis_takes_the_weights_of_one_with_it():
    conv, empty = nn.ConvTranspose3d(12, 8, 2, stride=2), nn.ConvTranspose3d(12, 8, 2, stride=2, device="meta")
    layers, network = compressed(conv, (4, 6)), nn.Sequential(empty)
    tucker.apply(network, [change(empty, (4, 6))])
    assert all(parameter.is_meta for parameter in network.parameters())
    network[0].load_state_dict(layers.state_dict(), assign=True)
    patch = torch.randn(1, 12, 3, 4, 5)
    assert torch.equal(network(patch), layers(patch))


def test_new_layers_keep_type_mode_and_the_original_bias():
    conv = nn.Conv3d(4, 6, 3).to(torch.float64).eval().requires_grad_(False)
    layers = compressed(conv, (2, 2))
    assert {parameter.dtype for parameter in layers.parameters()} == {torch.float64}
    assert not any(module.training for module in layers.modules())
    assert not any(parameter.requires_grad for parameter in layers.parameters())
    assert torch.equal(layers[2].bias, conv.bias)
    assert compressed(nn.Conv3d(4, 6, 3, bias=False), (2, 2))[2].bias is None


def test_a_basis_survives_its_way_through_flat_tensors():
    network = nn.Sequential(nn.Conv3d(3, 5, 3), nn.Sequential(nn.ConvTranspose3d(5, 4, 2)))
    basis = tucker.decompose(network)
    tensors = {name: tensor.clone() for name, tensor in basis.to_tensors().items()}
    assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in tensors.values())
    back = Basis.from_tensors(tensors)
    assert list(back.layers) == ["0", "1.0"]
    assert back.retained_energy("1.0", (2, 3)) == basis.retained_energy("1.0", (2, 3)) < 1
    del tensors["1.0/core"]
    with pytest.raises(ModelFileError, match="core"):
        Basis.from_tensors(tensors)
    with pytest.raises(ModelFileError, match="shapes"):
        Basis.from_tensors({**basis.to_tensors(), "0/input_factor": torch.zeros(2, 2)})


def test_a_plan_or_basis_of_another_network_is_refused_and_nothing_is_changed():
    network, other = nn.Sequential(nn.Conv3d(3, 5, 3)), nn.Sequential(nn.Conv3d(3, 6, 3))
    conv = network[0]
    for changes, basis in (
        ([change(other[0], (2, 2))], None),
        ([change(nn.ConvTranspose3d(5, 3, 3), (2, 2))], None),
        ([change(conv, (2, 2))], tucker.decompose(other)),
        ([change(conv, (2, 2))], Basis({})),
        ([change(conv, (9, 2))], tucker.decompose(network)),
    ):
        with pytest.raises(SpecError):
            tucker.apply(network, changes, basis)
        assert network[0] is conv


def test_weights_that_cannot_be_decomposed_are_refused():
    with pytest.raises(SpecError, match="meta"):
        tucker.decompose(nn.Sequential(nn.Conv3d(1, 1, 1, device="meta")))
    damaged = nn.Sequential(nn.Conv3d(1, 1, 1))
    nn.init.constant_(damaged[0].weight, float("nan"))
    with pytest.raises(UnsupportedModelError, match="0: .*NaN"):
        tucker.decompose(damaged)


def test_zero_weights_are_compressed_to_zero():
    conv = nn.Conv3d(4, 6, 3)
    nn.init.zeros_(conv.weight)
    assert distance(conv, compressed(conv, (2, 2))) == 0
    assert tucker.decompose(nn.Sequential(conv)).retained_energy("0", (1, 1)) == 1.0


def test_progress_rises_to_one_and_may_stop_the_work():
    network, seen = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 2, 1, groups=2), nn.Conv3d(2, 1, 1)), []
    tucker.decompose(network, Monitor(on_fraction=seen.append))
    assert seen == [0.5, 1.0]
    with pytest.raises(Cancelled):
        tucker.decompose(network, Monitor(cancelled=lambda: True))
    assert tensorly.get_backend() == "numpy"


def test_a_compression_leaves_tensorly_torch_and_random_numbers_as_they_were():
    def state():
        others = []
        thread = threading.Thread(target=lambda: others.append(tensorly.get_backend()))
        thread.start()
        thread.join()
        return (
            tensorly.get_backend(),
            others,
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
        )

    conv = nn.Conv3d(4, 30, 3)
    before = state()
    compressed(conv, (20, 2), sweeps=1)
    assert state() == before
