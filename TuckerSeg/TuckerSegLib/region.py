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
    """

    wanted: np.ndarray | None = None

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
