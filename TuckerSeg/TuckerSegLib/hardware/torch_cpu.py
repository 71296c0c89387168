"""PyTorch on the processor: runs everywhere, several times slower than a compiled network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BackendError
from ..system_memory import system_memory_bytes
from .device import Device
from .memory import keep_freed_memory, return_freed_memory
from .patch_predictor import PrepareSpec
from .processor import processor_name
from .threads import torch_threads

if TYPE_CHECKING:
    import torch

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def devices() -> list[Device]:
    """The processor."""
    try:
        import torch
    except Exception as error:  # a broken installation raises anything; the reason is shown
        reason = f"PyTorch cannot be loaded ({type(error).__name__}: {error})"
        return [Device("torch:cpu", "torch", processor_name(), False, reason, ())]
    total, free = system_memory_bytes()
    offers = f"PyTorch {torch.__version__.partition('+')[0]}, fp32"
    return [Device("torch:cpu", "torch", processor_name(), True, "", ("fp32",), total, free, offers)]


def prepare(load_network: Callable[[], torch.nn.Module], device: Device, spec: PrepareSpec) -> TorchPredictor:
    """Load a network, and let the process keep the memory of its intermediate tensors.

    Args:
        load_network: Gives the network.
        device: The processor, ``torch:cpu``.
        spec: Threads; the precision is fp32.

    Returns:
        A predictor of patches (B, C, Z, Y, X).
    """
    import torch

    start = time.perf_counter()
    network = load_network().eval()
    keep_freed_memory()
    description = f"PyTorch {torch.__version__.partition('+')[0]} on {device.name}, fp32"
    return TorchPredictor(network, spec.threads, description, time.perf_counter() - start)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, and nothing else."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


class TorchPredictor:
    """See :class:`.patch_predictor.PatchPredictor`. The result is float32, and new with each call."""

    output_device = "cpu"
    from_cache = False

    def __init__(self, network: torch.nn.Module, threads: int, description: str, seconds: float):
        self.description = description
        self.compile_seconds = seconds
        self._network: torch.nn.Module | None = network
        self._threads = threads

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute a batch: (B, C, Z, Y, X) float32 to (B, F, Z, Y, X) float32."""
        import torch

        if self._network is None:
            raise BackendError("This predictor was closed; prepare another one.")
        with torch.inference_mode(), torch_threads(self._threads):
            return self._network(patches)

    def close(self) -> None:
        """Give the memory back."""
        if self._network is not None:
            self._network = None
            return_freed_memory()
