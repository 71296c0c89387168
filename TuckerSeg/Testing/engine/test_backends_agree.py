"""Every backend computes the same features from the same network, and leaves the process as it was."""

from __future__ import annotations

import copy
import gc
import math
import sys

import pytest
import torch
from torch import nn

from TuckerSegLib.errors import BackendError
from TuckerSegLib.hardware import (
    PrepareSpec,
    choose,
    compiled_cache,
    devices,
    memory,
    openvino_convert,
    openvino_runtime,
    torch_cpu,
)

PATCH = (16, 32, 24)


def build(residual: bool = False, channels: int = 2) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

    torch.manual_seed(5)
    settings = {
        "input_channels": channels,
        "n_stages": 3,
        "features_per_stage": (8, 16, 24),
        "conv_op": nn.Conv3d,
        "kernel_sizes": [(1, 3, 3), (3, 3, 3), (3, 3, 3)],
        "strides": [(1, 1, 1), (1, 2, 2), (2, 2, 2)],
        "num_classes": 5,
        "n_conv_per_stage_decoder": (2, 2),
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }
    blocks = {"n_blocks_per_stage": (1, 2, 2)} if residual else {"n_conv_per_stage": (2, 2, 2)}
    network = (ResidualEncoderUNet if residual else PlainConvUNet)(**settings, **blocks).eval()
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.requires_grad_(False)


def factorize(network: nn.Module) -> nn.Module:
    """Every convolution but the first and the pointwise ones as 1x1x1, core, 1x1x1, at every place it is known by."""
    replaced: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, (nn.Conv3d, nn.ConvTranspose3d)) and math.prod(child.kernel_size) > 1:
                if child.in_channels < 4:
                    continue
                if child not in replaced:
                    replaced[child] = nn.Sequential(
                        nn.Conv3d(child.in_channels, 5, 1, bias=False),
                        type(child)(5, 6, child.kernel_size, child.stride, child.padding, bias=False),
                        nn.Conv3d(6, child.out_channels, 1, bias=True),
                    ).requires_grad_(False)
                parent._modules[name] = replaced[child]
    return network


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def openvino_device():
    return choose("openvino:cpu", devices())[0]


@pytest.fixture(scope="module")
def torch_device():
    return choose("torch:cpu", devices())[0]


@pytest.fixture
def spec(tmp_path):
    return PrepareSpec(PATCH, input_channels=2, batch_size=2, threads=1, cache_folder=tmp_path, cache_key="network")


def make(**changes):
    return PrepareSpec(**{"patch_shape": PATCH, "input_channels": 2, "batch_size": 2, "threads": 1, **changes})


@pytest.mark.parametrize("network", [build(), factorize(build()), build(residual=True)], ids=["plain", "tucker", "res"])
@pytest.mark.parametrize("count", [1, 2])
def test_openvino_agrees_with_pytorch_in_fp32(network, count, openvino_device, torch_device):
    patches = torch.randn(count, 2, *PATCH)
    expected = torch_cpu.prepare(lambda: network, torch_device, make())(patches)
    found = openvino_runtime.prepare(lambda: network, openvino_device, make())(patches)
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert relative_error(found, expected) < 1e-4


def test_features_come_out_where_the_head_is_taken_off(openvino_device):
    network = build()
    network.decoder.seg_layers[-1] = nn.Identity()
    patches = torch.randn(1, 2, *PATCH)
    found = openvino_runtime.prepare(lambda: network, openvino_device, make())(patches)
    assert found.shape == (1, 8, *PATCH)
    with torch.inference_mode():
        assert relative_error(found, network(patches)) < 1e-4


@pytest.mark.parametrize("air", [0.5, 0.9])
def test_openvino_fp32_stays_exact_where_most_voxels_are_equal(air, openvino_device):
    shape = (32, 64, 48)  # large enough for OpenVINO's own normalization to be off by 4e-4 and 8e-4
    network, patches = build(), torch.randn(1, 2, *shape)
    patches[:, :, :, : int(air * shape[1])] = -1.4
    found = openvino_runtime.prepare(lambda: network, openvino_device, make(patch_shape=shape))(patches)
    with torch.inference_mode():
        error = relative_error(found, copy.deepcopy(network).double()(patches.double()))
    assert error < 5e-5


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.1), ("fp16", 0.02)])
def test_reduced_precision_stays_near(precision, bound, openvino_device):
    if precision not in openvino_device.precisions:
        pytest.skip(f"this processor has no native {precision}")
    network, patches = build(), torch.randn(1, 2, *PATCH)
    found = openvino_runtime.prepare(lambda: network, openvino_device, make(precision=precision))(patches)
    with torch.inference_mode():
        error = relative_error(found.float(), network(patches))
    assert found.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert 1e-5 < error < bound  # no error at all would mean that the precision was not used


def test_recording_merges_the_steps_around_a_concatenation():
    network = factorize(build())
    pieces = [module for module in network.modules() if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d))]
    used = len(pieces) - 1  # the deep supervision head of the lower stage is not
    kinds = [
        node.get_type_name() for node in openvino_convert.to_model(network, (1, 2, *PATCH), "f16", print).get_ops()
    ]
    assert kinds.count("Concat") == 0
    # Each of the two concatenations costs one product more, for its second part, and saves the two that were merged.
    assert kinds.count("Convolution") + kinds.count("ConvolutionBackpropData") == used + 2 - 2


