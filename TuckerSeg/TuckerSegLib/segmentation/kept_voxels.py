"""Which voxels of the model's grid a run keeps: those on which the labels depend.

On a volume whose voxels are coarser than the model's most are not asked for: with the nearest output, seven of eight
where voxels are twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..postprocessing.label_volume import needed_voxels
from ..preprocessing.preprocess import PreparedVolume
from ..preprocessing.roi import Box
from ..sliding_window import Kept, Lines


@dataclass(frozen=True)
class KeptVoxels:
    """The voxels that are kept of a volume's patches.

    Attributes:
        of_grid: Their numbers on the model's grid along each axis, ascending; None: all.
        of_data: The same, of the part of the grid that the volume's data is, counted from its start.
        box: What the patches cover, on the model's grid.
        before: How many planes of the grid are kept before the data.
        planes: How many planes of the box are kept.
    """

    of_grid: Kept
    of_data: Kept
    box: Box
    before: int
    planes: int

    @classmethod
    def of(cls, volume: PreparedVolume, box: Box, nearest: bool, has_head: bool) -> KeptVoxels:
        """Those of a volume.

        Args:
            volume: From ``preprocess``.
            box: The part of its data that the patches cover.
            nearest: Whether labels are made on the model's grid and repeated.
            has_head: Whether logits are yet to be made of what patches give.
        """
        shape, part = volume.grid
        on_grid = tuple(slice(side.start + at.start, side.stop + at.start) for side, at in zip(box, part, strict=True))
        output = volume.label_view(np.broadcast_to(np.uint8(0), volume.geometry.shape)).shape
        needed = needed_voxels(shape, output, volume.upsampling, nearest, has_head)
        if not all(Lines(side, chosen).count for side, chosen in zip(on_grid, needed, strict=True)):
            needed = (None, None, None)  # the box lies between the voxels of the output
        of_data = tuple(
            None if chosen is None else chosen[(chosen >= at.start) & (chosen < at.stop)] - at.start
            for chosen, at in zip(needed, part, strict=True)
        )
        before = Lines(slice(0, shape[0]), needed[0]).place(part[0].start)
        return cls(needed, of_data, on_grid, before, Lines(on_grid[0], needed[0]).count)
