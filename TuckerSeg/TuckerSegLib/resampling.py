"""Separable resampling of volumes: one small matrix per axis, in the conventions of nnU-Net and of TotalSegmentator.

A spline resize is linear and works axis by axis, so three matrix products give the numbers of the library that
defines it. The matrices come from ``scipy.ndimage.zoom`` itself, applied to the identity. Knows nothing of
models, files or units.

Source: nnunetv2 2.x ``default_resampling.py`` with ``skimage.transform.resize`` (convention ``nnunet``: pixel areas
are aligned, edges repeated, result clipped to the range of the input) and ``resample_torch.py`` with
``torch.nn.functional.interpolate`` (convention ``torch``: as ``nnunet``, of orders 0 and 1, but for the nearest voxel
where two are as near); TotalSegmentator 2.x ``resampling.py`` with
``scipy.ndimage.zoom``, mode ``nearest`` (convention ``aligned``: the centers of the first and last voxels are aligned,
no clipping).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from .errors import SpecError
from .forked_process import require_own_threads

CONVENTIONS = ("nnunet", "torch", "aligned")
MOST_VOXELS = 2**32  # 16 GiB in float32; a man of 2 m, at 0.4 mm, has 2 * 10**9 with the air around him
ANISOTROPY_THRESHOLD = 3.0  # as nnU-Net's ANISO_THRESHOLD
EXACT = "nearest-exact"  # torch's name for the nearest voxel by the pixels' centers
_SLAB_VOXELS, _BAND_ROWS = 1 << 21, 32  # slabs of 16 MB: fast, and small beside the volume


@dataclass(frozen=True)
class ResamplingSpec:
    """How a volume is resampled.

    Attributes:
        order: Spline order, 0 to 5.
        convention: ``nnunet``, ``torch`` or ``aligned``.
        separate_axis: Axis (0, 1, 2 of Z, Y, X) that is resampled on its own with ``separate_order`` after
            the two others, see :func:`separate_axis`; None resamples all three alike. Not for ``aligned``.
        separate_order: Spline order along ``separate_axis``; nnU-Net's ``order_z``.
        whole_numbers: Cut interpolated values to whole numbers, towards zero.

    Raises:
        SpecError: An unknown convention, or an order or axis out of its range.
    """

    order: int = 3
    convention: str = "nnunet"
    separate_axis: int | None = None
    separate_order: int = 0
    whole_numbers: bool = False

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            raise SpecError(f"Resampling convention {self.convention!r} is unknown; choose one of {CONVENTIONS}.")
        if not {self.order, self.separate_order} <= set(range(6)):
            raise SpecError(f"Resampling orders are {self.order} and {self.separate_order}; splines have 0 to 5.")
        if self.separate_axis not in (None, 0, 1, 2):
            raise SpecError(f"separate_axis is {self.separate_axis}; choose 0, 1, 2 (Z, Y, X) or None.")
        if self.separate_axis is not None and self.convention == "aligned":
            raise SpecError("The convention 'aligned' resamples no axis separately; set separate_axis to None.")
        if self.convention == "torch" and not {self.order, self.separate_order} <= {0, 1}:
            raise SpecError(f"Torch resamples by orders 0 and 1; found {self.order} and {self.separate_order}.")


def output_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float], convention: str = "nnunet"
) -> tuple[int, ...]:
    """Shape after resampling from ``spacing`` to ``new_spacing`` (mm, same axis order as ``shape``).

    All conventions round half to even; no axis becomes empty.

    Args:
        shape: Voxels along the axes that are resampled.
        spacing: Voxel size before, in mm.
        new_spacing: Voxel size after, in mm.
        convention: ``nnunet``, ``torch`` or ``aligned``.

    Raises:
        SpecError: An unknown convention, a spacing that is not positive, or more voxels than any volume has.
    """
    ResamplingSpec(convention=convention)
    if min(*spacing, *new_spacing) <= 0:
        raise SpecError(f"Spacings must be positive; found {tuple(spacing)} and {tuple(new_spacing)} mm.")
    ratios = (old / new for old, new in zip(spacing, new_spacing, strict=True))
    new_shape = tuple(max(1, int(round(ratio * size))) for ratio, size in zip(ratios, shape, strict=True))
    if math.prod(new_shape) > MOST_VOXELS:
        raise SpecError(
            f"{tuple(shape)} voxels of {tuple(spacing)} mm would be {new_shape} at the model's spacing of "
            f"{tuple(new_spacing)} mm, more than any volume has. Check both spacings."
        )
    return new_shape


def separate_axis(spacing: Sequence[float], new_spacing: Sequence[float], force: bool | None = None) -> int | None:
    """The axis that nnU-Net resamples on its own, because voxels are far longer along it; None where there is none.

    Args:
        spacing: Voxel size before resampling, in mm.
        new_spacing: Voxel size after, in mm, in the same order of axes.
        force: nnU-Net's ``force_separate_z``: None decides from the first of the two spacings whose longest side is
            more than three times its shortest, False never, True whenever one axis is the longest.
    """
    for candidate in {None: (spacing, new_spacing), True: (spacing,), False: ()}[force]:
        if force or max(candidate) / min(candidate) > ANISOTROPY_THRESHOLD:
            longest = [axis for axis, length in enumerate(candidate) if max(candidate) / length == 1]
            return longest[0] if len(longest) == 1 else None
    return None


def resample(
    volume: np.ndarray | torch.Tensor,
    shape: Sequence[int],
    spec: ResamplingSpec,
    before: Callable[[np.ndarray], object] | None = None,
) -> torch.Tensor:
    """Resample every channel of a volume to a new shape.

    Beside the result in float64, only one slab of the volume is held as floats at a time, so a view of any type needs
    no copy. Computes in float64: in float32, white noise in the range of HU would be off by 2e-3 HU.

    Args:
        volume: (C, Z, Y, X) in main memory, of any type and strides.
        shape: New shape (Z, Y, X).
        spec: Order and convention.
        before: Changes float32 values in place before they are resampled, such as a normalization.

    Returns:
        float32, (C, *shape), contiguous.

    Raises:
        SpecError: The volume does not have four axes, or a size is below one.
    """
    require_own_threads()
    if volume.ndim != 4 or len(shape) != 3 or min(*volume.shape, *shape) < 1:
        raise SpecError(f"Expected (C, Z, Y, X) and a new (Z, Y, X), all >= 1; found {volume.shape}, {shape}.")
    volume = np.asarray(volume)
    shape = tuple(int(size) for size in shape)
    result = torch.empty((len(volume), *shape), dtype=torch.float32)
    for channel, target in zip(volume, result, strict=True):
        if channel.shape == shape:
            np.copyto(target.numpy(), channel, casting="unsafe")
            if before:
                before(target.numpy())
        else:
            _resample_channel(channel, target, spec, before)
    return result


@lru_cache(maxsize=64)
def linear_taps(
    size_in: int, size_out: int, order: int, convention: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two input positions around each output position for order 1, or the nearest one for order 0.

    Args:
        size_in, size_out: Voxels of the axis before and after resampling.
        order: 0 or 1.
        convention: ``nnunet``, ``torch`` or ``aligned``.

    Returns:
        index0, index1 (int64) and fraction (float32), one entry per output position:
        ``out = (1 - fraction) * in[index0] + fraction * in[index1]``. The tensors are shared: do not write into them.

    Raises:
        SpecError: The order is neither 0 nor 1.
    """
    if order not in (0, 1):
        raise SpecError(f"Linear taps exist for orders 0 and 1; found {order}.")
    matrix = _zoomed_identity(size_in, size_out, order, convention)
    index0 = (matrix != 0).argmax(axis=1)
    index1 = size_in - 1 - (matrix[:, ::-1] != 0).argmax(axis=1)
    fraction = np.where(index1 > index0, matrix[np.arange(size_out), index1], 0.0)
    return torch.from_numpy(index0), torch.from_numpy(index1), torch.from_numpy(fraction.astype(np.float32))


