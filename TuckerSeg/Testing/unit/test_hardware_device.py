"""The list of devices, the choice among them, and what it says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from TuckerSegLib import hardware
from TuckerSegLib.errors import BackendError
from TuckerSegLib.hardware import openvino_devices, processor, torch_cuda
from TuckerSegLib.hardware.device import Device, choose, choose_precision, devices

GIB = 2**30
OPENVINO = Device("openvino:cpu", "openvino", "Some CPU", precisions=("bf16", "fp32"))
INTEL_GPU = Device("openvino:gpu", "openvino", "Some integrated GPU", precisions=("fp16", "fp32"))
TORCH = Device("torch:cpu", "torch", "Some CPU")
CUDA = Device(
    "cuda:0", "cuda", "Some GPU", precisions=("fp16", "bf16", "fp32"), memory_bytes=8 * GIB, free_memory_bytes=6 * GIB
)
ABSENT = Device("cuda", "cuda", "NVIDIA GPU", False, "PyTorch was built without CUDA", ())


def test_auto_prefers_a_cuda_gpu_with_room_over_openvino_over_pytorch():
    assert choose("auto", [CUDA, OPENVINO, INTEL_GPU, TORCH])[0] is CUDA
    assert choose("auto", [ABSENT, INTEL_GPU, OPENVINO, TORCH])[0] is OPENVINO
    assert choose("auto", [ABSENT, TORCH])[0] is TORCH


def test_auto_takes_the_gpu_with_the_most_free_memory():
    emptier = replace(CUDA, id="cuda:1", free_memory_bytes=7 * GIB)
    chosen, reason = choose("auto", [CUDA, emptier, OPENVINO])
    assert chosen is emptier
    assert "7.0 GiB" in reason


def test_auto_passes_over_a_full_gpu_and_says_so():
    full = replace(CUDA, free_memory_bytes=GIB // 2)
    chosen, reason = choose("auto", [full, OPENVINO])
    assert chosen is OPENVINO
    assert "cuda:0" in reason and "0.5 GiB" in reason


def test_names_that_users_type_find_their_device():
    everything = [CUDA, OPENVINO, INTEL_GPU, TORCH]
    assert choose("cpu", everything)[0] is OPENVINO
    assert choose("CUDA", everything)[0] is CUDA
    assert choose("torch", everything)[0] is TORCH
    assert choose("openvino:gpu", everything)[0] is INTEL_GPU
    assert choose("gpu", [ABSENT, OPENVINO, INTEL_GPU])[0] is INTEL_GPU


@pytest.mark.parametrize(
    ("fp16", "bf16", "offered"),
    [
        ("brgconv_avx512_amx_f16", "brgconv_avx512_amx_bf16", ("fp16", "bf16", "fp32")),
        ("brgconv_avx512_f16", "brgconv_avx512_amx_bf16", ("bf16", "fp16", "fp32")),
        ("brgconv_avx512_bf16", "brgconv_avx512_bf16", ("bf16", "fp32")),
        ("brgconv_avx512_amx_bf16", "brgconv_avx512_amx_bf16", ("bf16", "fp32")),
        ("jit_avx2_f32", "jit_avx2_f32", ("fp32",)),
    ],
)
def test_a_precision_is_offered_where_convolutions_are_computed_in_it(monkeypatch, fp16, bf16, offered):
    names = {"fp16": fp16, "bf16": bf16}
    monkeypatch.setattr(openvino_devices, "_convolution_implementation", names.__getitem__)
    core = SimpleNamespace(get_property=lambda name, key: ["FP32", "FP16", "BF16"])
    assert openvino_devices._processor_precisions(core) == offered


def test_an_unusable_device_is_refused_with_its_reason_and_the_usable_ones():
    with pytest.raises(BackendError, match="built without CUDA.*openvino:cpu, torch:cpu"):
        choose("cuda", [ABSENT, OPENVINO, TORCH])


def test_an_unknown_device_is_refused_with_the_usable_ones():
    with pytest.raises(BackendError, match="Unknown device 'tpu'.*torch:cpu"):
        choose("tpu", [TORCH])


def test_precision_is_the_fastest_native_one_unless_asked_for():
    assert choose_precision("auto", OPENVINO)[0] == "bf16"
    assert choose_precision("auto", TORCH)[0] == "fp32"
    assert choose_precision("fp32", OPENVINO)[0] == "fp32"


def test_a_precision_that_the_hardware_lacks_is_refused_with_what_it_offers():
    with pytest.raises(BackendError, match="no native fp16; it offers bf16, fp32"):
        choose_precision("fp16", OPENVINO)
    with pytest.raises(BackendError, match="Unknown precision 'int8'"):
        choose_precision("int8", OPENVINO)


def test_every_backend_lists_something_here():
    listed = devices()
    assert {device.backend for device in listed} == set(hardware.BACKENDS)
    assert all(device.usable != bool(device.reason) for device in listed)
    assert choose("auto", listed)[0].usable


def test_a_backend_that_breaks_becomes_an_unusable_entry(monkeypatch):
    def broken():
        raise OSError("driver version mismatch")

    monkeypatch.setattr(torch_cuda, "devices", broken)
    entry = next(device for device in devices() if device.backend == "cuda")
    assert not entry.usable
    assert "driver version mismatch" in entry.reason


@pytest.mark.slow
def test_the_list_survives_a_missing_openvino():
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'openvino': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import importlib.util as u; original = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'openvino' else original(name, *a)\n"
        "from TuckerSegLib.hardware import choose, devices\n"
        "listed = devices()\n"
        "entry = next(d for d in listed if d.id == 'openvino:cpu')\n"
        "assert not entry.usable and 'openvino is not installed' in entry.reason, entry\n"
        "assert choose('auto', listed)[0].id in ('torch:cpu', 'cuda:0')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert run.returncode == 0, run.stderr


def test_importing_the_package_imports_neither_torch_nor_openvino():
    code = (
        "import sys; from TuckerSegLib import hardware; hardware.Device; hardware.default_threads; "
        "assert not {'torch', 'openvino'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("logical", "physical", "container", "expected"),
    [(1, 1, None, 1), (2, 2, None, 2), (8, 4, None, 3), (8, 8, 2, 2), (8, None, None, 7), (4, 2, None, 2)],
)
def test_one_core_is_left_free_when_there_are_more_than_two(monkeypatch, logical, physical, container, expected):
    monkeypatch.setattr(processor, "_logical_processors", lambda: set(range(logical)))
    monkeypatch.setattr(processor, "_physical_cores", lambda: physical)
    monkeypatch.setattr(processor, "_container_cores", lambda: container)
    assert processor.default_threads() == expected


@pytest.mark.parametrize(
    ("capability", "built_for", "supported"),
    [
        ((8, 6), ["sm_70", "sm_80"], True),
        ((6, 1), ["sm_70", "sm_80"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
    ],
)
def test_a_gpu_is_supported_where_pytorch_was_built_for_it(capability, built_for, supported):
    assert torch_cuda._supported(capability, built_for) is supported
