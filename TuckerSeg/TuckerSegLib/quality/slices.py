"""Slices that are blank, copies of their neighbors, or missing.

A NIfTI file has no position of its own for each slice, so what is missing is only seen where the image jumps. A DICOM
folder is looked at more closely by ``image.dicom``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..image import Box
from ..quality_report import INFO, WARNING, Finding

SKIP = 8  # in-plane step of a first look
JUMP_STEP = 3
JUMP_NEIGHBORS = 5
JUMP = 3.0  # change between two slices, over the usual one around them; 1.7 at most in CTs that are whole
SMALLEST_CHANGE = 2.0  # HU; below it, two slices of air
CHANGES_RANGE_HU = (-1000, 400)
FEWEST_SLICES = 12
UPSAMPLED = 0.3  # this share of copies is no accident
AXIS_WORDS = ("slices", "rows", "columns")


def content_box(volume: np.ndarray) -> Box:
    """The part of (Z, Y, X) that is left without constant planes at its six ends; all of it where nothing is left."""
    box = []
    for axis in range(3):
        planes, size = np.moveaxis(volume, axis, 0), volume.shape[axis]
        first = next((index for index in range(size) if not _constant(planes[index])), 0)
        last = next((index for index in range(size - 1, -1, -1) if not _constant(planes[index])), size - 1)
        box.append(slice(first, last + 1))
    return tuple(box)


def check_slices(volume: np.ndarray, content: Box) -> Iterator[Finding]:
    """Look at whole planes of (Z, Y, X); jumps are looked for along the first axis, that of the slices.

    Args:
        content: See :func:`content_box`.
    """
    padding = len(volume) - (content[0].stop - content[0].start)
    if padding:
        yield Finding(
            "padding",
            INFO,
            f"{padding} of {len(volume)} slices at the ends of the image are blank. They cost time and give nothing.",
            {"slices": float(padding)},
        )
    inside = volume[content[0]]
    blank = [content[0].start + index for index, plane in enumerate(inside) if _constant(plane)]
    if blank:
        yield Finding(
            "blank-slices",
            WARNING,
            f"Slices {_listed(blank)} are blank although there is image before and after them. Slices seem to be "
            "missing: copy or convert the series again.",
            {"slices": float(len(blank))},
        )
    yield from _copies(volume[content])
    if not blank:
        yield from _jumps(inside, content[0].start)


def _copies(volume: np.ndarray) -> Iterator[Finding]:
    for axis, words in enumerate(AXIS_WORDS):
        planes = np.moveaxis(volume, axis, 0)
        look = planes[:, ::SKIP, ::SKIP]
        alike = np.flatnonzero((look[1:] == look[:-1]).all(axis=(1, 2)))
        copies = [
            int(index)
            for index in alike
            if np.array_equal(planes[index], planes[index + 1]) and not _constant(planes[index])
        ]
        if not copies:
            continue
        numbers = {"copies": float(len(copies)), "axis": float(axis)}
        if len(copies) >= UPSAMPLED * len(planes):
            words = (
                f"{len(copies)} of {len(planes)} {words} are copies of the one before: the image was enlarged without "
                "interpolation. Its true resolution is lower than the spacing says; give the image as it was scanned."
            )
            yield Finding("copied-slices", INFO, words, numbers)
        else:
            words = (
                f"{len(copies)} of {len(planes)} {words} are copies of the one before. The structures are too long "
                "there: copy or convert the series again."
            )
            yield Finding("copied-slices", WARNING, words, numbers)
        return  # one finding per code


def _jumps(volume: np.ndarray, first: int) -> Iterator[Finding]:
    if len(volume) < FEWEST_SLICES:
        return
    low, high = CHANGES_RANGE_HU
    change = np.empty(len(volume) - 1)
    before = np.clip(volume[0, ::JUMP_STEP, ::JUMP_STEP].astype(np.float32), low, high)
    for index in range(1, len(volume)):
        plane = np.clip(volume[index, ::JUMP_STEP, ::JUMP_STEP].astype(np.float32), low, high)
        change[index - 1] = np.abs(plane - before).mean()
        before = plane
    around = np.array([_median_around(change, index) for index in range(len(change))])
    ratios = np.where(change > SMALLEST_CHANGE, change / np.maximum(around, 1e-6), 0)
    worst = int(ratios.argmax())
    if ratios[worst] < JUMP:
        return
    places = int(np.count_nonzero(ratios >= JUMP))
    more = f" (and at {places - 1} more places)" if places > 1 else ""
    yield Finding(
        "jump",
        WARNING,
        f"The image jumps between slices {first + worst} and {first + worst + 1} of {first + len(volume)}{more}: it "
        f"changes {ratios[worst]:.1f} times as much as around them. Slices are missing or damaged there; the file "
        "cannot tell. Compare with the original series.",
        {"slice": float(first + worst), "ratio": float(ratios[worst])},
    )


def _median_around(change: np.ndarray, index: int) -> float:
    return float(np.median([*change[max(0, index - JUMP_NEIGHBORS) : index], *change[index + 1 :][:JUMP_NEIGHBORS]]))


def _constant(plane: np.ndarray) -> bool:
    first = plane.flat[0]
    return bool((plane[::SKIP, ::SKIP] == first).all() and (plane == first).all())


def _listed(numbers: list[int], most: int = 5) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    return shown + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