def _zoomed_identity(size_in: int, size_out: int, order: int, convention: str) -> np.ndarray:
    if size_in == size_out:
        return np.eye(size_in)
    if convention == "torch" and order == 0:
        nearest = torch.nn.functional.interpolate(torch.arange(size_in).float()[None, None], size_out, mode=EXACT)
        return np.eye(size_in)[nearest[0, 0].long().numpy()]
    from scipy.ndimage import zoom

    factors = (size_out / size_in, 1)
    return zoom(np.eye(size_in), factors, order=order, mode="nearest", grid_mode=convention != "aligned")


@lru_cache(maxsize=64)
def _axis_matrix(size_in: int, size_out: int, order: int, convention: str) -> torch.Tensor:
    """The matrix that resamples an axis, (size_out, size_in) float64."""
    return torch.from_numpy(_zoomed_identity(size_in, size_out, order, convention))


def _extent(matrix: torch.Tensor, axis: int) -> slice:
    """Range of rows (axis 0) or columns (axis 1) with weights above 1e-9, since splines decay."""
    hits = (matrix.abs() > 1e-9).any(dim=1 - axis).nonzero()
    return slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0)


def _bands(matrix: torch.Tensor) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Blocks of rows with the columns that they need: a third of the work of the whole matrix at CT sizes."""
    for start in range(0, matrix.shape[0], _BAND_ROWS):
        rows = slice(start, min(start + _BAND_ROWS, matrix.shape[0]))
        columns = _extent(matrix[rows], 1)
        yield rows, columns, matrix[rows, columns].contiguous()


def _resample_channel(volume: np.ndarray, target: torch.Tensor, spec: ResamplingSpec, before) -> None:
    """Resample (Z, Y, X) into ``target``, in slabs along the axis with the longest stride, which are contiguous."""
    axes = sorted(range(3), key=lambda axis: -abs(volume.strides[axis]))
    orders = [spec.order] * 3
    if spec.separate_axis is not None:
        axes = [spec.separate_axis, *(axis for axis in axes if axis != spec.separate_axis)]
        orders[0] = spec.separate_order
    view = volume.transpose(axes)
    sizes = [target.shape[axis] for axis in axes]
    outer, *inner = (
        _axis_matrix(size_in, size_out, order, spec.convention)
        for size_in, size_out, order in zip(view.shape, sizes, orders, strict=True)
    )
    planes = _Planes(*inner)
    result = torch.zeros((sizes[0], sizes[1] * sizes[2]), dtype=torch.float64)
    clip, low, high = spec.convention == "nnunet", np.inf, -np.inf
    for start, slab in _slabs(view, before):
        resized = planes(slab).flatten(1)
        if clip and spec.separate_axis is not None:  # skimage resizes and clips one slice at a time there
            slice_low, slice_high = slab.flatten(1).aminmax(dim=1, keepdim=True)
            resized = resized.clamp(slice_low, slice_high)
        elif clip:
            slab_low, slab_high = slab.aminmax()
            low, high = min(low, slab_low.item()), max(high, slab_high.item())
        columns = outer[:, start : start + len(slab)]
        rows = _extent(columns, 0)
        result[rows].addmm_(columns[rows], resized)
    if clip and spec.separate_axis is None:
        result.clamp_(low, high)
    if spec.whole_numbers:
        result.trunc_()  # in float64: float32 would first round what is next to a whole number to it
    target.permute(axes).copy_(result.view(sizes))


def _slabs(view: np.ndarray, before) -> Iterator[tuple[int, torch.Tensor]]:
    """First plane and float64 values of each slab; all use the same memory, since fresh pages cost time."""
    depth = min(max(1, _SLAB_VOXELS // (view.shape[1] * view.shape[2])), view.shape[0])
    store = torch.empty((depth, *view.shape[1:]), dtype=torch.float64)
    for start in range(0, view.shape[0], depth):
        values = view[start : start + depth]
        if before:
            values = values.astype(np.float32)
            before(values)
        slab = store[: len(values)]
        np.copyto(slab.numpy(), values, casting="unsafe")
        yield start, slab


class _Planes:
    """Resamples stacked planes, (N, R, S) to (N, R', S'), first along the axis that shrinks most; reuses its memory."""

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        rows_first = rows.shape[0] * columns.shape[1] < columns.shape[0] * rows.shape[1]
        self._matrices = {"rows": rows, "columns": columns} if rows_first else {"columns": columns, "rows": rows}
        self._bands = {axis: list(_bands(matrix)) for axis, matrix in self._matrices.items()}
        self._stores: dict[str, torch.Tensor] = {}

    def __call__(self, planes: torch.Tensor) -> torch.Tensor:
        for axis, matrix in self._matrices.items():
            (count, height, width), (size, size_in) = planes.shape, matrix.shape
            if size == size_in:  # the identity
                continue
            if axis not in self._stores:  # the first slab is the largest
                shape = (count, size, width) if axis == "rows" else (count, height, size)
                self._stores[axis] = torch.empty(shape, dtype=torch.float64)
            result = self._stores[axis][:count]
            for outputs, inputs, band in self._bands[axis]:
                if axis == "rows":
                    torch.matmul(band, planes[:, inputs], out=result[:, outputs])
                else:
                    torch.mm(planes.view(-1, width)[:, inputs], band.T, out=result.view(-1, size)[:, outputs])
            planes = result
        return planes
