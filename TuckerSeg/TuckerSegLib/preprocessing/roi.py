"""Which part of a volume is to be computed. Knows grids; nothing of images, models and patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a volume.

    Attributes:
        wanted: Mask (Z, Y, X) on the model's axes over the whole (cropped) volume, as coarse as one likes; patches
            that see nothing of it are not run. None wants everything.
        box: Part of the input's grid, (Z, Y, X), beyond which all is background; None: nowhere.
    """

    wanted: np.ndarray | None = None
    box: Box | None = None

    def within(self, shape: Sequence[int], box: Box) -> np.ndarray | None:
        """What is wanted of a box of the volume.

        Args:
            shape: (Z, Y, X) of the volume.
            box: Of its voxels.

        Returns:
            ``wanted`` itself where the box is the whole volume; else a mask as fine as the box, which wants the voxels
            that ``wanted`` touches.
        """
        if self.wanted is None or all(part == slice(0, size) for part, size in zip(box, shape, strict=True)):
            return self.wanted
        found = self.wanted
        for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
            cells = found.shape[axis]
            voxels = np.arange(part.start, part.stop)
            first, last = voxels * cells // size, -(-(voxels + 1) * cells // size) - 1
            found = found.take(first, axis) | found.take(last, axis)
        return found


@dataclass(frozen=True)
class Crop:
    """The part of an image that is computed.

    Attributes:
        box: Slices of (Z, Y, X) on the image's grid; all beyond it becomes background. None: the whole image.
        cut: The networks see nothing but the box; else they see what lies around it where their patches reach there.
        note: What the user should know of it.
    """

    box: Box | None
    cut: bool = False
    note: str = ""


def box_mask(box: Box, shape: tuple[int, int, int], of: tuple[int, int, int]) -> np.ndarray:
    """A mask of ``shape`` over a volume of ``of`` voxels that holds all of a box of the volume, and little more."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(b.start * new // old, -(-b.stop * new // old)) for b, new, old in zip(box, shape, of))] = True
    return mask
