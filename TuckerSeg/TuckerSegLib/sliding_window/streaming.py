"""Weighted mean of overlapping patches, handed out slab by slab as soon as no later patch touches a slab.

Patches come ordered along Z, so memory follows one layer of patches and not the volume. Where only some patches are
run, voxels that several patches touch get the mean of those that were; the others are told apart. Knows nothing of
networks, models or files: a predictor is any callable on a batch of patches.

Source: the sums are those of nnunetv2 2.x ``nnUNetPredictor.predict_sliding_window_return_logits``, in float32
where predictions are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..errors import SpecError
from ..monitor import Monitor
from .accumulator import Accumulator, Piece
from .grid import padding, patch_origins
from .lines import ALL, Kept, Lines, taken
from .selection import Selection, select_patches

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
        weights: ``gaussian`` or ``flat``, see ``weights.patch_weights``.

    Raises:
        SpecError: A batch size below one or an unknown mirror axis.
    """

    patch_shape: tuple[int, int, int]
    step_fraction: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    batch_size: int = 1
    accumulator_device: torch.device | str | None = None
    weights: str = "gaussian"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SpecError(f"The batch size is {self.batch_size}; it must be at least 1.")
        if not set(self.mirror_axes) <= {0, 1, 2}:
            raise SpecError(f"Mirror axes are {self.mirror_axes}; they must be among 0, 1, 2 (Z, Y, X).")


@dataclass(frozen=True)
class Slab:
    """Finished planes of the volume, or of the box of it that was selected.

    Attributes:
        start, stop: Planes along Z of the volume, stop not included; of those that are kept, where not all are.
        features: (F, stop - start, Y, X), weighted mean over patches, in float32, or float16 where predictions have 16
            bits; where one patch covers the volume, its prediction, of the predictor's type. Any layout, perhaps a view
            of the predictor's output: it may only be read, and only until the next slab is taken.
        covered: (stop - start, Y, X), False where no patch was run and features mean nothing; None: all True.
    """

    start: int
    stop: int
    features: torch.Tensor
    covered: torch.Tensor | None = None


def stream(
    volume: torch.Tensor,
    predictor: Predictor,
    spec: StreamSpec,
    monitor: Monitor | None = None,
    selection: Selection | None = None,
    kept: Kept = ALL,
) -> Iterator[Slab]:
    """Predict a volume patch by patch, and yield finished slabs along Z, first to last, without gaps.

    A volume smaller than a patch is padded with zeros around its center and the result is cropped back. Nothing
    is kept between calls: after the predictor ran out of memory, call again with a smaller batch or another
    accumulator device.

    Args:
        volume: Normalized, float32, (C, Z, Y, X).
        predictor: (B, C, z, y, x) to (B, F, z, y, x), features or logits, any float type, any device. Its output
            is only read.
        spec: Patches, mirroring and batch.
        monitor: Told after each batch how many patches are done, of those to run, and asked before each call of the
            predictor whether to stop.
        selection: The patches that are run; slabs hold its box only. None runs all patches.
        kept: Voxels of the volume that are wanted, ascending, along each axis: slabs hold these alone, with the same
            values as without. None: all.

    Yields:
        Slabs, in the order of Z.

    Raises:
        Cancelled: The monitor said so.
        SpecError: The volume does not have four axes.
    """
    if volume.ndim != 4:
        raise SpecError(f"Expected a volume (C, Z, Y, X); found {volume.ndim} axes.")
    shape = tuple(volume.shape[1:])
    selection = selection or select_patches(shape, spec.patch_shape, spec.step_fraction)
    pads = padding(shape, spec.patch_shape)
    if any(after for _, after in pads):  # the larger one of each pair
        volume = torch.nn.functional.pad(volume, [side for pair in reversed(pads) for side in pair])
    box = tuple(
        slice(part.start + before, part.stop + before) for part, (before, _) in zip(selection.box, pads, strict=True)
    )
    start = Lines(slice(0, shape[0]), kept[0]).place(selection.box[0].start)
    kept = tuple(None if chosen is None else chosen + before for chosen, (before, _) in zip(kept, pads, strict=True))
    monitor = monitor or Monitor()
    mirrored = partial(_mirrored, predictor, spec.mirror_axes, monitor)
    for piece in _pieces(volume, mirrored, spec, monitor, replace(selection, box=box), kept):
        stop = start + piece.means.shape[1]
        yield Slab(start, stop, piece.means, piece.covered)
        start = stop
        del piece  # not held while the next patches run


def patch_count(shape: Sequence[int], spec: StreamSpec) -> int:
    """Number of patches that a volume takes, without mirrored passes and with those that could be skipped.

    Args:
        shape: (Z, Y, X) of the volume on the network's grid, in voxels.
        spec: Patch shape and step fraction.

    Raises:
        SpecError: See ``grid.axis_origins``.
    """
    return len(patch_origins(shape, spec.patch_shape, spec.step_fraction))


def _pieces(
    volume: torch.Tensor,
    predictor: Predictor,
    spec: StreamSpec,
    monitor: Monitor,
    selection: Selection,
    kept: Kept,
) -> Iterator[Piece]:
    """Finished pieces of the padded volume, on which the selection's box and what is kept lie too."""
    origins, box = selection.origins, selection.box
    accumulator = Accumulator(spec.patch_shape, sorted({origin[0] for origin in origins}), box, spec.weights, kept)
    for start in range(0, len(origins), spec.batch_size):
        batch = origins[start : start + spec.batch_size]
        patches = torch.stack([volume[(slice(None), *_box(origin, spec.patch_shape))] for origin in batch])
        predicted = predictor(patches)
        done = start + len(batch)
        monitor.progress(done, len(origins))
        if selection.alone:  # weights cancel
            axes = zip(box, kept, batch[0], strict=True)
            lines = [Lines(part, chosen).within(part.start, part.stop, first)[0] for part, chosen, first in axes]
            yield Piece(taken(predicted[0].to(spec.accumulator_device or predicted.device), lines), None)
            return
        for origin, prediction in zip(batch, predicted, strict=True):
            accumulator.add(origin, prediction.to(spec.accumulator_device or prediction.device))
        del patches, predicted, prediction
        upcoming = origins[done][0] if done < len(origins) else None
        yield from accumulator.finished(upcoming)


@torch.no_grad()
def _mirrored(
    predictor: Predictor, mirror_axes: Sequence[int], monitor: Monitor, patches: torch.Tensor
) -> torch.Tensor:
    """Mean of the predictions of all mirrored forms of a batch; (B, F, z, y, x)."""
    axes = [axis + 2 for axis in sorted(set(mirror_axes))]
    flips = [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
    total = None
    for chosen in flips:
        monitor.check()
        if total is None:  # the first one is not mirrored
            total = predictor(patches)
            if len(flips) > 1:
                total = total.to(torch.float32, copy=True)  # the predictor may reuse its output
        else:
            total += predictor(patches.flip(chosen)).flip(chosen)
    return total.div_(len(flips)) if len(flips) > 1 else total


def _box(origin: Sequence[int], patch_shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(origin, patch_shape, strict=True))
