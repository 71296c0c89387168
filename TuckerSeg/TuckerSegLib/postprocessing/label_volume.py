"""Makes labels on the output grid from slabs of low-resolution features, one output slice at a time.

Upsampling interpolates linearly and the head is linear, so both orders give the same logits: nnU-Net's "resample
logits, then argmax" costs only the features. And along a line between two grid points logits are linear: where
the same class wins at both ends, it wins everywhere between. So only where neighbors differ are features
interpolated and the head applied: first between two planes, then between two rows, last between two voxels.
Knows nothing of networks, patches or files.

Source: the decision rules are those of nnunetv2 2.x ``LabelManager.convert_logits_to_segmentation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import SpecError
from ..resampling import ResamplingSpec, linear_taps
from .decision import Decision
from .label_slice import SliceLabeler

if TYPE_CHECKING:
    from ..linear_head import Head
    from ..sliding_window import Kept, Slab

ALL = (None, None, None)
WORTH_LEAVING_OUT = 0.75  # of an axis: to pick voxels takes time, too
Taps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def label_volume(
    slabs: Iterable[Slab],
    head: Head | None,
    decision: Decision,
    low_shape: Sequence[int],
    output: np.ndarray,
    upsampling: ResamplingSpec,
    nearest: bool = False,
    box: Sequence[slice] | None = None,
    kept: Kept = ALL,
) -> None:
    """Write the labels of all slabs to the output grid, each slice as soon as the planes around it are there.

    Args:
        slabs: First to last along Z, without gaps; only read. Their device does the work.
        head: Makes logits of the features; None where the slabs hold logits.
        decision: How logits become labels.
        low_shape: (Z, Y, X) of the model's grid, in voxels.
        output: Integer array (Z, Y, X) of any strides; every voxel is written.
        upsampling: The convention and, in nnU-Net's anisotropic case, the axis that is resampled separately. Orders
            above 1 count as 1.
        nearest: Decide at low resolution and repeat labels, as TotalSegmentator does, instead of interpolating.
        box: The part of the model's grid that the slabs hold; None: all of it. Output voxels become background where
            a voxel outside the box, or one that no patch covers, would contribute to them.
        kept: Voxels of the model's grid that the slabs hold, along each axis, from :func:`needed_voxels`; None: all.

    Raises:
        SpecError: Channels of slabs, head and decision do not agree, or the slabs do not fill the box.
    """
    box = box or [slice(0, size) for size in low_shape]
    parts, taps = taps_of(low_shape, output.shape, upsampling, nearest, box, kept)
    values = np.asarray(decision.values, dtype=output.dtype)
    fill_outside(output, parts, values[0])
    output = output[parts]
    outer = [axis.tolist() for axis in taps[0]]
    done, planes, labeler = 0, {}, None
    for index, plane, bare in planes_of(slabs, first_place(box, kept)):
        if labeler is None:
            labeler = SliceLabeler(head, decision, plane, taps[1], taps[2])
        planes = {index - 1: planes.get(index - 1), index: labeler.plane(plane, bare)}
        while done < len(output) and outer[1][done] <= index:
            first, second, fraction = (axis[done] for axis in outer)
            if done and not fraction and not outer[2][done - 1] and first == outer[0][done - 1]:
                output[done] = output[done - 1]
            else:
                classes = labeler.label(planes[first], planes[second], fraction)
                np.take(values, classes.cpu().numpy(), out=output[done], mode="clip")
            done += 1
    if done < len(output):
        raise SpecError(f"The slabs end before plane {box[0].stop}; slice {done} of {len(output)} has no source.")


def needed_voxels(
    low_shape: Sequence[int], shape: Sequence[int], upsampling: ResamplingSpec, nearest: bool, has_head: bool
) -> Kept:
    """Voxels of the model's grid on which an output depends: of a coarser one not on all.

    Labels stay the very same without the others: where more than a comparison of logits follows, as a product with a
    head, whose last bits hang on how many voxels it is given, only whole planes are left out.

    Args:
        low_shape, upsampling, nearest: As for :func:`label_volume`.
        shape: (Z, Y, X) of the output.
        has_head: Whether logits are yet to be made of what the slabs hold.

    Returns:
        Their numbers along each axis, ascending; None: it is so many that leaving the others out saves nothing.
    """
    needed = []
    for size, taps in zip(low_shape, _taps_of_grid(low_shape, shape, upsampling, nearest), strict=True):
        numbers = torch.cat(taps[:2]).unique()
        needed.append(numbers if len(numbers) <= WORTH_LEAVING_OUT * size else None)
    return tuple(needed) if nearest and not has_head else (needed[0], None, None)


def taps_of(
    low_shape: Sequence[int],
    shape: Sequence[int],
    upsampling: ResamplingSpec,
    nearest: bool = False,
    box: Sequence[slice] | None = None,
    kept: Kept = ALL,
) -> tuple[tuple[slice, ...], tuple[Taps, ...]]:
    """Output positions that depend on the slabs alone, and between which voxels of theirs they lie, for each axis.

    Args:
        low_shape, upsampling, nearest, box, kept: As for :func:`label_volume`.
        shape: (Z, Y, X) of the output.
    """
    box = box or [slice(0, size) for size in low_shape]
    axes = zip(_taps_of_grid(low_shape, shape, upsampling, nearest), box, kept, strict=True)
    parts, taps = zip(*(_taps_inside(*axis) for axis in axes))
    return parts, taps


def first_place(box: Sequence[slice] | None, kept: Kept) -> int:
    """Number of the first plane of a box, by which slabs count theirs: of those that are kept."""
    return _place(box[0].start if box else 0, kept[0])


def _taps_of_grid(
    low_shape: Sequence[int], shape: Sequence[int], upsampling: ResamplingSpec, nearest: bool
) -> Iterator[Taps]:
    """Between which voxels of the whole model's grid the output's lie, for each axis; twice the same where on one."""
    orders = [0 if nearest else min(upsampling.order, 1)] * 3
    if upsampling.separate_axis is not None and not nearest:
        orders[upsampling.separate_axis] = min(upsampling.separate_order, 1)
    for sizes in zip(low_shape, shape, orders, strict=True):
        index0, index1, fraction = linear_taps(*sizes, upsampling.convention)
        yield index0, torch.where(fraction > 0, index1, index0), fraction


def _taps_inside(taps: Taps, part: slice, kept: torch.Tensor | None) -> tuple[slice, Taps]:
    """Output positions of an axis that depend on ``part`` of the input alone, and their taps counted from its start."""
    index0, index1, fraction = taps
    inside = ((index0 >= part.start) & (index1 < part.stop)).nonzero()
    chosen = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    first = _place(part.start, kept)
    index0, index1 = (index if kept is None else torch.searchsorted(kept, index) for index in (index0, index1))
    return chosen, (index0[chosen] - first, index1[chosen] - first, fraction[chosen])


def _place(voxel: int, kept: torch.Tensor | None) -> int:
    return voxel if kept is None else int(torch.searchsorted(kept, voxel))


def fill_outside(output: np.ndarray, box: Sequence[slice], value: int) -> None:
    """Write a value to every voxel of an array (Z, Y, X), in place, that lies outside a box."""
    for axis, part in enumerate(box):
        planes = np.moveaxis(output, axis, 0)
        planes[: part.start] = value
        planes[part.stop :] = value


def planes_of(slabs: Iterable[Slab], first: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
    """Every plane: its number counted from ``first``, its features (F, Y, X), and where no patch covers it (Y, X)."""
    for slab in slabs:
        for index in range(slab.stop - slab.start):
            bare = None if slab.covered is None else ~slab.covered[index]
            yield slab.start - first + index, slab.features[:, index].float(), bare
