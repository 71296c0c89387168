"""Apple GPUs through PyTorch. Experimental: some versions of PyTorch have no three-dimensional convolution there."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BackendError
from .device import Device
from .patch_predictor import PrepareSpec
from .processor import processor_name

if TYPE_CHECKING:
    import torch

# In a process of its own: an operation that Metal lacks may abort the process instead of raising.
_PROBE = """
import torch
x = torch.ones(1, 2, 4, 4, 4)
w, u = torch.ones(3, 2, 3, 3, 3), torch.ones(2, 3, 2, 2, 2)
for f, k in ((torch.nn.functional.conv3d, w), (torch.nn.functional.conv_transpose3d, u)):
    assert torch.allclose(f(x.to("mps"), k.to("mps")).cpu(), f(x, k), atol=1e-4), f.__name__
"""
_PROBE_SECONDS = 60


def devices() -> list[Device]:
    """The Apple GPU, or why there is none."""
    if sys.platform != "darwin":
        return [_unusable("only on macOS")]
    try:
        import torch

        available = torch.backends.mps.is_available()
    except Exception as error:  # a broken installation raises anything; the reason is shown
        return [_unusable(f"PyTorch cannot be loaded ({type(error).__name__}: {error})")]
    if not available:
        return [_unusable("PyTorch finds no Metal device; it needs an Apple GPU and macOS 12.3")]
    failure = _probe_failure()
    if failure:
        return [_unusable(f"three-dimensional convolution fails there ({failure})")]
    memory = int(torch.mps.recommended_max_memory())
    return [Device("mps", "mps", processor_name(), True, "", ("fp32", "fp16"), memory, None, "experimental")]


def _unusable(reason: str) -> Device:
    return Device("mps", "mps", "Apple GPU", False, reason, ())


@functools.cache
def _probe_failure() -> str:
    """Why the convolutions do not work; empty if they do."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode == 0:
        return ""
    lines = run.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {run.returncode}"


def prepare(load_network: Callable[[], torch.nn.Module], device: Device, spec: PrepareSpec) -> MPSPredictor:
    """Move a network to the Apple GPU.

    Args:
        load_network: Gives the network.
        device: The Apple GPU, ``mps``.
        spec: Precision.

    Returns:
        A predictor of patches (B, C, Z, Y, X).

    Raises:
        Exception: Memory ran out, which ``is_out_of_memory`` tells from the backend's other errors.
    """
    import torch

    start = time.perf_counter()
    dtype = torch.float16 if spec.precision == "fp16" else torch.float32
    network = load_network().eval().to("mps", dtype)
    description = f"PyTorch MPS on {device.name}, {spec.precision}"
    return MPSPredictor(network, dtype, description, time.perf_counter() - start)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, and nothing else."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and "mps backend out of memory" in str(error).lower()


class MPSPredictor:
    """See :class:`.patch_predictor.PatchPredictor`. The result stays on the GPU, in the precision asked for."""

    output_device = "mps"
    from_cache = False

    def __init__(self, network: torch.nn.Module, dtype: torch.dtype, description: str, seconds: float):
        self.description = description
        self.compile_seconds = seconds
        self._network: torch.nn.Module | None = network
        self._dtype = dtype

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute a batch: (B, C, Z, Y, X) float32 to (B, F, Z, Y, X) on the GPU."""
        import torch

        if self._network is None:
            raise BackendError("This predictor was closed; prepare another one.")
        with torch.inference_mode():
            return self._network(patches.to("mps", self._dtype))

    def close(self) -> None:
        """Give the memory back."""
        import torch

        self._network = None
        torch.mps.empty_cache()
