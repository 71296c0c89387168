"""Checks the size that a header claims against the file and against free memory, before anything is allocated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..system_memory import system_memory_bytes

LARGEST_RATIO = 1032  # of deflate: no compressed stream holds more than this many times its own bytes (zlib.net)
KEPT_TYPES = (np.uint8, np.int8, np.int16, np.float32)  # what the engine works on as it is stored
CONVERTED_BYTES = 4  # of a voxel, at most


def check_stored_bytes(path: Path, needed: int, stored: int, compressed: bool) -> None:
    """Refuse a file that is too short for the voxels that its header promises.

    Args:
        path: The file, for the message.
        needed: Bytes that the header promises.
        stored: Bytes of the file from the start of the voxels.
        compressed: Whether the stored bytes are a zlib or gzip stream.

    Raises:
        ImageError: The file is too short.
    """
    if needed > stored * (LARGEST_RATIO if compressed else 1):
        raise truncated(path, needed, stored, compressed)


def check_memory(source: str | Path, shape: tuple[int, ...], dtype: np.dtype, scaled: bool = False) -> None:
    """Refuse an image that does not fit into this computer's free memory.

    Args:
        source: Name of the file, for the message.
        shape: Shape of the volume, (Z, Y, X).
        dtype: Type of a voxel in the file.
        scaled: Whether voxels are scaled after reading, which needs a second array.

    Raises:
        ImageError: There is too little memory; the message says how much is needed and how much is free.
    """
    converted = CONVERTED_BYTES if scaled or dtype not in KEPT_TYPES else 0
    needed = math.prod(shape) * (dtype.itemsize + converted)
    total, free = system_memory_bytes()
    most = total if free is None else free
    if most is not None and needed > most:
        sizes = "x".join(str(size) for size in shape[::-1])
        raise ImageError(
            f"{source}: its header says {sizes} voxels of {dtype.name}, which would need {needed / 1e9:.1f} GB of "
            f"memory; this computer has {(total or most) / 1e9:.1f} GB, {most / 1e9:.1f} GB of them free. If the "
            "header is right, crop or resample the image on a larger computer."
        )


def truncated(path: Path, expected: int, stored: int, compressed: bool = False) -> ImageError:
    """The error for a file that ends too early, with the bytes that its header promises and those it has."""
    return ImageError(
        f"{path}: truncated; its header promises {expected} bytes of data, and {stored} "
        f"{'compressed ones ' if compressed else ''}are there. Copy or download the file again."
    )
