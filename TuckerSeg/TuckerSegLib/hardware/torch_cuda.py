"""NVIDIA GPUs through PyTorch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import BackendError
from .device import Device
from .patch_predictor import PrepareSpec

if TYPE_CHECKING:
    import torch

_FP16_FROM = (7, 0)  # Volta: the first with matrix units for fp16
_BF16_FROM = (8, 0)  # Ampere


def devices() -> list[Device]:
    """Each GPU, or one unusable entry that says why there is none."""
    try:
        import torch
    except Exception as error:  # a broken installation raises anything; the reason is shown
        return [_unusable("cuda", "NVIDIA GPU", f"PyTorch cannot be loaded ({type(error).__name__}: {error})")]
    if torch.version.cuda is None:
        return [_unusable("cuda", "NVIDIA GPU", "PyTorch was built without CUDA")]
    if not torch.cuda.is_available():
        return [_unusable("cuda", "NVIDIA GPU", "no NVIDIA GPU or driver was found")]
    return [_describe(index) for index in range(torch.cuda.device_count())]


def _unusable(identifier: str, name: str, reason: str) -> Device:
    return Device(identifier, "cuda", name, False, reason, ())


def _describe(index: int) -> Device:
    import torch

    identifier = f"cuda:{index}"
    try:
        name = torch.cuda.get_device_name(index)
        capability = torch.cuda.get_device_capability(index)
        if not _supported(capability, torch.cuda.get_arch_list()):
            version = ".".join(map(str, capability))
            return _unusable(identifier, name, f"this PyTorch was not built for compute capability {version}")
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        return _unusable(identifier, f"NVIDIA GPU {index}", f"the driver fails ({error})")
    half = ("fp16",) if capability >= _FP16_FROM else ()
    precisions = (*half, *(("bf16",) if capability >= _BF16_FROM else ()), "fp32")
    offers = f"{', '.join(precisions)}; {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return Device(identifier, "cuda", name, True, "", precisions, total, free, offers)


def _supported(capability: tuple[int, int], built_for: list[str]) -> bool:
    """Machine code runs on its own major version from its minor one on; compute_XY (PTX) on anything newer."""
    for target in built_for:
        kind, _, digits = target.partition("_")
        digits = "".join(filter(str.isdigit, digits))
        if not digits:
            continue
        version = (int(digits[:-1]), int(digits[-1]))
        same_major = version[0] == capability[0] and version <= capability
        if same_major or (kind == "compute" and version <= capability):
            return True
    return False


def prepare(load_network: Callable[[], torch.nn.Module], device: Device, spec: PrepareSpec) -> CUDAPredictor:
    """Move a network to a GPU.

    Args:
        load_network: Gives the network.
        device: An NVIDIA GPU, such as ``cuda:0``.
        spec: Precision.

    Returns:
        A predictor of patches (B, C, Z, Y, X).

    Raises:
        Exception: Memory ran out, which ``is_out_of_memory`` tells from the backend's other errors.
    """
    start = time.perf_counter()
    network = load_network().eval().to(device.id)
    description = f"PyTorch CUDA on {device.name}, {spec.precision}"
    return CUDAPredictor(network, device.id, spec.precision, description, time.perf_counter() - start)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the GPU or of the computer, and nothing else."""
    import torch

    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    words = ("cuda error: out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


class CUDAPredictor:
    """See :class:`.patch_predictor.PatchPredictor`. The result stays on the GPU, in the precision asked for."""

    from_cache = False

    def __init__(self, network: torch.nn.Module, output_device: str, precision: str, description: str, seconds: float):
        self.output_device = output_device
        self.description = description
        self.compile_seconds = seconds
        self._network: torch.nn.Module | None = network
        self._precision = precision

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute a batch: (B, C, Z, Y, X) float32, on the CPU or the GPU, to (B, F, Z, Y, X) on the GPU."""
        import torch

        if self._network is None:
            raise BackendError("This predictor was closed; prepare another one.")
        if patches.device.type == "cpu":
            patches = patches.pin_memory()
        patches = patches.to(self.output_device, non_blocking=True)
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self._precision)
        with torch.inference_mode(), _convolution_settings(), torch.autocast("cuda", half, enabled=half is not None):
            return self._network(patches)

    def close(self) -> None:
        """Give the memory back."""
        import torch

        self._network = None
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _convolution_settings() -> Iterator[None]:
    """cuDNN measures its algorithms once per shape, and fp32 means fp32 (no TF32); put back afterwards."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
