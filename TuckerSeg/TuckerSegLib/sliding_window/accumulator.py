"""Weighted sums of overlapping patches, each kept for as long as a later patch may add to it.

The Z axis is cut where a layer of patches begins and where one ends. A piece is allocated when the first patch adds to
it and leaves when the last one has, so no more planes are held than a patch has, and only those inside the box. Where
only some voxels are wanted, the others are left out: each is added up by itself, so those that are kept stay the same.

For predictions in 16 bits, running means are kept in float16. That halves the memory and rounds as the predictions do;
where only one patch counts, the mean is its prediction. Sums would not do: weights at a patch's corners are too small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .lines import ALL, Kept, Lines, taken
from .weights import patch_weights

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Piece:
    """Finished planes along Z.

    Attributes:
        means: Weighted means of the predictions, (F, z, Y, X), at the voxels that are kept.
        covered: True where any patch was added, (z, Y, X); None: everywhere.
    """

    means: torch.Tensor
    covered: torch.Tensor | None


class Accumulator:
    """Adds up patches, in pieces of the Z axis: weighted sums in float32, or means in float16 for 16-bit predictions.

    Args:
        patch_shape: (Z, Y, X).
        layers: First planes along Z of the patches that will be added, ascending, each once.
        box: The part of the volume that is accumulated; patches may reach beyond it.
        kind: Of the weights, see ``weights.patch_weights``.
        kept: Voxels of the volume that are wanted, along each axis; None: all.
    """

    def __init__(
        self, patch_shape: Sequence[int], layers: Sequence[int], box: Box, kind: str = "gaussian", kept: Kept = ALL
    ) -> None:
        self._patch_shape, self._kind = tuple(patch_shape), kind
        self._lines = [Lines(part, chosen) for part, chosen in zip(box, kept, strict=True)]
        ends = [layer + self._patch_shape[0] for layer in layers]
        cuts = {min(max(cut, box[0].start), box[0].stop) for cut in (*layers, *ends)}
        self._pieces = list(itertools.pairwise(sorted(cuts)))
        self._sums: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._next = 0
        self._weights: torch.Tensor | None = None
        self._means = False
        self._nothing: torch.Tensor | None = None  # (F, 1, 1, 1)

    @torch.no_grad()
    def add(self, origin: tuple[int, int, int], prediction: torch.Tensor) -> None:
        """Add the prediction of one patch.

        Args:
            origin: First voxel of the patch, (Z, Y, X).
            prediction: (F, z, y, x) of any float type and layout.
        """
        if self._weights is None or self._weights.device != prediction.device:
            self._weights = patch_weights(self._kind, self._patch_shape).to(prediction.device)
            self._nothing = prediction.new_zeros((len(prediction), 1, 1, 1), dtype=torch.float32)
            self._means = prediction.dtype in (torch.float16, torch.bfloat16)
        first, last = origin[0], origin[0] + self._patch_shape[0]
        axes = zip(self._lines[1:], origin[1:], self._patch_shape[1:], strict=True)
        in_patch, in_piece = zip(
            *(lines.within(start, start + size, start) for lines, start, size in axes), strict=True
        )
        for index in range(self._next, len(self._pieces)):
            offset, end = self._pieces[index]
            start, stop = max(offset, first), min(end, last)
            planes, places = self._lines[0].within(start, stop, first)
            if places.start == places.stop:
                continue
            sums, weight_sums = self._piece(index, prediction)
            before = self._lines[0].place(offset)
            places = range(places.start - before, places.stop - before)
            if prediction.device.type == "cpu":
                # One plane at a time: its float32 copy stays in the processor's cache.
                numbers = range(planes.start, planes.stop) if isinstance(planes, slice) else planes.tolist()
                for plane, place in zip(numbers, places, strict=True):
                    here = (place, *in_piece)
                    values = taken(prediction[:, plane], in_patch), taken(self._weights[plane][None], in_patch)[0]
                    self._add_to(sums[(slice(None), *here)], weight_sums[here], *values)
            else:
                here, there = (slice(places.start, places.stop), *in_piece), (planes, *in_patch)
                values = taken(prediction, there), taken(self._weights[None], there)[0]
                self._add_to(sums[(slice(None), *here)], weight_sums[here], *values)

    def _add_to(
        self, sums: torch.Tensor, weight_sums: torch.Tensor, values: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Add values (F, ...) and their weights (...) to sums, or means, of the same shapes."""
        counts, values = weight_sums.add_(weights), values.float()
        if self._means:
            sums.copy_(sums.float().lerp_(values, (weights / counts).expand_as(values)))
        else:
            sums.addcmul_(values, weights)

    @torch.no_grad()
    def finished(self, upcoming: int | None) -> Iterator[Piece]:
        """Take all pieces to which no later patch adds.

        Args:
            upcoming: First plane along Z of the next patch; None: no patch follows, so all pieces are taken.
        """
        while self._next < len(self._pieces) and (upcoming is None or self._pieces[self._next][1] <= upcoming):
            start, stop = self._pieces[self._next]
            sums, weight_sums = self._sums.pop(self._next, (None, None))
            self._next += 1
            if sums is None:
                shape = self._shape(start, stop)
                nowhere = torch.zeros(shape, dtype=torch.bool, device=self._nothing.device)
                yield Piece(self._nothing.expand(-1, *shape), nowhere)
                continue
            covered, bare = None, weight_sums == 0
            if bare.any():
                covered = ~bare
                weight_sums[bare] = 1
            yield Piece(sums if self._means else sums.mul_(weight_sums.reciprocal_()), covered)
            del sums, weight_sums

    def _piece(self, index: int, prediction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if index not in self._sums:
            start, stop = self._pieces[index]
            count, shape = prediction.shape[0], self._shape(start, stop)
            dtype = torch.float16 if self._means else torch.float32
            if prediction.stride(0) == 1 and count > 1:  # features of a voxel side by side
                sums = prediction.new_zeros((*shape, count), dtype=dtype).permute(3, 0, 1, 2)
            else:
                sums = prediction.new_zeros((count, *shape), dtype=dtype)
            self._sums[index] = (sums, prediction.new_zeros(shape, dtype=torch.float32))
        return self._sums[index]

    def _shape(self, start: int, stop: int) -> tuple[int, ...]:
        """Of a piece, (z, Y, X): voxels that are kept."""
        planes, *others = self._lines
        return (planes.place(stop) - planes.place(start), *(lines.count for lines in others))
