"""Where one slice lies and how its values are scaled: fields of a file or a frame, checked where they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..checks import FARTHEST_MM
from ..formats.header_fields import finite_number, shown
from . import tags
from .dataset import Dataset
from .tags import Tag

UNIT_LENGTH = 0.01  # how far directions may be from length 1 and from right angles
LARGEST_SCALE = 1e15  # of slope and intercept: no intensity beyond fits into float32

Lookup = Callable[[Tag], str]  # the text of an element; empty without it


class WrongTagError(Exception):
    """What is wrong with an element, as a message."""


@dataclass(frozen=True, eq=False)
class Place:
    """Of one slice. Value = stored * slope + intercept.

    Attributes:
        directions: (2, 3), of the rows (along which x grows) and of the columns, LPS.
        position: (3,), of the first pixel's center, LPS mm.
        spacing: Distance of the rows, and of the columns, mm: y first, as in DICOM.
        is_scaled: Whether slope or intercept are told.
    """

    directions: np.ndarray
    position: np.ndarray
    spacing: tuple[float, float]
    slope: float
    intercept: float
    is_scaled: bool


def place_of(text: Lookup) -> Place:
    """The place and the scaling that fields tell.

    Raises:
        WrongTagError: A field is missing, or holds what cannot be.
    """
    position = np.array(_numbers(text, tags.POSITION, 3))
    if np.abs(position).max() > FARTHEST_MM:
        raise wrong(text, tags.POSITION, f"3 finite numbers up to {FARTHEST_MM:g} mm")
    directions = np.array(_numbers(text, tags.ORIENTATION, 6)).reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > UNIT_LENGTH:
        raise wrong(text, tags.ORIENTATION, "two directions of length 1 at right angles")
    spacing = _numbers(text, tags.PIXEL_SPACING, 2)
    if min(spacing) <= 0:
        raise wrong(text, tags.PIXEL_SPACING, "2 positive numbers")
    is_scaled = bool(text(tags.SLOPE) or text(tags.INTERCEPT))
    slope, intercept = _scale(text, tags.SLOPE, 1.0), _scale(text, tags.INTERCEPT, 0.0)
    return Place(directions, position, spacing, slope, intercept, is_scaled)


def frame_fields(dataset: Dataset, frame: int) -> Lookup:
    """The fields of a frame: its own ones, else those that all frames share."""
    of_frame = dataset.items.get(tags.FRAME_GROUPS, [])
    own = of_frame[frame] if frame < len(of_frame) else None
    groups = [group for group in (own, dataset.first(tags.SHARED_GROUPS)) if group is not None]

    def text(tag: Tag) -> str:
        for sequence in GROUP_OF.get(tag, ()):
            for group in groups:
                item = group.first(sequence)
                if item is not None and item.text(tag):
                    return item.text(tag)
        # A file's own position would be that of one frame alone
        return "" if tag == tags.POSITION else dataset.text(tag)

    return text


GROUP_OF = {
    tags.POSITION: (tags.PLANE_POSITION, tags.UNASSIGNED_FRAME),
    tags.ORIENTATION: (tags.PLANE_ORIENTATION, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.PIXEL_SPACING: (tags.PIXEL_MEASURES, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.SLOPE: (tags.VALUE_TRANSFORMATION, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.INTERCEPT: (tags.VALUE_TRANSFORMATION, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.STACK: (tags.FRAME_CONTENT,),
    tags.TEMPORAL_INDEX: (tags.FRAME_CONTENT,),
    tags.TIME_POINT: (tags.UNASSIGNED_FRAME,),
    tags.ACQUISITION: (tags.UNASSIGNED_FRAME,),
    tags.FRAME_ACQUISITION: (tags.FRAME_CONTENT,),
    tags.FRAME_TYPE: (tags.CT_FRAME_TYPE, tags.MR_FRAME_TYPE, tags.PET_FRAME_TYPE),
    tags.KERNEL: (tags.RECONSTRUCTION, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.THICKNESS: (tags.PIXEL_MEASURES, tags.UNASSIGNED_SHARED, tags.UNASSIGNED_FRAME),
    tags.ECHO_TIME: (tags.UNASSIGNED_FRAME,),
    tags.EFFECTIVE_ECHO_TIME: (tags.ECHO,),
    tags.TRIGGER_TIME: (tags.UNASSIGNED_FRAME,),
    tags.B_VALUE: (tags.DIFFUSION, tags.UNASSIGNED_FRAME),
    tags.CARDIAC_PHASE: (tags.CARDIAC,),
    tags.DIMENSIONS: (tags.FRAME_CONTENT,),
}


def wrong(text: Lookup, tag: Tag, expected: str) -> WrongTagError:
    """The error for an element that holds something else than ``expected``."""
    actual = shown(text(tag)) if text(tag) else "nothing (did an anonymizer remove it?)"
    return WrongTagError(f"damaged DICOM header, {tags.NAMES[tag]}: expected {expected}, found {actual}")


def _scale(text: Lookup, tag: Tag, default: float) -> float:
    if not text(tag):  # without it, values are taken as they are stored
        return default
    (number,) = _numbers(text, tag, 1)
    if abs(number) > LARGEST_SCALE or (tag == tags.SLOPE and number == 0):
        raise wrong(text, tag, "a number that makes intensities")
    return number


def _numbers(text: Lookup, tag: Tag, count: int) -> tuple[float, ...]:
    numbers = [finite_number(part) for part in text(tag).split("\\")]
    if len(numbers) != count or None in numbers:
        raise wrong(text, tag, f"{count} finite number{'s' if count > 1 else ''}")
    return tuple(numbers)
