"""The settings that a backend prepares a network with, and the predictor that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


def _silent(message: str) -> None:
    """Where the caller does not listen."""


@dataclass(frozen=True)
class PrepareSpec:
    """How a network will be run.

    Attributes:
        patch_shape: (Z, Y, X), in voxels.
        input_channels: Number of image channels, C.
        batch_size: Largest number of patches per call.
        precision: ``fp32``, ``bf16`` or ``fp16``; one that the device computes natively.
        threads: Processor threads; 0 for the backend's own choice.
        cache_folder: Folder in which compiled forms are kept; None keeps none.
        cache_key: Identity of the network's weights and structure.
        cache_note: The model that a compiled form belongs to, for users who list the cache.
        log: Called with sentences for the user, such as that a cache entry is damaged.
    """

    patch_shape: tuple[int, int, int]
    input_channels: int = 1
    batch_size: int = 1
    precision: str = "fp32"
    threads: int = 0
    cache_folder: Path | None = None
    cache_key: str = ""
    cache_note: str = ""
    log: Callable[[str], None] = _silent


class PatchPredictor(Protocol):
    """A callable from patches (B, C, Z, Y, X), float32, B up to the batch size, to features or logits (B, F, Z, Y, X).

    The result may be written over by the next call; its dtype may be a half precision one and its memory may have
    the channels last. The predictor is used by one thread at a time.

    Attributes:
        output_device: Device of the result, as torch names it.
        description: Backend, device and precision, for the statistics.
        compile_seconds: Time that ``prepare`` took.
        from_cache: Whether a compiled form was read instead of made.
    """

    output_device: str
    description: str
    compile_seconds: float
    from_cache: bool

    def __call__(self, patches: torch.Tensor) -> torch.Tensor: ...

    def close(self) -> None:
        """Free its memory; the predictor cannot be called again."""
