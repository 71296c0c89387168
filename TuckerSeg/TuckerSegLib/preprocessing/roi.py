"""The region of interest: the part of a volume that is computed. Knows grids; nothing of images, models and patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest of a volume.

    Attributes:
        mask: Boolean (Z, Y, X) on the model's axes over the whole (cropped) volume, of any coarser shape; patches that
            see no True cell are not run. None: every patch is run.
        box: Slices of (Z, Y, X) on the input's grid; every label outside is background. None: the whole grid.
    """

    mask: np.ndarray | None = None
    box: Box | None = None

    def mask_within(self, shape: Sequence[int], box: Box) -> np.ndarray | None:
        """The mask of a box of the volume.

        Args:
            shape: (Z, Y, X) of the volume that the mask covers, in voxels.
            box: Slices of the volume's voxels.

        Returns:
            ``mask`` itself where the box is the whole volume or the mask is None; else a mask of the box's shape,
            True for voxels that touch a True cell of ``mask``.
        """
        if self.mask is None or all(part == slice(0, size) for part, size in zip(box, shape, strict=True)):
            return self.mask
        mask = self.mask
        for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
            cells = mask.shape[axis]
            voxels = np.arange(part.start, part.stop)
            first, last = voxels * cells // size, -(-(voxels + 1) * cells // size) - 1
            mask = mask.take(first, axis) | mask.take(last, axis)
        return mask


@dataclass(frozen=True)
class Crop:
    """The box of an image that is computed, as it was asked for or found.

    Attributes:
        box: Slices of (Z, Y, X) on the image's grid; every label outside is background. None: the whole image.
        cut: True: the networks see only the box. False: their patches may also reach over its border.
        note: A sentence for the user on how the box was chosen; empty where there is nothing to say.
    """

    box: Box | None
    cut: bool = False
    note: str = ""


def box_mask(box: Box, mask_shape: tuple[int, int, int], volume_shape: tuple[int, int, int]) -> np.ndarray:
    """A coarse mask of a box.

    Args:
        box: Slices of the volume's voxels, (Z, Y, X).
        mask_shape: Shape of the mask, in cells.
        volume_shape: Shape of the volume that the mask covers, in voxels.

    Returns:
        Boolean mask of ``mask_shape``, True in every cell that the box touches.
    """
    mask = np.zeros(mask_shape, dtype=bool)
    sizes = zip(box, mask_shape, volume_shape, strict=True)
    mask[tuple(slice(side.start * cells // size, -(-side.stop * cells // size)) for side, cells, size in sizes)] = True
    return mask
