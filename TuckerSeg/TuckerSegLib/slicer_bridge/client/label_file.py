"""Labels that the worker wrote: a box of a volume. What does not fit the volume is refused before a scene changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ImageError
from ...records.protocol import BoxFile
from ...records.serialization import from_json
from ..scene.segmentations import LabelBox


def read_box(document: dict[str, Any], shape: Sequence[int]) -> LabelBox:
    """Labels of a box that the worker wrote. Maps the file, which is read when the labels are shown.

    Args:
        document: A ``BoxFile`` as JSON has it.
        shape: Of the volume, (Z, Y, X).

    Raises:
        ImageError: There is no such file, it holds no labels, or they lie outside of the volume.
        ModelFileError: The document is none of a box.
    """
    box = from_json(BoxFile, document)
    try:
        labels = np.load(box.path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(f"{box.path} cannot be read ({error})") from error
    size = tuple(last - first for first, last in zip(box.lower, box.upper))
    if labels.shape != size or 0 in size or labels.dtype.kind not in "iu":
        raise _unusable(f"expected whole numbers, {_words(size)}; found {labels.dtype}, {_words(labels.shape)}")
    if min(box.lower) < 0 or any(last > whole for last, whole in zip(box.upper, shape)):
        raise _unusable(f"they lie from {_words(box.lower)} to {_words(box.upper)} in a volume of {_words(shape)}")
    return LabelBox(labels, box.lower)


def _unusable(why: str) -> ImageError:
    return ImageError(f"The labels of the worker cannot be used: {why}. Press Segment again.")


def _words(numbers: Sequence[int]) -> str:
    return " × ".join(map(str, numbers))
