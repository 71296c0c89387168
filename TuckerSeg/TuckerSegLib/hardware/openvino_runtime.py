"""OpenVINO: processors, and Intel GPUs and NPUs where their drivers are installed.

Patches are computed one at a time: a batch is no faster on a processor and needs more memory.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import BackendError
from . import compiled_cache
from .device import Device
from .openvino_devices import HINTS, devices
from .patch_predictor import PrepareSpec

if TYPE_CHECKING:
    import torch

__all__ = ["OpenVINOPredictor", "devices", "is_out_of_memory", "prepare"]

_GRAPH_VERSION = 9  # of what openvino_convert.to_model makes; a change must not meet old entries
_MEMORY_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "can't allocate", "cannot allocate memory")


def prepare(load_network: Callable[[], torch.nn.Module], device: Device, spec: PrepareSpec) -> OpenVINOPredictor:
    """Compile a network for one patch shape, or take its compiled form from the cache.

    Args:
        load_network: Gives the network in eval mode; not called when the compiled form is in the cache.
        device: One of OpenVINO's, such as ``openvino:cpu``.
        spec: Patch shape, precision, threads, and the folder of compiled forms.

    Returns:
        A predictor of patches (B, C, Z, Y, X), B up to ``spec.batch_size``.

    Raises:
        BackendError: OpenVINO cannot compile the network for this device.
    """
    import openvino

    start = time.perf_counter()
    core = openvino.Core()
    name = device.id.partition(":")[2].upper()
    settings = _settings(name, spec)
    identity = _identity(openvino.__version__, device, spec, settings)
    compiled, body = _from_cache(core, name, settings, identity, spec)
    if compiled is None:
        compiled = _compile(core, name, settings, load_network, spec)
        if spec.cache_folder is not None:
            exported = compiled.export_model().getvalue()
            compiled_cache.write_entry(spec.cache_folder, identity, exported, spec.log, spec.cache_note)
            del exported
        gc.collect()  # the network and its graph have reference cycles, and are as large as the compiled form
    seconds = time.perf_counter() - start
    description = f"OpenVINO {openvino.__version__.split('-')[0]} on {device.name}, {spec.precision}"
    return OpenVINOPredictor(compiled, spec, description, seconds, body)


def _settings(name: str, spec: PrepareSpec) -> dict[str, Any]:
    settings: dict[str, Any] = {
        # Explicit: left out, OpenVINO takes bf16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": HINTS[spec.precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if name == "CPU":
        settings["NUM_STREAMS"] = 1
        # OpenVINO binds its threads to the first cores, in every process to the same ones: several runs at a time, as
        # of a cohort's workers, would share those and leave the others idle.
        settings["ENABLE_CPU_PINNING"] = False
        if spec.threads:
            settings["INFERENCE_NUM_THREADS"] = spec.threads
    if name.startswith("NPU"):
        del settings["INFERENCE_PRECISION_HINT"]  # has only one, and refuses the hint on some drivers
    return settings


def _identity(version: str, device: Device, spec: PrepareSpec, settings: dict[str, Any]) -> dict[str, str]:
    values = {
        "network": spec.cache_key,
        "graph": _GRAPH_VERSION,
        "patch": (spec.input_channels, *spec.patch_shape),
        "precision": spec.precision,  # the settings do not name it on every device
        "openvino": version,
        "device": (device.id, device.name, device.precisions),
        "settings": sorted(settings.items()),
    }
    return {key: str(value) for key, value in values.items()}


def _from_cache(core: Any, name: str, settings: dict, identity: dict[str, str], spec: PrepareSpec) -> tuple[Any, Any]:
    """The compiled network and the bytes that it was read from; nothing twice where there are none."""
    import openvino

    if spec.cache_folder is None:
        return None, None
    body = compiled_cache.read_entry(spec.cache_folder, identity, spec.log)
    if body is None:
        return None, None
    try:
        return core.import_model(openvino.Tensor(body, shared_memory=True), name, settings), body
    except RuntimeError as error:
        spec.log(f"OpenVINO refuses a compiled network of its own ({_first_line(error)}); it is made again.")
        compiled_cache.drop_entry(spec.cache_folder, identity)
        return None, None


def _compile(core: Any, name: str, settings: dict, load_network: Callable, spec: PrepareSpec) -> Any:
    from .openvino_convert import to_model

    network = load_network()
    model = to_model(network, (1, spec.input_channels, *spec.patch_shape), HINTS[spec.precision], spec.log)
    try:
        return core.compile_model(model, name, settings)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise BackendError(
            f"OpenVINO cannot compile this network for {name} with patches of {spec.patch_shape} "
            f"({_first_line(error)}). Take another device, such as torch:cpu."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, and nothing else."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OpenVINOPredictor:
    """See :class:`.patch_predictor.PatchPredictor`.

    The result's memory has the channels last and is reused; its dtype is the precision that was asked for, which
    halves the largest tensors of a run.
    """

    output_device = "cpu"

    def __init__(self, compiled: Any, spec: PrepareSpec, description: str, seconds: float, body: Any):
        self.description = description
        self.compile_seconds = seconds
        self.from_cache = body is not None
        self._body = body  # OpenVINO reads the weights from it, and does not keep it alive
        self._spec = spec
        self._request = compiled.create_infer_request()
        self._output_shape = tuple(compiled.output(0).shape)[1:]
        self._results: torch.Tensor | None = None

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute patches one by one.

        Args:
            patches: (B, C, Z, Y, X) float32.

        Returns:
            (B, F, Z, Y, X), overwritten by the next call.
        """
        import numpy as np
        import openvino
        import torch

        if self._request is None:
            raise BackendError("This predictor was closed; prepare another one.")
        expected = (self._spec.input_channels, *self._spec.patch_shape)
        if tuple(patches.shape[1:]) != expected:
            raise BackendError(f"Patches of {expected} were prepared for, {tuple(patches.shape[1:])} came.")
        if self._results is None or len(self._results) < len(patches):
            self._results = torch.empty((len(patches), *self._output_shape), dtype=self._dtype())
        array = np.ascontiguousarray(patches.detach().numpy(), dtype=np.float32)
        for index in range(len(patches)):
            self._request.set_input_tensor(openvino.Tensor(array[index : index + 1], shared_memory=True))
            self._request.set_output_tensor(_shared_tensor(self._results[index : index + 1]))
            self._request.infer(share_outputs=True)  # else all results are copied, for nobody
        return self._results[: len(patches)].permute(0, 4, 1, 2, 3)

    def _dtype(self) -> torch.dtype:
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self._spec.precision]

    def close(self) -> None:
        """Give the memory back."""
        self._request = None
        self._results = None
        self._body = None


def _shared_tensor(tensor: torch.Tensor) -> Any:
    """OpenVINO's view of a contiguous torch tensor. numpy has no bf16, so the memory passes as 16-bit integers."""
    import openvino
    import torch

    if tensor.dtype != torch.bfloat16:
        return openvino.Tensor(tensor.numpy(), shared_memory=True)
    array = tensor.view(torch.int16).numpy()
    return openvino.Tensor(array, openvino.Shape(list(array.shape)), openvino.Type.bf16)
