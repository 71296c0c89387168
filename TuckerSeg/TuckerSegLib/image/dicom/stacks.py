"""The slices of one volume in order: where they lie, and what is missing, doubled or uneven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ImageError
from .header import Slice

GAP_ERROR = 0.1  # of the spacing; above it a structure's place would be off by a visible amount
ROUNDING_MM = 0.1  # of positions that are written with one decimal, at both ends
SAME_POSITION, FARTHEST_COPY_MM = 0.01, 0.05  # of the spacing; a copy is rounded as its original is
SAME_SPACING = 0.01  # of it
HOLE = 1.75  # of the usual distance around it
AROUND = 4  # distances to each side that tell the usual one
MOST_MISSING = 10_000  # in one hole: positions come from files
MOST_POSITIONS = 10  # that a message tells


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices sorted along their normal.

    Attributes:
        slices: At least 2.
        directions: (3, 3) LPS, rows of length 1 at right angles: along x, along y, and the normal.
        positions: (N, 3), of each slice's first pixel, LPS mm.
        heights: (N,), along the normal, mm.
    """

    slices: list[Slice]
    directions: np.ndarray
    positions: np.ndarray
    heights: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """(N - 1,), distances of neighbors along the normal, mm."""
        return np.diff(self.heights)

    @property
    def distance_mm(self) -> float:
        """The usual distance of two slices."""
        return float(np.median(self.gaps))

    @property
    def step(self) -> np.ndarray:
        """(3,), from a slice to the next one, LPS mm, were they even."""
        return (self.positions[-1] - self.positions[0]) / (len(self.slices) - 1)

    @property
    def unevenness_mm(self) -> float:
        """How far slices are from where they would lie, were they even from the first one to the last one."""
        line = self.positions[0] + np.arange(len(self.slices))[:, None] * self.step
        return float(np.linalg.norm(self.positions - line, axis=1).max())

    @property
    def is_even(self) -> bool:
        """Whether slices lie so evenly that a regular grid places what is in them well enough."""
        return self.unevenness_mm <= max(GAP_ERROR * self.distance_mm, ROUNDING_MM)

    @property
    def tilt_degrees(self) -> float:
        """Between the normal and the way from slice to slice."""
        cosine = float(self.step @ self.directions[2]) / float(np.linalg.norm(self.step))
        return float(np.degrees(np.arccos(min(1.0, cosine))))


def stacked(slices: Sequence[Slice]) -> Stack:
    """Slices of about the same directions, in order."""
    directions = np.mean([each.place.directions for each in slices], axis=0)
    row = directions[0] / np.linalg.norm(directions[0])
    column = directions[1] - (directions[1] @ row) * row
    column /= np.linalg.norm(column)
    axes = np.stack([row, column, np.cross(row, column)])
    ordered = sorted(slices, key=lambda each: float(each.place.position @ axes[2]))
    positions = np.stack([each.place.position for each in ordered])
    return Stack(ordered, axes, positions, positions @ axes[2])


def doubled(stack: Stack) -> np.ndarray:
    """(N,) of bool: slices at the position of the one before."""
    gaps = stack.gaps
    apart = gaps[gaps > 0.1 * gaps.max()] if gaps.size else gaps  # of many copies, most distances are none
    usual = float(np.median(apart)) if apart.size else 0.0
    return np.concatenate([[False], gaps <= min(SAME_POSITION * usual, FARTHEST_COPY_MM)])


def missing_heights(stack: Stack) -> list[float]:
    """Where slices seem to be missing: heights along the normal, mm.

    A distance is a hole where it is about twice the usual one around it, or more. Where the distance changes for good,
    as from the head to the chest, the usual one changes with it.
    """
    gaps, heights = stack.gaps, []
    for index, gap in enumerate(gaps):
        around = gaps[max(0, index - AROUND) : index + AROUND + 1]
        usual = float(np.median(around) if len(around) >= AROUND else around.min())
        if gap > HOLE * usual > 0:
            count = max(1, round(float(gap) / usual) - 1)
            count = min(count, MOST_MISSING)
            heights += np.linspace(stack.heights[index], stack.heights[index + 1], count + 2)[1:-1].tolist()
    return heights


def check_stack(source: str, name: str, stack: Stack) -> None:
    """Refuse slices that make no volume.

    Raises:
        ImageError: Their pixels have several sizes, only some tell how values are scaled, several lie at one position,
            or some are missing.
    """
    head = stack.slices[0]
    spacing = np.array(head.place.spacing)
    for other in stack.slices:
        if not np.allclose(other.place.spacing, spacing, SAME_SPACING, atol=0):
            raise ImageError(
                f"{source}: PixelSpacing changes within series {name}: {_listed(head)} mm in "
                f"{_place(head)}, {_listed(other)} mm in {_place(other)}. Give a folder with one volume."
            )
    plain = next((each for each in stack.slices if not each.place.is_scaled), None)
    if plain is not None and any((each.place.slope, each.place.intercept) != (1, 0) for each in stack.slices):
        raise ImageError(
            f"{source}: some slices of series {name} have RescaleSlope (0028,1053) and RescaleIntercept (0028,1052), "
            f"and {_place(plain)} has none: their values cannot be compared. Export the series again."
        )
    count = int(doubled(stack).sum())
    if count or stack.gaps.max() <= 0:
        raise ImageError(
            f"{source}: series {name} has {count} slices at a position of another slice: several time points or "
            "reconstructions, and nothing in the files tells them apart. Give a folder with one volume."
        )
    missing = missing_heights(stack)
    if missing:
        places = ", ".join(f"{height:.2f}" for height in missing[:MOST_POSITIONS])
        more = ", ..." if len(missing) > MOST_POSITIONS else ""
        gaps = stack.gaps
        raise ImageError(
            f"{source}: {len(missing)} slices seem to be missing in series {name}, at {places}{more} mm along the "
            f"slices' normal ({_axis(stack)}); expected one each {stack.distance_mm:.3f} mm, found distances of "
            f"{gaps.min():.3f} to {gaps.max():.3f} mm. Copy the whole series."
        )


def _axis(stack: Stack) -> str:
    """The normal in words, such as 'z of ImagePositionPatient' of axial slices."""
    normal = stack.directions[2]
    largest = int(np.argmax(np.abs(normal)))
    if abs(normal[largest]) < 0.999:
        return "ImagePositionPatient times the normal"
    return f"{'-' if normal[largest] < 0 else ''}{'xyz'[largest]} of ImagePositionPatient"


def _listed(each: Slice) -> str:
    return " x ".join(f"{value:.4g}" for value in each.place.spacing)


def _place(each: Slice) -> str:
    frame = f" (frame {each.frame + 1})" if each.file.format.frames > 1 else ""
    return each.file.source.file_name + frame
