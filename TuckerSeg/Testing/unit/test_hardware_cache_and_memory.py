"""Compiled entries on disk, out-of-memory detection, and the allocator's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib.hardware import (
    Device,
    PrepareSpec,
    compiled_cache,
    memory,
    openvino_runtime,
    torch_cpu,
    torch_cuda,
    torch_mps,
)

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]

IDENTITY = {"network": "abc", "patch": "(1, 32, 32, 32)"}
BODY = bytes(range(256)) * 10


@pytest.fixture
def messages():
    return []


def test_an_entry_is_read_as_it_was_written(tmp_path, messages):
    compiled_cache.write_entry(tmp_path / "new", IDENTITY, BODY, messages.append)
    assert compiled_cache.read_entry(tmp_path / "new", IDENTITY, messages.append).tobytes() == BODY
    assert messages == []
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_another_identity_is_another_entry(tmp_path, messages):
    compiled_cache.write_entry(tmp_path, IDENTITY, BODY, messages.append)
    other = {**IDENTITY, "patch": "(1, 64, 64, 64)"}
    assert compiled_cache.read_entry(tmp_path, other, messages.append) is None
    assert messages == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"",
        lambda content: b"not a header",
        lambda content: b"[]\n" + content,
        lambda content: b"[" * 50_000 + b"\n" + content,
        lambda content: content.replace(b'"abc"', b'"abd"'),
        lambda content: content.replace(b'"format": 1', b'"format": 9'),
    ],
)
def test_a_damaged_or_foreign_entry_is_not_used_and_said(tmp_path, messages, damage):
    compiled_cache.write_entry(tmp_path, IDENTITY, BODY, messages.append)
    path = compiled_cache.entry_path(tmp_path, IDENTITY)
    path.write_bytes(damage(path.read_bytes()))
    assert compiled_cache.read_entry(tmp_path, IDENTITY, messages.append) is None
    assert len(messages) == 1 and "made again" in messages[0]


DEVICE = Device("openvino:npu", "openvino", "Some NPU", precisions=("fp16", "bf16"))
SPEC = PrepareSpec((32, 32, 32), precision="fp16", threads=2, cache_key="abc")


@pytest.mark.parametrize(
    ("version", "device", "spec"),
    [
        ("2", DEVICE, SPEC),
        ("1", replace(DEVICE, name="Another NPU"), SPEC),
        ("1", replace(DEVICE, id="openvino:cpu"), SPEC),
        ("1", DEVICE, replace(SPEC, precision="bf16")),
        ("1", DEVICE, replace(SPEC, patch_shape=(32, 32, 64))),
        ("1", DEVICE, replace(SPEC, input_channels=2)),
        ("1", DEVICE, replace(SPEC, cache_key="abd")),
    ],
)
def test_all_that_decides_a_compiled_form_is_in_its_identity(version, device, spec):
    def identity(version, device, spec):
        name = device.id.partition(":")[2].upper()
        return openvino_runtime._identity(version, device, spec, openvino_runtime._settings(name, spec))

    assert identity(version, device, spec) != identity("1", DEVICE, SPEC)


def test_a_newer_graph_has_another_identity(monkeypatch):
    before = openvino_runtime._identity("1", DEVICE, SPEC, {})
    monkeypatch.setattr(openvino_runtime, "_GRAPH_VERSION", 99)
    assert openvino_runtime._identity("1", DEVICE, SPEC, {}) != before


def test_threads_of_a_processor_are_in_the_identity():
    settings = [openvino_runtime._settings("CPU", replace(SPEC, threads=threads)) for threads in (1, 2)]
    assert len({str(openvino_runtime._identity("1", DEVICE, SPEC, each)) for each in settings}) == 2


def test_threads_of_a_processor_are_bound_to_no_core():
    """OpenVINO binds those of every process to the same first ones: several runs at a time would share them."""
    openvino = pytest.importorskip("openvino")
    parameter = openvino.opset13.parameter([1, 4], openvino.Type.f32)
    model = openvino.Model([openvino.opset13.relu(parameter)], [parameter])
    settings = openvino_runtime._settings("CPU", replace(SPEC, threads=1))
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_a_note_is_told_and_is_no_part_of_the_identity(tmp_path, messages):
    compiled_cache.write_entry(tmp_path, IDENTITY, BODY, messages.append, "a model")
    path = compiled_cache.entry_path(tmp_path, IDENTITY)
    assert compiled_cache.note_of(path) == "a model"
    assert compiled_cache.read_entry(tmp_path, IDENTITY, messages.append) is not None
    for nonsense in (b"", b"[]", b"\xff", b"[" * 100_000):
        path.write_bytes(nonsense)
        assert compiled_cache.note_of(path) is None


def test_a_folder_that_cannot_be_written_is_said_and_is_no_error(tmp_path, messages):
    (tmp_path / "file").write_text("in the way")
    compiled_cache.write_entry(tmp_path / "file", IDENTITY, BODY, messages.append)
    assert len(messages) == 1 and "not kept" in messages[0]


def test_an_interrupted_write_of_a_compiled_form_leaves_nothing(tmp_path, messages, monkeypatch):
    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compiled_cache.write_entry(tmp_path, IDENTITY, BODY, messages.append)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", [openvino_runtime, torch_cpu, torch_cuda, torch_mps])
def test_only_memory_errors_are_taken_for_out_of_memory(backend):
    assert backend.is_out_of_memory(MemoryError())
    assert not backend.is_out_of_memory(RuntimeError("Expected 5-dimensional input, but got 4-dimensional"))
    assert not backend.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not backend.is_out_of_memory(ValueError("bad allocation of labels"))


def test_each_backend_knows_its_own_memory_errors():
    import torch

    assert torch_cuda.is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert torch_cpu.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."))
    assert torch_cpu.is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"))
    assert openvino_runtime.is_out_of_memory(RuntimeError("Exception from src/inference: std::bad_alloc"))
    assert openvino_runtime.is_out_of_memory(RuntimeError("Failed to allocate 300 bytes of memory"))
    assert torch_mps.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))


def test_a_real_failed_allocation_is_recognized():
    import torch

    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert torch_cpu.is_out_of_memory(failure.value)
    assert openvino_runtime.is_out_of_memory(failure.value)


@pytest.mark.slow
def test_peak_memory_follows_an_allocation():
    """In a process of its own, where little was resident before."""
    code = "import numpy; from TuckerSegLib.hardware import memory; before = memory.peak_memory_bytes(); "
    code += "block = numpy.ones(before // 8 + 2**24); print(before, memory.peak_memory_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8", check=True
    )
    before, after = map(int, done.stdout.split())
    assert after >= before + 2**26


def test_peak_memory_is_of_this_process_and_not_of_the_one_that_started_it():
    held = np.ones(2**27, dtype=np.uint8)
    code = "from TuckerSegLib.hardware import memory; print(memory.peak_memory_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8", check=True
    )
    assert int(done.stdout) < held.nbytes < memory.peak_memory_bytes()


def test_held_memory_falls_when_memory_is_given_back():
    before = memory.held_memory_bytes()
    block = np.ones(2**28, dtype=np.uint8)
    assert memory.held_memory_bytes() > before + block.nbytes // 2
    del block
    if sys.platform.startswith("linux"):  # elsewhere it may be the peak
        assert memory.held_memory_bytes() < before + 2**27


def test_freed_memory_is_kept_until_the_last_holder_gives_up(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))
            return 1

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(memory, "_glibc", Library)
    monkeypatch.setattr(memory, "_holders", 0)
    assert memory.keep_freed_memory() and memory.keep_freed_memory()
    assert calls[0] == (memory._M_MMAP_MAX, 0)
    calls.clear()
    memory.return_freed_memory()
    assert calls == ["trim"]
    memory.return_freed_memory()
    assert (memory._M_MMAP_MAX, 65536) in calls
    calls.clear()
    memory.keep_freed_memory()
    calls.clear()
    memory.use_usual_thresholds()
    assert calls == [], "somebody keeps freed memory"


FAULTS = """
import resource, sys
import numpy as np
from TuckerSegLib.hardware import memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        np.ones(1 << 20, np.uint8)  # 256 pages, and too small to be one huge page
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="needs glibc")
@pytest.mark.parametrize(
    "first", ["memory.use_usual_thresholds()", "memory.keep_freed_memory(); memory.return_freed_memory()"]
)
def test_tensors_use_freed_memory_again_though_dask_would_return_it(first):
    told = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask tells its workers

    def faults(first):
        command = [sys.executable, "-c", FAULTS.format(first=first)]
        run = subprocess.run(command, env=told, cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8", check=True)
        return int(run.stdout)

    assert faults(first) < 1000 < faults("")
