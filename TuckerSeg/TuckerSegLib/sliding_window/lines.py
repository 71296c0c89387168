"""The voxels of an axis that are kept where not all are wanted, and where they lie among each other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import torch

Kept = tuple["torch.Tensor | None", "torch.Tensor | None", "torch.Tensor | None"]
ALL: Kept = (None, None, None)


class Lines:
    """Kept voxels of one axis.

    Args:
        part: The range of the axis that counts.
        chosen: Numbers of the voxels that are kept, ascending, int64 on the CPU; None: all of the part.
    """

    def __init__(self, part: slice, chosen: torch.Tensor | None = None):
        self._part, self._chosen = part, chosen

    @property
    def count(self) -> int:
        """How many are kept."""
        return self.place(self._part.stop)

    def place(self, voxel: int) -> int:
        """How many are kept before a voxel."""
        voxel = min(max(voxel, self._part.start), self._part.stop)
        if self._chosen is None:
            return voxel - self._part.start
        return bisect_left(self._numbers, voxel) - self._before

    def within(self, start: int, stop: int, origin: int) -> tuple[slice | torch.Tensor, slice]:
        """Those of a range: their numbers counted from ``origin``, and their places among all that are kept."""
        start, stop = max(start, self._part.start), min(stop, self._part.stop)
        stop = max(start, stop)
        places = slice(self.place(start), self.place(stop))
        if self._chosen is None:
            return slice(start - origin, stop - origin), places
        return self._chosen[self._before + places.start : self._before + places.stop] - origin, places

    @cached_property
    def _numbers(self) -> list[int]:
        return self._chosen.tolist()

    @cached_property
    def _before(self) -> int:
        return bisect_left(self._numbers, self._part.start)


def taken(values: torch.Tensor, lines: Sequence[slice | torch.Tensor]) -> torch.Tensor:
    """Some voxels of (F, ...), in the layout that it has: a view where ranges are taken, else a copy.

    Args:
        values: Its axes after the first are those of ``lines``.
        lines: Of each of these axes the voxels, as ``Lines.within`` gives them.
    """
    last = values.ndim > 1 and values.stride(0) == 1 and len(values) > 1  # features of a voxel side by side
    values = values.movedim(0, -1) if last else values
    for axis, chosen in enumerate(lines, start=0 if last else 1):
        if isinstance(chosen, slice):
            values = values[(slice(None),) * axis + (chosen,)]
        else:
            values = values.index_select(axis, chosen.to(values.device))
    return values.movedim(-1, 0) if last else values
