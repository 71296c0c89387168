"""Reports slices that are blank, copies of their neighbors, or missing.

A NIfTI file has no position of its own for each slice, so what is missing is only seen where the image jumps. A DICOM
folder is looked at more closely by ``image.dicom``.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from ..image import Box
from ..records.quality_report import INFO, WARNING, Finding

SKIP = 8  # in-plane step of a first look
LOOK = 64  # pixels along an edge that are enough to see a change
JUMP_NEIGHBORS = 5
JUMP = 3.0  # change between two slices, over the usual one around them; 1.7 at most in CTs that are whole
SMALLEST_CHANGE = 2.0  # HU; below it, two slices of air
CHANGES_RANGE_HU = (-1000, 400)
FEWEST_SLICES = 12
UPSAMPLED = 0.3  # this share of copies is no accident
AXIS_WORDS = ("slices", "rows", "columns")


def content_box(volume: np.ndarray) -> Box:
    """Box of a volume (Z, Y, X) without constant planes at its six ends; the whole volume where nothing is left."""
    box = []
    for axis in range(3):
        planes, size = np.moveaxis(volume, axis, 0), volume.shape[axis]
        first = next((index for index in range(size) if not _constant(planes[index])), 0)
        last = next((index for index in range(size - 1, -1, -1) if not _constant(planes[index])), size - 1)
        box.append(slice(first, last + 1))
    return tuple(box)


def check_slices(volume: np.ndarray, content: Box) -> Iterator[Finding]:
    """Report padding, blank and copied planes, and jumps between slices.

    Args:
        volume: (Z, Y, X) in HU; slices follow each other along the first axis.
        content: From :func:`content_box`.
    """
    first, last = content[0].start, content[0].stop
    padding = len(volume) - (last - first)
    if padding:
        yield Finding(
            "padding",
            INFO,
            f"{padding} of {len(volume)} slices at the ends of the image are blank. They cost time and give nothing.",
            {"slices": float(padding)},
        )
    step = max(1, min(volume.shape[1:]) // LOOK)
    look = np.ascontiguousarray(volume[first:last, ::step, ::step])
    flat = np.flatnonzero(look.min(axis=(1, 2)) == look.max(axis=(1, 2)))
    blank = [first + int(index) for index in flat if _constant(volume[first + index])]
    if blank:
        yield Finding(
            "blank-slices",
            WARNING,
            f"Slices {_listed(blank)} are blank although there is image before and after them. Slices seem to be "
            "missing: copy or convert the series again.",
            {"slices": float(len(blank))},
        )
    yield from _check_copies(volume[content])
    if not blank:
        yield from _check_jumps(look, first)


def _check_copies(volume: np.ndarray) -> Iterator[Finding]:
    for axis, words in enumerate(AXIS_WORDS):
        planes = np.moveaxis(volume, axis, 0)
        look = np.ascontiguousarray(planes[:, ::SKIP, ::SKIP])
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


def _check_jumps(look: np.ndarray, first: int) -> Iterator[Finding]:
    """Report jumps between the slices of ``look`` (Z, Y, X); its first slice is number ``first`` of the image."""
    if len(look) < FEWEST_SLICES:
        return
    shown = np.clip(look, *CHANGES_RANGE_HU).astype(np.float32)
    change = np.abs(np.diff(shown, axis=0)).mean(axis=(1, 2))
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
        f"The image jumps between slices {first + worst} and {first + worst + 1} of {first + len(look)}{more}: it "
        f"changes {ratios[worst]:.1f} times as much as around them. Slices are missing or damaged there; the file "
        "cannot tell. Compare with the original series.",
        {"slice": float(first + worst), "ratio": float(ratios[worst])},
    )


def _median_around(change: np.ndarray, index: int) -> float:
    # Not numpy's median, whose first use imports another library of arrays
    return median([*change[max(0, index - JUMP_NEIGHBORS) : index], *change[index + 1 :][:JUMP_NEIGHBORS]])


def _constant(plane: np.ndarray) -> bool:
    first = plane.flat[0]
    return bool((plane[::SKIP, ::SKIP] == first).all() and (plane == first).all())


def _listed(numbers: list[int], most: int = 5) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    return shown + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
