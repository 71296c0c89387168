"""The device that a network is trained on, and the precision that is fast there."""

from __future__ import annotations

import torch

from ..errors import BackendError


def training_device(name: str) -> torch.device:
    """PyTorch's device of a name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: Another name, or a device that is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"Training runs on auto, cpu, cuda or cuda:N; found '{name}'.") from error
    if device.type not in ("cpu", "cuda"):
        raise BackendError(f"Training runs on auto, cpu, cuda or cuda:N; found '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(f"{name}: PyTorch finds {torch.cuda.device_count()} CUDA device(s). Choose cpu.")
    return device


def training_precision(device: torch.device) -> str:
    """The fastest precision to train with on a device: ``bf16`` where it has instructions for it, else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest PyTorch that we support
    return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
