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

_CHUNK_ROWS = 8192  # logits of a chunk stay in the cache


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
            repeated = done > 0 and not fraction and not outer[2][done - 1] and first == outer[0][done - 1]
            if repeated:
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
            yield index, slab.features[:, index - slab.start]


class _SliceLabeler:
    """Labels slices of the output grid. A plane is (features (Y * X, F), classes (Y, X)) at low resolution."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor, rows: tuple, columns: tuple):
        self._classifier = _Classifier(head, decision, plane)
        self._height, self._width = plane.shape[1:]
        self._rows = [axis.to(plane.device) for axis in rows]
        self._columns = [axis.to(plane.device) for axis in columns]

    def plane(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(F, Y, X) to features by voxel and classes."""
        features = features.flatten(1).t().contiguous()
        return features, self._classifier(features).view(self._height, self._width)

    def between(self, first: tuple, second: tuple, fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The plane at a fraction of the way from one to the next."""
        if not fraction:
            return first
        features = torch.lerp(first[0], second[0], fraction)
        classes = first[1].clone()
        mixed = (classes != second[1]).flatten().nonzero().squeeze(1)
        ends = first[1].view(-1)[mixed], second[1].view(-1)[mixed]
        classes.view(-1)[mixed] = self._classifier(features[mixed], ends)
        return features, classes

    def label(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Classes on the output grid, (Y', X')."""
        top, bottom, down = self._rows
        left, right, across = self._columns
        above, below = classes[top], classes[bottom]
        row, column = ((above != below) & (down > 0)[:, None]).nonzero(as_tuple=True)
        if len(row):
            corners = torch.stack([top[row] * self._width + column, bottom[row] * self._width + column], dim=1)
            weights = torch.stack([1 - down[row], down[row]], dim=1)
            ends = above[row, column], below[row, column]
            above[row, column] = self._classifier.interpolated(features, corners, weights, ends)
        start, end = above.index_select(1, left), above.index_select(1, right)
        row, column = ((start != end) & (across > 0)).nonzero(as_tuple=True)
        if len(row):
            upper, lower = top[row] * self._width, bottom[row] * self._width
            west, east = left[column], right[column]
            corners = torch.stack([upper + west, upper + east, lower + west, lower + east], dim=1)
            y, x = down[row], across[column]
            weights = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], dim=1)
            start[row, column] = self._classifier.interpolated(
                features, corners, weights, (start[row, column], end[row, column])
            )
        return start


class _Classifier:
    """Features by voxel, (N, F), to classes (N,)."""

    def __init__(self, head: Head | None, decision: Decision, plane: torch.Tensor):
        channels = len(plane) if head is None else len(head.weight)
        if head is not None and head.weight.shape[1] != len(plane):
            raise SpecError(f"The head takes {head.weight.shape[1]} features; the slabs hold {len(plane)}.")
        if channels != len(decision.values) - decision.regions:
            raise SpecError(f"There are {channels} logits; the decision knows {len(decision.values)} values.")
        self._regions = decision.regions
        self._dtype = torch.uint8 if len(decision.values) < 256 else torch.int16
        self._weight = self._bias = None
        if head is not None:
            # Columns of -inf up to a full vector width: the maximum over a row is three times faster then.
            extra = -channels % 16 if not decision.regions else 0
            weight = head.weight.detach().to(plane.device, torch.float32)
            bias = (
                plane.new_zeros(channels) if head.bias is None else head.bias.detach().to(plane.device, torch.float32)
            )
            self._weight = torch.nn.functional.pad(weight, (0, 0, 0, extra)).t().contiguous()
            self._bias = torch.nn.functional.pad(bias, (0, extra), value=-torch.inf)
            self._store = plane.new_empty((_CHUNK_ROWS, channels + extra))
        self._ranks = torch.arange(1, channels + 1, device=plane.device, dtype=self._dtype)

    def interpolated(self, table: torch.Tensor, corners: torch.Tensor, weights: torch.Tensor, ends: tuple):
        """Classes of weighted sums of rows of a table; corners and weights are (N, K)."""
        result = torch.empty(len(corners), dtype=self._dtype, device=table.device)
        for start in range(0, len(corners), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            features = torch.nn.functional.embedding_bag(
                corners[chunk], table, mode="sum", per_sample_weights=weights[chunk]
            )
            result[chunk] = self._classes(features, (ends[0][chunk], ends[1][chunk]))
        return result

    def __call__(self, features: torch.Tensor, ends: tuple | None = None) -> torch.Tensor:
        result = torch.empty(len(features), dtype=self._dtype, device=features.device)
        for start in range(0, len(features), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            result[chunk] = self._classes(features[chunk], ends and (ends[0][chunk], ends[1][chunk]))
        return result

    def _classes(self, features: torch.Tensor, ends: tuple | None) -> torch.Tensor:
        """Classes; those at both ends of each voxel's edge are tried first, which spares most of the argmax."""
        logits = features
        if self._weight is not None:
            logits = torch.addmm(self._bias, features, self._weight, out=self._store[: len(features)])
        if self._regions:
            return ((logits > 0) * self._ranks).amax(dim=1)
        if ends is None:
            return _argmax(logits).to(self._dtype)
        best = logits.amax(dim=1)
        first, second = (logits.gather(1, end.long()[:, None]).squeeze(1) for end in ends)
        classes = torch.where(first == best, ends[0], ends[1])
        others = (torch.maximum(first, second) != best).nonzero().squeeze(1)
        if len(others):
            classes[others] = _argmax(logits[others]).to(self._dtype)
        return classes


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """Index of the largest value in each row; numpy's is twice as fast as torch's on a CPU."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(axis=1))
    return logits.argmax(dim=1)
