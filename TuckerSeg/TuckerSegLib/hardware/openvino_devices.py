"""Lists OpenVINO's devices here: the processor, and Intel GPUs and NPUs where their drivers are installed."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from ..system_memory import system_memory_bytes
from .device import Device
from .processor import processor_name

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # OpenVINO's names
_NOT_INSTALLED = "the Python package openvino is not installed"


def devices() -> list[Device]:
    """The processor, then each GPU and NPU that OpenVINO lists."""
    if importlib.util.find_spec("openvino") is None:
        return [Device("openvino:cpu", "openvino", processor_name(), False, _NOT_INSTALLED, ())]
    try:
        import openvino

        core = openvino.Core()
        names = core.available_devices
    except Exception as error:  # a broken installation raises anything; the reason is shown
        reason = f"openvino cannot be loaded ({type(error).__name__}: {error})"
        return [Device("openvino:cpu", "openvino", processor_name(), False, reason, ())]
    return [_describe(core, name) for name in sorted(names, key=lambda name: (not name.startswith("CPU"), name))]


def _describe(core: Any, name: str) -> Device:
    identifier = f"openvino:{name.lower()}"
    try:
        if name == "CPU":
            precisions = _processor_precisions(core)
            total, free = system_memory_bytes()
            offers = f"compiled network, {', '.join(precisions)}"
            return Device(identifier, "openvino", processor_name(), True, "", precisions, total, free, offers)
        full_name = str(core.get_property(name, "FULL_DEVICE_NAME"))
        capabilities = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
        precisions = ("fp16", "fp32") if "FP16" in capabilities and name.startswith("GPU") else ("fp32",)
        precisions = ("fp16",) if name.startswith("NPU") else precisions
        memory = int(core.get_property(name, "GPU_DEVICE_TOTAL_MEM_SIZE")) if name.startswith("GPU") else None
    except Exception as error:  # drivers raise anything; the reason is shown
        return Device(identifier, "openvino", name, False, f"{type(error).__name__}: {error}", ())
    offers = f"compiled network, {', '.join(precisions)}; experimental"
    return Device(identifier, "openvino", full_name, True, "", precisions, memory, None, offers)


def _processor_precisions(core: Any) -> tuple[str, ...]:
    """Precisions with instructions of their own, the automatic choice first.

    The capabilities list FP16 on processors that only emulate it, and some compute in bf16 what was asked for in fp16,
    so one small convolution is compiled in each and asked which implementation it got. Where both have matrix tiles
    (AMX), fp16 is as fast as bf16 and rounds eight times finer.
    """
    implementations = {precision: _convolution_implementation(precision) for precision in ("fp16", "bf16")}
    half = {
        precision: name for precision, name in implementations.items() if name.rpartition("_")[2] == HINTS[precision]
    }
    tiled = [precision for precision, name in half.items() if "amx" in name]
    native = [precision for precision in half if precision not in tiled]
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        native = [precision for precision in native if precision != "bf16"]  # emulated
    return (*tiled, *native, "fp32")


@functools.cache
def _convolution_implementation(precision: str) -> str:
    """OpenVINO's name of it; asked once per process, for compiling takes longer than a small patch."""
    import numpy as np
    import openvino
    from openvino import opset8 as ops

    patch = ops.parameter([1, 16, 8, 8, 8], dtype=np.float32)
    weight = ops.constant(np.ones((16, 16, 3, 3, 3), np.float32))
    unit = [1, 1, 1]
    model = openvino.Model([ops.result(ops.convolution(patch, weight, unit, unit, unit, unit))], [patch], "probe")
    hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": 1}
    runtime_model = openvino.Core().compile_model(model, "CPU", hints).get_runtime_model()
    kinds = [node.get_rt_info()["primitiveType"].astype(str) for node in runtime_model.get_ops()]
    return next((kind for kind in kinds if "conv" in kind or "gemm" in kind), "")
