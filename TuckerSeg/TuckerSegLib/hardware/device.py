"""Lists the devices of this computer, and chooses one and its precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import BackendError

# A 128x112x112 patch with 32 features in half precision and cuDNN's workspaces; a batch that is still too large
# steps down later.
_CUDA_FREE_BYTES = 3 * 2**30

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Device:
    """A processor or GPU together with the backend that uses it.

    Attributes:
        id: The name that the user types, such as ``openvino:cpu``, ``torch:cpu``, ``cuda:0`` or ``mps``.
        backend: Name in ``hardware.BACKENDS``.
        name: Model name of the processor or GPU.
        usable: Whether networks can run on it here.
        reason: Why it is not usable; empty if it is.
        precisions: Precisions that it computes natively; ``auto`` takes the first.
        memory_bytes, free_memory_bytes: Its memory; None where unknown.
        offers: What it offers, as one line for a table.
    """

    VERSION: ClassVar[int] = 1

    id: str
    backend: str
    name: str
    usable: bool = True
    reason: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    memory_bytes: int | None = None
    free_memory_bytes: int | None = None
    offers: str = ""


def devices() -> list[Device]:
    """All devices, usable or not, in the order of their backends' preference.

    A driver or library that fails becomes an unusable entry with its message, never an exception.
    """
    from . import BACKENDS, backend

    listed: list[Device] = []
    for name in BACKENDS:
        try:
            listed += backend(name).devices()
        except Exception as error:  # broken third-party installations raise anything; the reason is shown
            listed.append(Device(name, name, name, False, f"{type(error).__name__}: {error}", ()))
    return listed


def choose(wanted: str, devices: Sequence[Device]) -> tuple[Device, str]:
    """Choose the device that the user asks for.

    Args:
        wanted: ``auto``, a device's id, ``cpu`` (the best one), ``gpu``, or a backend (its first device).
        devices: From :func:`devices`.

    Returns:
        The device, and in words why it was chosen.

    Raises:
        BackendError: There is no such device, or it is not usable; the message says why, and which devices are.
    """
    usable = [device for device in devices if device.usable]
    wanted = wanted.strip().lower()
    if wanted == "auto":
        return _choose_automatically(usable, devices)
    matching = [device for device in devices if _answers_to(device, wanted)]
    for device in matching:
        if device.usable:
            return device, f"{device.id} was asked for"
    choices = "Usable here: " + (", ".join(device.id for device in usable) or "nothing") + ", or auto."
    if matching:
        raise BackendError(f"Device {wanted!r} is not usable: {matching[0].reason}. {choices}")
    raise BackendError(f"Unknown device {wanted!r}. {choices}")


def _answers_to(device: Device, wanted: str) -> bool:
    if wanted == "cpu":
        return device.id.endswith(":cpu")
    if wanted == "gpu":
        return device.backend in ("cuda", "mps") or device.id.startswith("openvino:gpu")
    return wanted in (device.id, device.backend)


def _choose_automatically(usable: Sequence[Device], devices: Sequence[Device]) -> tuple[Device, str]:
    """CUDA GPU with room > OpenVINO CPU > PyTorch CPU > whatever else works."""
    cuda = [device for device in usable if device.backend == "cuda"]
    roomy = [device for device in cuda if (device.free_memory_bytes or 0) >= _CUDA_FREE_BYTES]
    passed_over = ""
    if roomy:
        best = max(roomy, key=lambda device: device.free_memory_bytes or 0)
        return best, f"NVIDIA GPU with {_gib(best.free_memory_bytes)} free"
    if cuda:
        passed_over = f" ({cuda[0].id} has only {_gib(cuda[0].free_memory_bytes)} free)"
    by_id = {device.id: device for device in usable}
    if "openvino:cpu" in by_id:
        return by_id["openvino:cpu"], f"OpenVINO is the fastest on this processor{passed_over}"
    if "torch:cpu" in by_id:
        absent = next((device.reason for device in devices if device.id == "openvino:cpu"), "")
        return by_id["torch:cpu"], f"PyTorch on the processor{passed_over}" + (f"; {absent}" if absent else "")
    if usable:  # never taken before a processor: not measured, and an integrated GPU shares its memory
        return usable[0], "the only device that is usable"
    reasons = "; ".join(f"{device.id}: {device.reason}" for device in devices)
    raise BackendError(f"No device is usable. {reasons}")


def choose_precision(wanted: str, device: Device) -> tuple[str, str]:
    """Choose a precision that the device computes natively.

    Args:
        wanted: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: The device that computes.

    Returns:
        The precision, and in words why it was chosen.

    Raises:
        BackendError: There is no such precision, or the device does not compute it natively.
    """
    wanted = wanted.strip().lower()
    offered = ", ".join(device.precisions)
    if wanted == "auto":
        fastest = device.precisions[0]
        if fastest == "fp32":
            return fastest, "the device computes nothing faster than fp32 natively"
        return fastest, f"{fastest} is native to the device, and the fastest"
    if wanted not in PRECISIONS:
        raise BackendError(f"Unknown precision {wanted!r}; known: auto, {', '.join(PRECISIONS)}.")
    if wanted not in device.precisions:
        raise BackendError(f"{device.name} ({device.id}) has no native {wanted}; it offers {offered}.")
    return wanted, f"{wanted} was asked for"


def _gib(size: int | None) -> str:
    return "an unknown amount of memory" if size is None else f"{size / 2**30:.1f} GiB"
