"""From slabs of low-resolution features to labels on the output grid, one output slice at a time.

Upsampling interpolates linearly and the head is linear, so both orders give the same logits: nnU-Net's "resample
logits, then argmax" costs only the features. And along a line between two grid points logits are linear: where
the same class wins at both ends, it wins everywhere between. So only where neighbors differ are features
interpolated and the head applied: first between two planes, then between two rows, last between two voxels.
Knows nothing of networks, patches or files.

Source: the decision rules are those of nnunetv2 2.x ``LabelManager.convert_logits_to_segmentation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .errors import SpecError
from .resampling import ResamplingSpec, linear_taps

if TYPE_CHECKING:
    from .sliding_window import Slab

_CHUNK_ROWS = 4096  # logits of a chunk stay in the cache
_NEVER = -1e30  # a logit that never wins


@dataclass(frozen=True)
class Head:
    """The network's last 1x1x1 convolution.

    Attributes:
        weight: (L, F).
        bias: (L,) or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Decision:
    """What logits mean.

    Attributes:
        values: Label value of each class. For regions, class 0 is "no region" and class i + 1 is channel i.
        regions: True: the last channel with a positive logit (probability above 0.5) wins; False: the largest does.
    """

    values: tuple[int, ...]
    regions: bool = False

    @classmethod
    def for_labels(cls, channels: int) -> Decision:
        """Each channel is a label whose value is its index."""
        return cls(tuple(range(channels)))

    @classmethod
    def for_regions(cls, region_values: Sequence[int]) -> Decision:
        """Channels may overlap; ``region_values`` is nnU-Net's ``regions_class_order``, later ones win."""
        return cls((0, *(int(value) for value in region_values)), regions=True)

    @property
    def dtype(self) -> np.dtype:
        """The smallest type for the labels, uint8 or uint16."""
        return np.dtype(np.uint8 if max(self.values) < 256 else np.uint16)


def label_volume(
    slabs: Iterable[Slab],
    head: Head | None,
    decision: Decision,
    low_shape: Sequence[int],
    output: np.ndarray,
    upsampling: ResamplingSpec,
    nearest: bool = False,
) -> None:
    """Write the labels of all slabs to the output grid, each slice as soon as the planes around it are there.

    Args:
        slabs: First to last along Z, without gaps; only read. Their device does the work.
        head: Makes logits of the features; None where the slabs hold logits.
        decision: How logits become labels.
        low_shape: (Z, Y, X) of all slabs together.
        output: Integer array (Z, Y, X) of any strides; every voxel is written.
        upsampling: Convention and, nnU-Net's anisotropic case, the axis on its own. Orders above 1 count as 1.
        nearest: Decide at low resolution and repeat labels, as TotalSegmentator does, instead of interpolating.

    Raises:
        SpecError: Channels of slabs, head and decision do not agree, or the slabs do not fill ``low_shape``.
    """
    orders = [0 if nearest else min(upsampling.order, 1)] * 3
    if upsampling.separate_axis is not None and not nearest:
        orders[upsampling.separate_axis] = min(upsampling.separate_order, 1)
    taps = [
        linear_taps(size_in, size_out, order, upsampling.convention)
        for size_in, size_out, order in zip(low_shape, output.shape, orders, strict=True)
    ]
    values = np.asarray(decision.values, dtype=output.dtype)
    outer = [axis.tolist() for axis in taps[0]]
    done, planes, labeler = 0, {}, None
    for index, plane in _planes(slabs):
        if labeler is None:
            labeler = _SliceLabeler(head, decision, plane, taps[1], taps[2])
        planes = {index - 1: planes.get(index - 1), index: labeler.plane(plane)}
        while done < len(outer[0]) and outer[1][done] <= index:
            first, second, fraction = (axis[done] for axis in outer)
            if done and not fraction and not outer[2][done - 1] and first == outer[0][done - 1]:
                output[done] = output[done - 1]
            else:
                between = labeler.between(planes[first], planes[second], fraction)
                np.take(values, labeler.label(*between).cpu().numpy(), out=output[done], mode="clip")
            done += 1
    if done < len(outer[0]):
        raise SpecError(f"The slabs end before plane {low_shape[0]}; slice {done} of {len(outer[0])} has no source.")


def _planes(slabs: Iterable[Slab]) -> Iterator[tuple[int, torch.Tensor]]:
    """Index and features (F, Y, X) of every plane."""
    for slab in slabs:
        for index in range(slab.start, slab.stop):
            yield index, slab.features[:, index - slab.start].float()


class _SliceLabeler:
    """Labels slices of the output grid. A plane is (prepared features (Y * X, ...), classes (Y, X))."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor, rows: tuple, columns: tuple):
        self._classifier = _Classifier(head, decision, plane)
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

    def plane(self, plane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(F, Y, X) to features by voxel and classes."""
        features = self._classifier.prepared(plane)
        return features, self._classifier(features).view(self._height, self._width)

    def between(self, first: tuple, second: tuple, fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The plane at a fraction of the way from one to the next."""
        if not fraction:
            return first
        features = torch.lerp(first[0], second[0], fraction)
        classes = first[1].clone()
        mixed = (classes != second[1]).flatten().nonzero().squeeze(1)
        if len(mixed):
            ends = first[1].view(-1)[mixed], second[1].view(-1)[mixed]
            classes.view(-1)[mixed] = self._classifier(features[mixed], ends)
        return features, classes

    def label(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Classes on the output grid, (Y', X')."""
        above, below = classes.index_select(0, self._top), classes.index_select(0, self._bottom)
        mixed = (above != below) & self._below
        self._settle(features, above, below, mixed, self._pairs, self._pair_weights)
        start, end = above.index_select(1, self._left), above.index_select(1, self._right)
        mixed = (start != end) & self._beside
        self._settle(features, start, end, mixed, self._corners, self._corner_weights)
        return start

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


class _Classifier:
    """Prepared features by voxel to classes (N,)."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor):
        channels = len(plane) if head is None else len(head.weight)
        if head is not None and head.weight.shape[1] != len(plane):
            raise SpecError(f"The head takes {head.weight.shape[1]} features; the slabs hold {len(plane)}.")
        if channels != len(decision.values) - decision.regions:
            raise SpecError(f"There are {channels} logits; the decision knows {len(decision.values)} values.")
        self._regions = decision.regions
        self._dtype = torch.uint8 if len(decision.values) < 256 else torch.int16
        self._ranks = torch.arange(1, channels + 1, device=plane.device, dtype=self._dtype)
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
            return _argmax(logits).to(self._dtype)
        best = logits.amax(dim=1)
        first, second = (logits.gather(1, end.long()[:, None]).squeeze(1) for end in ends)
        classes = torch.where(first == best, *ends)
        others = (torch.maximum(first, second) != best).nonzero().squeeze(1)
        if len(others):
            classes[others] = _argmax(logits[others]).to(self._dtype)
        return classes


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of the largest value in each row; numpy's is twice as fast as torch's on a CPU."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(axis=1))
    return logits.argmax(dim=1)
