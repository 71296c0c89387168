"""Labels of one slice of the output grid from the planes of features on both sides of it.

The work behind ``labeling``: see there for why only few voxels need the head. Knows planes and the positions between
their voxels; nothing of slabs, volumes and label values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..errors import SpecError
from ..image import label_type

if TYPE_CHECKING:
    from ..linear_head import Head
    from .decision import Decision

_CHUNK_ROWS = 4096  # logits of a chunk stay in the cache
_NEVER = -1e30  # a logit that never wins


class Plane(NamedTuple):
    """Prepared features (Y * X, ...), None where all is bare; classes (Y, X); where features mean nothing (Y, X)."""

    features: torch.Tensor | None
    classes: torch.Tensor
    bare: torch.Tensor | None


class SliceLabeler:
    """Labels slices of the output grid from its :class:`Plane` below and above."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor, rows: tuple, columns: tuple):
        self._classifier = Classifier(head, decision, plane)
        self._height, self._width = plane.shape[1:]
        top, bottom, down = (axis.to(plane.device)[:, None] for axis in rows)
        left, right, across = (axis.to(plane.device) for axis in columns)
        self._top, self._bottom, self._left, self._right = top[:, 0], bottom[:, 0], left, right
        self._below, self._beside = down > 0, across > 0
        # Voxels of the plane, by number, around each point and what they count: of (Y', X) and of (Y', X').
        every = torch.arange(self._width, device=plane.device)
        self._pairs = _stack(top * self._width + every, bottom * self._width + every).int()
        self._pair_weights = _stack((1 - down).expand(-1, self._width), down.expand(-1, self._width))
        upper, lower = top * self._width, bottom * self._width
        self._corners = _stack(upper + left, upper + right, lower + left, lower + right).int()
        self._corner_weights = _stack(
            (1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across
        )

    def plane(self, plane: torch.Tensor, bare: torch.Tensor | None = None) -> Plane:
        """Prepare (F, Y, X); ``bare`` (Y, X) tells where the features mean nothing."""
        if bare is not None and bare.all():
            return Plane(None, torch.zeros_like(bare, dtype=self._classifier.dtype), bare)
        features = self._classifier.prepared(plane)
        return Plane(features, self._classifier(features).view(self._height, self._width), bare)

    def label(self, first: Plane, second: Plane, fraction: float) -> torch.Tensor:
        """Classes on the output grid, (Y', X'), at a fraction of the way from one plane to the next.

        Class 0 wherever a bare voxel would have a say.
        """
        chosen = (first, second) if fraction else (first,)
        if any(plane.features is None for plane in chosen):
            return first.classes.new_zeros((len(self._top), len(self._left)))
        between = self._between(first, second, fraction) if fraction else (first.features, first.classes)
        classes = self._in_plane(*between)
        for plane in chosen:
            if plane.bare is not None:
                classes[self._touched(plane.bare)] = 0
        return classes

    def _between(self, first: Plane, second: Plane, fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and classes between two planes."""
        features = torch.lerp(first.features, second.features, fraction)
        classes = first.classes.clone()
        mixed = (classes != second.classes).flatten().nonzero().squeeze(1)
        if len(mixed):
            ends = first.classes.view(-1)[mixed], second.classes.view(-1)[mixed]
            classes.view(-1)[mixed] = self._classifier(features[mixed], ends)
        return features, classes

    def _in_plane(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Classes of a plane between its rows and columns, (Y', X')."""
        above, below = classes.index_select(0, self._top), classes.index_select(0, self._bottom)
        mixed = (above != below) & self._below
        self._settle(features, above, below, mixed, self._pairs, self._pair_weights)
        start, end = above.index_select(1, self._left), above.index_select(1, self._right)
        mixed = (start != end) & self._beside
        self._settle(features, start, end, mixed, self._corners, self._corner_weights)
        return start

    def _touched(self, mask: torch.Tensor) -> torch.Tensor:
        """Where on the output grid any voxel of a plane's mask would have a say."""
        rows = mask.index_select(0, self._top) | (mask.index_select(0, self._bottom) & self._below)
        return rows.index_select(1, self._left) | (rows.index_select(1, self._right) & self._beside)

    def _settle(self, features, classes, ends, mixed, corners, weights) -> None:
        """Write into ``classes`` where the other end of the edge differs; numbers and weights are (points, K)."""
        points = mixed.flatten().nonzero().squeeze(1)
        for chunk in points.split(_CHUNK_ROWS):
            around, counts = corners.index_select(0, chunk), weights.index_select(0, chunk)
            between = torch.nn.functional.embedding_bag(around, features, mode="sum", per_sample_weights=counts)
            candidates = classes.view(-1).index_select(0, chunk), ends.view(-1).index_select(0, chunk)
            classes.view(-1).index_copy_(0, chunk, self._classifier(between, candidates))


def _stack(*tensors: torch.Tensor) -> torch.Tensor:
    return torch.stack(tensors, dim=-1).flatten(0, 1)


def class_type(count: int) -> torch.dtype:
    """The smallest type for classes from 0 to ``count`` - 1 in which torch computes: it does not in uint16."""
    if label_type(count - 1) == np.uint8:
        return torch.uint8
    return torch.int16 if count - 1 <= torch.iinfo(torch.int16).max else torch.int32


class Classifier:
    """Prepared features by voxel to classes (N,)."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor):
        channels = len(plane) if head is None else len(head.weight)
        if head is not None and head.weight.shape[1] != len(plane):
            raise SpecError(f"The head takes {head.weight.shape[1]} features; the slabs hold {len(plane)}.")
        if channels != len(decision.values) - decision.regions:
            raise SpecError(f"There are {channels} logits; the decision knows {len(decision.values)} values.")
        self._regions = decision.regions
        self.dtype = class_type(len(decision.values))
        self._ranks = torch.arange(1, channels + 1, device=plane.device, dtype=self.dtype)
        self._weight = None
        if head is not None:
            weight = head.weight.detach().to(plane.device, torch.float32)
            bias = weight.new_zeros(channels) if head.bias is None else head.bias.detach().to(weight)
            # The bias is the weight of a feature that is always one: a third faster than adding it. Classes that
            # never win fill a vector: the maximum over a row is three times faster then.
            self._weight = torch.nn.functional.pad(weight.t(), (0, 0, 0, 1))
            self._weight[-1] = bias
            if not self._regions:
                self._weight = torch.nn.functional.pad(self._weight, (0, -channels % 16))
                self._weight[-1, channels:] = _NEVER
            self._store = plane.new_empty((_CHUNK_ROWS, self._weight.shape[1]))

    def prepared(self, plane: torch.Tensor) -> torch.Tensor:
        """(F, Y, X) to one row per voxel, with the head's constant feature at its end."""
        features = plane.flatten(1).t()
        if self._weight is None:
            return features.contiguous()
        rows = features.new_ones((len(features), len(plane) + 1))
        rows[:, :-1] = features
        return rows

    def __call__(self, features: torch.Tensor, ends: tuple | None = None) -> torch.Tensor:
        """Classes (N,); ``ends`` are two guesses each, see :meth:`_classes`."""
        chunks = zip(*(rows.split(_CHUNK_ROWS) for rows in (features, *(ends or ()))), strict=True)
        return torch.cat([self._classes(*chunk) for chunk in chunks])

    def _classes(self, features: torch.Tensor, *ends: torch.Tensor) -> torch.Tensor:
        """Classes; those at both ends of each voxel's edge are tried first, which spares most of the argmax."""
        logits = features
        if self._weight is not None:
            logits = torch.mm(features, self._weight, out=self._store[: len(features)])
        if self._regions:
            return ((logits > 0) * self._ranks).amax(dim=1)
        if not ends:
            return _argmax(logits).to(self.dtype)
        best = logits.amax(dim=1)
        first, second = (logits.gather(1, end.long()[:, None]).squeeze(1) for end in ends)
        classes = torch.where(first == best, *ends)
        others = (torch.maximum(first, second) != best).nonzero().squeeze(1)
        if len(others):
            classes[others] = _argmax(logits[others]).to(self.dtype)
        return classes


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of the largest value in each row; numpy's is twice as fast as torch's on a CPU."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(axis=1))
    return logits.argmax(dim=1)