def test_a_network_with_an_unknown_operation_is_traced_instead(openvino_device):
    class Unusual(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv3d(2, 4, 3, padding=1)

        def forward(self, patches):
            return torch.tanh(self.convolution(patches))

    network, messages = Unusual().eval(), []
    patches = torch.randn(1, 2, *PATCH)
    predictor = openvino_runtime.prepare(lambda: network, openvino_device, make(log=messages.append))
    with torch.inference_mode():
        assert relative_error(predictor(patches), network(patches)) < 1e-4
    assert len(messages) == 1 and "tanh" in messages[0]


def test_recording_leaves_the_network_as_it_was():
    network = build()
    before = copy.deepcopy(network.state_dict())
    openvino_convert.to_model(network, (1, 2, *PATCH), "f16", print)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_second_start_reads_the_compiled_form_and_computes_the_same(spec, openvino_device):
    network, patches = factorize(build()), torch.randn(2, 2, *PATCH)
    first = openvino_runtime.prepare(lambda: network, openvino_device, spec)
    expected = first(patches).clone()

    def must_not_be_called():
        raise AssertionError("the network was loaded although its compiled form is there")

    second = openvino_runtime.prepare(must_not_be_called, openvino_device, spec)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert torch.equal(second(patches), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="a peak cannot be forgotten there")
def test_a_call_makes_no_second_copy_of_its_result(openvino_device):
    network, shape = nn.Conv3d(2, 64, 1).eval().requires_grad_(False), (64, 64, 64)
    predictor = openvino_runtime.prepare(lambda: network, openvino_device, make(patch_shape=shape, batch_size=1))
    patches = torch.randn(1, 2, *shape)
    result = predictor(patches)
    assert memory.forget_peak_memory()
    before = memory.held_memory_bytes()
    assert predictor(patches).data_ptr() == result.data_ptr()
    assert memory.peak_memory_bytes() - before < 0.5 * result.nbytes  # 64 MiB


def test_a_compiled_form_is_not_used_for_another_patch_shape_or_precision(spec, openvino_device):
    openvino_runtime.prepare(build, openvino_device, spec)
    other = PrepareSpec(**{**vars(spec), "patch_shape": (16, 16, 16)})
    assert not openvino_runtime.prepare(build, openvino_device, other).from_cache
    other = PrepareSpec(**{**vars(spec), "cache_key": "another network"})
    assert not openvino_runtime.prepare(build, openvino_device, other).from_cache


def wide() -> nn.Module:
    """Mostly weights: 4 MB of them in one layer."""
    torch.manual_seed(6)
    layers = nn.Conv3d(2, 200, 3, padding=1), nn.Conv3d(200, 200, 3, padding=1), nn.Conv3d(200, 5, 1)
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_from_the_cache_keeps_its_weights_as_long_as_it_lives(precision, spec, openvino_device):
    spec = PrepareSpec(**{**vars(spec), "precision": precision})
    patches = torch.randn(1, 2, *PATCH)
    expected = openvino_runtime.prepare(wide, openvino_device, spec)(patches).clone()
    again = openvino_runtime.prepare(wide, openvino_device, spec)
    assert again.from_cache
    gc.collect()
    filled = [torch.ones(400_000) for _ in range(50)]  # takes whatever memory was given back
    assert torch.equal(again(patches), expected)
    del filled


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_compiled_form_of_16_bits_keeps_its_weights_in_16_bits(precision, spec, openvino_device):
    def kept(**changes) -> int:
        folder = spec.cache_folder / changes["precision"]
        openvino_runtime.prepare(
            wide, openvino_device, PrepareSpec(**{**vars(spec), "cache_folder": folder, **changes})
        )
        (path,) = folder.glob("*.compiled")
        return path.stat().st_size

    assert kept(precision=precision) < 0.6 * kept(precision="fp32")


@pytest.mark.parametrize("damage", ["truncated", "sound file, foreign content"])
def test_a_damaged_compiled_form_is_made_again_and_said(damage, spec, openvino_device):
    messages: list[str] = []
    spec = PrepareSpec(**{**vars(spec), "log": messages.append})
    patches = torch.randn(1, 2, *PATCH)
    expected = openvino_runtime.prepare(build, openvino_device, spec)(patches).clone()
    (path,) = spec.cache_folder.glob("*.compiled")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        import json

        identity = json.loads(path.read_bytes().split(b"\n", 1)[0])["identity"]
        compiled_cache.write_entry(spec.cache_folder, identity, b"no network at all" * 50, messages.append)
    again = openvino_runtime.prepare(build, openvino_device, spec)
    assert not again.from_cache and len(messages) == 1 and "made again" in messages[0]
    assert torch.equal(again(patches), expected)
    assert openvino_runtime.prepare(build, openvino_device, spec).from_cache


def test_torch_settings_are_the_same_afterwards(torch_device):
    threads = torch.get_num_threads()
    before = (threads, torch.get_default_dtype(), torch.backends.cudnn.benchmark, torch.is_grad_enabled())
    seen = []

    class Watched(nn.Module):
        def forward(self, patches):
            seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
            return patches

    predictor = torch_cpu.prepare(Watched, torch_device, make(threads=threads + 1))
    predictor(torch.randn(1, 2, *PATCH))
    predictor.close()
    assert seen == [(threads + 1, True)]
    after = (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cudnn.benchmark)
    assert (*after, torch.is_grad_enabled()) == before


def test_a_patch_of_another_shape_or_a_closed_predictor_is_refused(openvino_device):
    predictor = openvino_runtime.prepare(build, openvino_device, make())
    with pytest.raises(BackendError, match="were prepared for"):
        predictor(torch.randn(1, 2, 8, 8, 8))
    predictor.close()
    with pytest.raises(BackendError, match="closed"):
        predictor(torch.randn(1, 2, *PATCH))
