"""Weighted mean of overlapping patches, handed out slab by slab as soon as no later patch touches a slab.

Patches come ordered along Z. The axis is cut at every patch origin; a piece is allocated when the first patch
reaches it and leaves when the last one has, so memory follows one layer of patches and not the volume. Knows
nothing of networks, models or files: a predictor is any callable on a batch of patches.

Source: the sums are those of nnunetv2 2.x ``nnUNetPredictor.predict_sliding_window_return_logits``, in float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..errors import Cancelled, SpecError
from .grid import padding, patch_origins
from .weights import gaussian_weights

Predictor = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class StreamSpec:
    """How a volume is cut into patches and put together again.

    Attributes:
        patch_shape: (Z, Y, X).
        step_fraction: Largest step between patches as a fraction of the patch, above 0 and at most 1.
        mirror_axes: Axes (0, 1, 2 of Z, Y, X) to mirror; the mean over all combinations is taken.
        batch_size: Patches per call of the predictor; the last call may get fewer.
        accumulator_device: Where sums are kept; None keeps them where the predictor's output is.

    Raises:
        SpecError: A batch size below one or an unknown mirror axis.
    """

    patch_shape: tuple[int, int, int]
    step_fraction: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    batch_size: int = 1
    accumulator_device: torch.device | str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SpecError(f"The batch size is {self.batch_size}; it must be at least 1.")
        if not set(self.mirror_axes) <= {0, 1, 2}:
            raise SpecError(f"Mirror axes are {self.mirror_axes}; they must be among 0, 1, 2 (Z, Y, X).")


@dataclass(frozen=True)
class Slab:
    """Finished planes of the volume.

    Attributes:
        start, stop: Planes along Z, stop not included.
        features: (F, stop - start, Y, X), weighted mean over patches, in float32; where one patch covers the volume
            its prediction itself, of the predictor's type. Any layout, perhaps a view of the predictor's output:
            only to be read, and before the next slab is asked for.
    """

    start: int
    stop: int
    features: torch.Tensor


def stream(
    volume: torch.Tensor,
    predictor: Predictor,
    spec: StreamSpec,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Slab]:
    """Predict a volume patch by patch and hand out finished slabs along Z, first to last, without gaps.

    A volume smaller than a patch is padded with zeros around its center and the result is cropped back. Nothing
    is kept between calls: after the predictor ran out of memory, call again with a smaller batch or another
    accumulator device.

    Args:
        volume: Normalized, float32, (C, Z, Y, X).
        predictor: (B, C, z, y, x) to (B, F, z, y, x), features or logits, any float type, any device. Its output
            is only read.
        spec: Patches, mirroring and batch.
        progress: Called with (patches done, patches in all) after each batch.
        cancelled: Asked before each call of the predictor; True ends the stream.

    Raises:
        Cancelled: ``cancelled`` said so.
        SpecError: The volume has not four axes.
    """
    if volume.ndim != 4:
        raise SpecError(f"Expected a volume (C, Z, Y, X); found {volume.ndim} axes.")
    depth, height, width = volume.shape[1:]
    pads = padding((depth, height, width), spec.patch_shape)
    if any(after for _, after in pads):  # the larger one of each pair
        volume = torch.nn.functional.pad(volume, [side for pair in reversed(pads) for side in pair])
    (before, _), (top, _), (left, _) = pads
    start = 0
    for features in _padded_slabs(volume, partial(_mirrored, predictor, spec.mirror_axes, cancelled), spec, progress):
        # Along Z either nothing was padded or one slab holds everything.
        inside = features[:, before : before + depth, top : top + height, left : left + width]
        yield Slab(start, start + inside.shape[1], inside)
        start += inside.shape[1]
        del features, inside  # not held while the next patches run


def patch_count(shape: Sequence[int], spec: StreamSpec) -> int:
    """Number of patches that a volume of (Z, Y, X) takes, mirrored passes not counted."""
    return len(patch_origins(shape, spec.patch_shape, spec.step_fraction))


def _padded_slabs(
    volume: torch.Tensor, predictor: Predictor, spec: StreamSpec, progress: Callable[[int, int], None] | None
) -> Iterator[torch.Tensor]:
    origins = patch_origins(volume.shape[1:], spec.patch_shape, spec.step_fraction)
    layers = sorted({origin[0] for origin in origins})
    accumulator = _Accumulator(volume.shape[1:], spec.patch_shape, layers)
    for start in range(0, len(origins), spec.batch_size):
        batch = origins[start : start + spec.batch_size]
        patches = torch.stack([volume[(slice(None), *_box(origin, spec.patch_shape))] for origin in batch])
        predicted = predictor(patches)
        done = start + len(batch)
        if progress:
            progress(done, len(origins))
        if len(origins) == 1:  # weights cancel
            yield predicted[0].to(spec.accumulator_device or predicted.device)
            return
        for origin, prediction in zip(batch, predicted, strict=True):
            accumulator.add(origin, prediction.to(spec.accumulator_device or prediction.device))
        del patches, predicted, prediction
        upcoming = origins[done][0] if done < len(origins) else None
        yield from accumulator.finished(upcoming)


@torch.no_grad()
def _mirrored(
    predictor: Predictor, mirror_axes: Sequence[int], cancelled: Callable[[], bool] | None, patches: torch.Tensor
) -> torch.Tensor:
    """Mean of the predictions of all mirrored forms of a batch; (B, F, z, y, x)."""
    axes = [axis + 2 for axis in sorted(set(mirror_axes))]
    flips = [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
    total = None
    for chosen in flips:
        if cancelled and cancelled():
            raise Cancelled
        if total is None:  # the first one is not mirrored
            total = predictor(patches)
            if len(flips) > 1:
                total = total.to(torch.float32, copy=True)  # the predictor may reuse its output
        else:
            total += predictor(patches.flip(chosen)).flip(chosen)
    return total.div_(len(flips)) if len(flips) > 1 else total


class _Accumulator:
    """Weighted sums in float32, one piece of the Z axis per layer of patches, laid out as the predictions are."""

    def __init__(self, shape: Sequence[int], patch_shape: Sequence[int], layers: list[int]) -> None:
        self._shape = tuple(shape)
        self._patch_shape = tuple(patch_shape)
        self._pieces = list(zip(layers, [*layers[1:], shape[0]], strict=True))
        self._sums: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._next = 0
        self._weights: torch.Tensor | None = None

    @torch.no_grad()
    def add(self, origin: tuple[int, int, int], prediction: torch.Tensor) -> None:
        """Add one patch, (F, z, y, x) of any float type and layout."""
        if self._weights is None or self._weights.device != prediction.device:
            self._weights = gaussian_weights(self._patch_shape).to(prediction.device)
        first, rows, columns = _box(origin, self._patch_shape)
        for index in range(self._next, len(self._pieces)):
            start, stop = max(self._pieces[index][0], first.start), min(self._pieces[index][1], first.stop)
            if start >= stop:
                continue
            sums, weight_sums = self._piece(index, prediction)
            inside = slice(start - first.start, stop - first.start)
            offset = self._pieces[index][0]
            there = (slice(start - offset, stop - offset), rows, columns)
            sums = sums[(slice(None), *there)]
            # One plane at a time on a CPU: its float32 copy stays in the processor's cache.
            planes = range(inside.stop - inside.start) if prediction.device.type == "cpu" else [slice(None)]
            for plane in planes:
                values = prediction[:, inside][:, plane].float()
                sums[:, plane].addcmul_(values, self._weights[inside][plane])
            weight_sums[there].add_(self._weights[inside])

    @torch.no_grad()
    def finished(self, upcoming: int | None) -> Iterator[torch.Tensor]:
        """Means of all pieces that end at or before the next patch's first plane; all that is left for None."""
        while self._next < len(self._pieces) and (upcoming is None or self._pieces[self._next][1] <= upcoming):
            sums, weight_sums = self._sums.pop(self._next)
            self._next += 1
            yield sums.mul_(weight_sums.reciprocal_())
            del sums, weight_sums

    def _piece(self, index: int, prediction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if index not in self._sums:
            start, stop = self._pieces[index]
            count, shape = prediction.shape[0], (stop - start, *self._shape[1:])
            if prediction.stride(0) == 1 and count > 1:  # features of a voxel side by side
                sums = prediction.new_zeros((*shape, count), dtype=torch.float32).permute(3, 0, 1, 2)
            else:
                sums = prediction.new_zeros((count, *shape), dtype=torch.float32)
            self._sums[index] = (sums, prediction.new_zeros(shape, dtype=torch.float32))
        return self._sums[index]


def _box(origin: Sequence[int], patch_shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(origin, patch_shape, strict=True))
