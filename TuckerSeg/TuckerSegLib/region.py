"""Which part of a volume is to be computed. Knows grids; nothing of images, models and patches."""

from __future__ import annotations

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
