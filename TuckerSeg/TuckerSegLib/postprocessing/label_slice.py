"""Labels one slice of the output grid from the planes of features on both sides of it.

``label_volume`` says why only few voxels need the head. This file knows planes and the positions between their voxels;
nothing of slabs, volumes and label values.
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
    """One plane of the model's grid.

    Attributes:
        features: One row per voxel, (Y * X, F or F + 1), as ``Classifier.prepared`` makes them; None where all are
            bare.
        classes: The class of each voxel, (Y, X).
        bare: True where no patch covers a voxel, so that its features mean nothing, (Y, X); None: nowhere.
    """

    features: torch.Tensor | None
    classes: torch.Tensor
    bare: torch.Tensor | None


class SliceLabeler:
    """Labels slices of the output grid, each from the :class:`Plane` below and above it.

    Args:
        head: Makes logits of features; None where the planes hold logits.
        decision: How logits become classes.
        plane: The first plane's features (F, Y, X); it gives sizes, device and type.
        rows, columns: For Y and for X, indices of the two neighbors of each output position and the fraction between
            them, as ``resampling.linear_taps`` gives them.
    """

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor, rows: tuple, columns: tuple):
        self._classifier = Classifier(head, decision, plane)
        self._height, self._width = plane.shape[1:]
        top, bottom, down = (axis.to(plane.device)[:, None] for axis in rows)
        left, right, across = (axis.to(plane.device) for axis in columns)
        self._top, self._bottom, self._left, self._right = top[:, 0], bottom[:, 0], left, right
        self._below, self._beside = down > 0, across > 0
        self._on_voxels = not (self._below.any() or self._beside.any())  # no position lies between two
        # Voxels of the plane, by number, around each point and what they count: of (Y', X) and of (Y', X').
        all_columns = torch.arange(self._width, device=plane.device)
        self._pairs = _stack(top * self._width + all_columns, bottom * self._width + all_columns).int()
        self._pair_weights = _stack((1 - down).expand(-1, self._width), down.expand(-1, self._width))
        upper, lower = top * self._width, bottom * self._width
        self._corners = _stack(upper + left, upper + right, lower + left, lower + right).int()
        self._corner_weights = _stack(
            (1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across
        )

    def plane(self, plane: torch.Tensor, bare: torch.Tensor | None = None) -> Plane:
        """Prepare a plane of features (F, Y, X) for :meth:`label`; ``bare`` (Y, X) is True where they mean nothing."""
        if bare is not None and bare.all():
            return Plane(None, torch.zeros_like(bare, dtype=self._classifier.dtype), bare)
        features = self._classifier.prepared(plane)
        return Plane(features, self._classifier(features).view(self._height, self._width), bare)

    def label(self, first: Plane, second: Plane, fraction: float) -> torch.Tensor:
        """Classes of an output slice, (Y', X'): 0 at every position whose value a bare voxel would contribute to.

        Args:
            first, second: Planes below and above the slice, from :meth:`plane`.
            fraction: Of the way from the first to the second at which the slice lies, 0 up to 1; at 0 the second plane
                does not count.
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
        above = classes.index_select(0, self._top)
        if self._on_voxels:
            return above.index_select(1, self._left)
        below = classes.index_select(0, self._bottom)
        mixed = (above != below) & self._below
        self._classify_between(features, above, below, mixed, self._pairs, self._pair_weights)
        start, end = above.index_select(1, self._left), above.index_select(1, self._right)
        mixed = (start != end) & self._beside
        self._classify_between(features, start, end, mixed, self._corners, self._corner_weights)
        return start

    def _touched(self, mask: torch.Tensor) -> torch.Tensor:
        """Positions of the output grid, (Y', X'), to which any voxel of a mask (Y, X) contributes."""
        rows = mask.index_select(0, self._top) | (mask.index_select(0, self._bottom) & self._below)
        return rows.index_select(1, self._left) | (rows.index_select(1, self._right) & self._beside)

    def _classify_between(self, features, classes, ends, mixed, corners, weights) -> None:
        """Write the classes of points between voxels of different classes.

        Args:
            features: One row per voxel of the plane.
            classes: Class at one end of each point's edge; written where ``mixed`` is True.
            ends: Class at the other end.
            mixed: Where the two differ.
            corners, weights: Voxels around each point and what each counts, (points, K).
        """
        points = mixed.flatten().nonzero().squeeze(1)
        if not len(points):  # of which a split still makes one chunk
            return
        for chunk in points.split(_CHUNK_ROWS):
            neighbors, shares = corners.index_select(0, chunk), weights.index_select(0, chunk)
            between = torch.nn.functional.embedding_bag(neighbors, features, mode="sum", per_sample_weights=shares)
            candidates = classes.view(-1).index_select(0, chunk), ends.view(-1).index_select(0, chunk)
            classes.view(-1).index_copy_(0, chunk, self._classifier(between, candidates))


def _stack(*tensors: torch.Tensor) -> torch.Tensor:
    """Tensors (Y', X') as columns of one (Y' X', K)."""
    return torch.stack(tensors, dim=-1).flatten(0, 1)


def class_type(count: int) -> torch.dtype:
    """The smallest torch type for classes 0 to ``count - 1`` that torch can compute with, which uint16 is not."""
    if label_type(count - 1) == np.uint8:
        return torch.uint8
    return torch.int16 if count - 1 <= torch.iinfo(torch.int16).max else torch.int32


class Classifier:
    """Makes classes (N,) of features, one row per voxel, that :meth:`prepared` has made.

    Raises:
        SpecError: The channels of plane, head and decision do not agree.
    """

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
        """One row per voxel of a plane (F, Y, X): its features and, with a head, a 1 for the bias."""
        features = plane.flatten(1).t()
        if self._weight is None:
            return features.contiguous()
        rows = features.new_ones((len(features), len(plane) + 1))
        rows[:, :-1] = features
        return rows

    def __call__(self, features: torch.Tensor, ends: tuple | None = None) -> torch.Tensor:
        """Classes (N,) of rows of features.

        Args:
            features: (N, F), from :meth:`prepared`.
            ends: Two classes (N,) for each row, one of which is probably right; they save time and change no result.
        """
        chunks = zip(*(rows.split(_CHUNK_ROWS) for rows in (features, *(ends or ()))), strict=True)
        return torch.cat([self._classes(*chunk) for chunk in chunks])

    def _classes(self, features: torch.Tensor, *ends: torch.Tensor) -> torch.Tensor:
        """Classes of one chunk; the two in ``ends`` are compared first, which saves most of the argmax."""
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
        undecided = (torch.maximum(first, second) != best).nonzero().squeeze(1)
        if len(undecided):
            classes[undecided] = _argmax(logits[undecided]).to(self.dtype)
        return classes


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of the largest value in each row; numpy's is twice as fast as torch's on a CPU."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(axis=1))
    return logits.argmax(dim=1)
