"""Parameters and multiply-accumulates: the Tucker paper's table (arXiv:2404.09683), and torch's own counter."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BottleneckD
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.layers import convolutions
from TuckerSegLib.compression.trace import structure_of
from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.errors import SpecError

FINE = ((32, 64, 128, 256, 320, 320), 25, (128, 128, 128))  # 1.5 mm
COARSE = ((32, 64, 128, 256, 320), 118, (112, 112, 128))  # 3 mm

# Rank ratio (None = original), parameters in millions, convolution GMACs: as printed.
FINE_TABLE = [
    (None, 31.195, 478.8),
    (0.9, 27.925, 442.2),
    (0.7, 17.358, 279.7),
    (0.5, 9.245, 147.4),
    (0.4, 6.183, 101.3),
    (0.3, 3.699, 63.2),
    (0.2, 1.855, 36.0),
    (0.1, 0.628, 23.9),
    (0.05, 0.258, 22.2),
]
COARSE_TABLE = [
    (None, 16.551, 367.8),
    (0.9, 14.876, 358.6),
    (0.7, 9.258, 229.5),
    (0.5, 4.922, 123.6),
    (0.4, 3.310, 86.3),
    (0.3, 1.982, 54.9),
    (0.2, 1.001, 31.8),
    (0.1, 0.345, 20.3),
    (0.05, 0.151, 18.2),
]


def plain_unet(features, labels, input_channels=1, strides=2, deep_supervision=False, device="meta"):
    stages = len(features)
    with torch.device(device):
        return PlainConvUNet(
            input_channels,
            stages,
            features,
            nn.Conv3d,
            3,
            [1] + [strides] * (stages - 1),
            2,
            labels,
            2,
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=deep_supervision,
        )


def residual_unet(device="meta", **arguments):
    with torch.device(device):
        return ResidualEncoderUNet(
            2,
            3,
            (8, 16, 32),
            nn.Conv3d,
            3,
            [1, (1, 2, 2), 2],
            (1, 2, 2),
            4,
            1,
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            **arguments,
        )


def cost_at(network_kind, rank_ratio):
    features, labels, patch_shape = network_kind
    network = plain_unet(features, labels)
    if rank_ratio is not None:
        tucker.apply(network, tucker.plan(network, tucker.Spec.paper(rank_ratio), patch_shape, 1))
    return count(network, patch_shape, 1).total


@pytest.mark.parametrize(
    ("kind", "rank_ratio", "parameters", "gigamacs"),
    [(FINE, *row) for row in FINE_TABLE] + [(COARSE, *row) for row in COARSE_TABLE],
)
def test_counts_equal_every_row_of_the_papers_table(kind, rank_ratio, parameters, gigamacs):
    cost = cost_at(kind, rank_ratio)
    # The table has cut some last digits and rounded others (1.854488 is printed as 1.855): one unit of the last digit.
    assert cost.parameters / 1e6 == pytest.approx(parameters, abs=1.0e-3)
    assert round(cost.macs / 1e9, 1) == gigamacs


@pytest.mark.parametrize(
    ("rank_ratio", "parameters", "gigaflops"),
    [(None, 31.194809, 480.561144), (0.05, 0.257926, 24.005427), (0.1, 0.627772, 25.719931)],
)
def test_counts_of_the_fine_network_equal_the_papers_printed_output_to_every_digit(rank_ratio, parameters, gigaflops):
    cost = cost_at(FINE, rank_ratio)
    assert cost.parameters == round(parameters * 1e6)
    assert round(cost.paper_flops / 1e9, 6) == gigaflops


@pytest.mark.parametrize(("rank_ratio", "gigaflops"), [(None, 369.14), (0.1, 21.62), (0.05, 19.54)])
def test_flops_of_the_coarse_network_equal_the_papers(rank_ratio, gigaflops):
    assert round(cost_at(COARSE, rank_ratio).paper_flops / 1e9, 2) == gigaflops


def test_the_paper_replaces_28_and_23_convolutions():
    for (features, labels, patch_shape), layers in ((FINE, 28), (COARSE, 23)):
        changes = tucker.plan(plain_unet(features, labels), tucker.Spec.paper(0.3), patch_shape, 1)
        assert sum(change.skipped_because is None for change in changes) == layers


@pytest.mark.slow
@pytest.mark.parametrize("rank_ratio", [None, 0.5])
@pytest.mark.parametrize(
    "build",
    [
        lambda: plain_unet((4, 8, 16), 3, input_channels=2, strides=(1, 2, 2), device="cpu"),
        lambda: plain_unet((4, 8, 16), 3, input_channels=2, deep_supervision=True, device="cpu"),
        lambda: residual_unet("cpu"),
        lambda: residual_unet("cpu", block=BottleneckD, bottleneck_channels=(4, 8, 8)),
    ],
    ids=["plain anisotropic", "deep supervision", "residual", "bottleneck"],
)
def test_counts_equal_those_of_a_real_forward_pass(build, rank_ratio):
    network = build().eval()
    patch = torch.randn(1, 2, 8, 16, 24)
    if rank_ratio is not None:
        spec = tucker.Spec.paper(rank_ratio, minimum_rank=2)
        tucker.apply(network, tucker.plan(network, spec, patch.shape[2:], 2), tucker.decompose(network))
    with FlopCounterMode(display=False) as counter:
        outputs = network(patch)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(output.sum() for output in outputs).backward()

    found = count(network, patch.shape[2:], 2)
    assert found.total.macs * 2 == counter.get_total_flops()
    assert found.total.parameters == sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert found.output_shape == tuple(outputs[0].shape[1:])
    assert found.output_voxels == 8 * 16 * 24
    assert sum(layer.macs for layer in found.layers.values()) == found.total.macs


def test_normalized_elements_are_those_of_every_normalization_layers_output():
    network = plain_unet((4, 8), 3)
    # Stage one twice at full size in the encoder and twice in the decoder, stage two twice at an eighth.
    assert count(network, (8, 8, 8), 1).total.norm_elements == 512 * (4 * 4) + 64 * (2 * 8)


def test_counting_leaves_the_network_as_it_was():
    network = plain_unet((4, 8), 3, device="cpu").train()
    weights = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in network.state_dict().items()}
    count(network, (8, 8, 8), 1)
    assert all(
        tensor.data_ptr() == weights[name][0] and torch.equal(tensor, weights[name][1])
        for name, tensor in network.state_dict().items()
    )
    assert network.training
    assert not any(module._forward_hooks or "forward" in vars(module) for module in network.modules())


def test_the_copy_that_counting_runs_holds_no_weights_but_every_alias():
    network = plain_unet((4, 8), 3, device="cpu")
    structure = structure_of(network)
    assert {parameter.untyped_storage().nbytes() for parameter in structure.parameters()} == {4}
    assert [p.shape for p in structure.parameters()] == [p.shape for p in network.parameters()]
    assert list(structure.state_dict()) == list(network.state_dict())
    assert structure.decoder.encoder is structure.encoder


def test_counts_do_not_depend_on_the_device_of_the_weights():
    assert count(plain_unet((4, 8), 3), (8, 8, 8), 1) == count(plain_unet((4, 8), 3, device="cpu"), (8, 8, 8), 1)


def test_counting_works_under_another_default_device():
    with torch.device("meta"):
        found = count(plain_unet((4, 8), 3), (8, 8, 8), 1)
    assert found == count(plain_unet((4, 8), 3), (8, 8, 8), 1)


def test_a_patch_that_the_network_cannot_take_is_an_error_that_names_it():
    with pytest.raises(SpecError, match=r"\(7, 8, 8\)"):
        count(plain_unet((4, 8), 3), (7, 8, 8), 1)
    with pytest.raises(SpecError, match="3 channels"):
        count(plain_unet((4, 8), 3), (8, 8, 8), 3)


def test_every_convolution_of_the_plan_has_the_cost_that_counting_finds():
    network = plain_unet((8, 16), 3)
    counted = count(network, (8, 8, 16), 1)
    for change in tucker.plan(network, tucker.Spec.paper(0.5, minimum_rank=2), (8, 8, 16), 1):
        assert change.before == counted.layers[change.path]
    assert set(convolutions(network)) <= set(counted.layers)


def test_the_plans_costs_after_compression_equal_counting_the_compressed_network():
    for network in (plain_unet((8, 16, 32), 3, input_channels=2, strides=(2, 1, 2)), residual_unet()):
        changes = tucker.plan(network, tucker.Spec.paper(0.5, minimum_rank=2), (8, 16, 16), 2)
        tucker.apply(network, changes)
        counted = count(network, (8, 16, 16), 2)
        for change in changes:
            if change.skipped_because is None:
                parts = [counted.layers[f"{change.path}.{number}"] for number in range(3)]
                assert (change.after.parameters, change.after.macs) == (
                    sum(part.parameters for part in parts),
                    sum(part.macs for part in parts),
                )


@pytest.mark.slow
def test_counting_in_a_fresh_process_does_not_load_torchs_compiler():
    code = (
        "import sys, TuckerSegLib.compression\n"
        "assert 'torch' not in sys.modules and 'tensorly' not in sys.modules\n"
        "import torch\n"
        "from TuckerSegLib.compression.cost import count\n"
        "from torch import nn\n"
        "norm = nn.InstanceNorm3d(4, affine=True)\n"
        "network = nn.Sequential(nn.Conv3d(1, 4, 3), norm, nn.LeakyReLU(inplace=True), nn.Conv3d(4, 2, 1))\n"
        "with torch.device('meta'):\n"
        "    assert count(network, (8, 8, 8)).total.parameters == 27 * 4 + 4 + 8 + 8 + 2\n"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
