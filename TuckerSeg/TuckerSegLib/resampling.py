"""Separable resampling of volumes: one small matrix per axis, in the conventions of nnU-Net and of TotalSegmentator.

A spline resize is linear and works axis by axis, so three matrix products give the numbers of the library that
defines it. The matrices come from ``scipy.ndimage.zoom`` itself, applied to the identity. Knows nothing of
models, files or units; spacings only enter as ratios.

Source: nnunetv2 2.x ``default_resampling.py`` with ``skimage.transform.resize`` (convention ``nnunet``: pixel areas
are aligned, edges repeated, result clipped to the range of the input); TotalSegmentator 2.x ``resampling.py`` with
``scipy.ndimage.zoom`` (convention ``aligned``: the centers of the first and last voxels are aligned, no clipping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from .errors import SpecError

CONVENTIONS = ("nnunet", "aligned")
ANISOTROPY_THRESHOLD = 3.0  # as nnU-Net's ANISO_THRESHOLD
_SLAB_VOXELS = 1 << 22  # 16 MB of float32: large enough for fast products, small beside the volume


@dataclass(frozen=True)
class ResamplingSpec:
    """How a volume is resampled.

    Attributes:
        order: Spline order, 0 to 5; 3 is what both programs use for images.
        convention: ``nnunet`` or ``aligned``.
        separate_axis: Axis (0, 1, 2 of Z, Y, X) that is resampled on its own with ``separate_order`` after
            the two others, see :func:`separate_axis`; None resamples all three alike. Only for ``nnunet``.
        separate_order: Spline order along ``separate_axis``; nnU-Net's ``order_z``.

    Raises:
        SpecError: An unknown convention, an order or axis out of its range.
    """

    order: int = 3
    convention: str = "nnunet"
    separate_axis: int | None = None
    separate_order: int = 0

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            raise SpecError(f"Resampling convention {self.convention!r} is unknown; choose one of {CONVENTIONS}.")
        for name, order in (("order", self.order), ("separate_order", self.separate_order)):
            if order not in range(6):
                raise SpecError(f"Resampling {name} is {order}; spline orders are 0 to 5.")
        if self.separate_axis not in (None, 0, 1, 2):
            raise SpecError(f"separate_axis is {self.separate_axis}; choose 0, 1, 2 (Z, Y, X) or None.")
        if self.separate_axis is not None and self.convention != "nnunet":
            raise SpecError("Only the convention 'nnunet' resamples one axis separately; set separate_axis to None.")


def output_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float], convention: str = "nnunet"
) -> tuple[int, ...]:
    """Shape after resampling from ``spacing`` to ``new_spacing`` (mm, same axis order as ``shape``).

    Both conventions round size times spacing ratio half to even; no axis becomes empty.

    Raises:
        SpecError: An unknown convention, or a spacing that is not positive.
    """
    ResamplingSpec(convention=convention)
    if min(*spacing, *new_spacing) <= 0:
        raise SpecError(f"Spacings must be positive; found {tuple(spacing)} and {tuple(new_spacing)} mm.")
    sizes = (old / new * size for size, old, new in zip(shape, spacing, new_spacing, strict=True))
    return tuple(max(1, int(round(size))) for size in sizes)


def separate_axis(spacing: Sequence[float], new_spacing: Sequence[float], force: bool | None = None) -> int | None:
    """Axis that nnU-Net resamples on its own because voxels are far longer along it, or None.

    Args:
        spacing, new_spacing: mm per voxel before and after, same axis order.
        force: nnU-Net's ``force_separate_z``: None decides from the spacings (the first of the two whose longest
            side is more than three times its shortest), False never, True whenever one axis is the longest.
    """
    if force is False:
        return None
    candidates = [spacing] if force else [spacing, new_spacing]
    for candidate in candidates:
        if force or max(candidate) / min(candidate) > ANISOTROPY_THRESHOLD:
            longest = [axis for axis, length in enumerate(candidate) if max(candidate) / length == 1]
            return longest[0] if len(longest) == 1 else None
    return None


def resample(volume: np.ndarray | torch.Tensor, shape: Sequence[int], spec: ResamplingSpec) -> torch.Tensor:
    """Resample every channel of a volume to a new shape.

    Works slab by slab, so beside the result only a slab of the volume is ever held as float32; a numpy view of
    any integer or float type, with any strides, costs no copy.

    Args:
        volume: (C, Z, Y, X).
        shape: New (Z, Y, X).
        spec: Order and convention.

    Returns:
        float32, (C, Z, Y, X), contiguous, on the volume's device (CPU for numpy).

    Raises:
        SpecError: The volume has not four axes, or a size is below one.
    """
    if volume.ndim != 4 or len(shape) != 3 or min(*volume.shape, *shape) < 1:
        raise SpecError(
            f"Expected a volume (C, Z, Y, X) and a shape (Z, Y, X), all >= 1; found {volume.shape}, {shape}."
        )
    device = volume.device if isinstance(volume, torch.Tensor) else torch.device("cpu")
    shape = tuple(int(size) for size in shape)
    result = torch.empty((volume.shape[0], *shape), dtype=torch.float32, device=device)
    for channel, target in zip(volume, result, strict=True):
        if tuple(channel.shape) == shape:
            target.copy_(_as_float32(channel))
        else:
            _resample_channel(channel, target, spec)
    return result


@lru_cache(maxsize=64)
def linear_taps(
    size_in: int, size_out: int, order: int, convention: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two input positions that each output position lies between, for order 1; the nearest one for order 0.

    The last position is kept where ``scipy.ndimage.zoom`` loses it to rounding (it then writes zeros there).

    Returns:
        index0, index1 (int64) and fraction (float32), one entry per output position:
        ``out = (1 - fraction) * in[index0] + fraction * in[index1]``. Shared: do not write into them.

    Raises:
        SpecError: The order is neither 0 nor 1.
    """
    if order not in (0, 1):
        raise SpecError(f"Linear taps exist for orders 0 and 1; found {order}.")
    matrix = _zoomed_identity(size_in, size_out, order, "nearest", convention == "nnunet")
    index0 = (matrix != 0).argmax(axis=1)
    index1 = size_in - 1 - (matrix[:, ::-1] != 0).argmax(axis=1)
    fraction = np.where(index1 > index0, matrix[np.arange(size_out), index1], 0.0)
    return torch.from_numpy(index0), torch.from_numpy(index1), torch.from_numpy(fraction.astype(np.float32))


@lru_cache(maxsize=64)
def _axis_matrix(size_in: int, size_out: int, order: int, convention: str) -> torch.Tensor:
    """(size_out, size_in) float32; ``aligned`` keeps scipy's loss of a last position, as the images do."""
    mode, grid_mode = ("nearest", True) if convention == "nnunet" else ("constant", False)
    return torch.from_numpy(_zoomed_identity(size_in, size_out, order, mode, grid_mode).astype(np.float32))


def _zoomed_identity(size_in: int, size_out: int, order: int, mode: str, grid_mode: bool) -> np.ndarray:
    if size_in == size_out:
        return np.eye(size_in)
    from scipy.ndimage import zoom

    return zoom(np.eye(size_in), (size_out / size_in, 1), order=order, mode=mode, grid_mode=grid_mode)


def _resample_channel(volume: np.ndarray | torch.Tensor, target: torch.Tensor, spec: ResamplingSpec) -> None:
    """Slabs along the axis with the longest stride (their conversion then reads memory in order), written to target."""
    strides = volume.stride() if isinstance(volume, torch.Tensor) else volume.strides
    axes = sorted(range(3), key=lambda axis: -abs(strides[axis]))
    if spec.separate_axis is not None:
        axes.remove(spec.separate_axis)
        axes.insert(0, spec.separate_axis)
    view = volume.permute(axes) if isinstance(volume, torch.Tensor) else volume.transpose(axes)
    sizes = [target.shape[axis] for axis in axes]
    orders = [spec.order if spec.separate_axis is None else spec.separate_order, spec.order, spec.order]
    matrices = [
        _axis_matrix(size_in, size_out, order, spec.convention).to(target.device)
        for size_in, size_out, order in zip(view.shape, sizes, orders, strict=True)
    ]
    result = torch.zeros((sizes[0], sizes[1] * sizes[2]), dtype=torch.float32, device=target.device)
    depth = max(1, _SLAB_VOXELS // (view.shape[1] * view.shape[2]))
    low, high = np.inf, -np.inf
    for start in range(0, view.shape[0], depth):
        slab = _as_float32(view[start : start + depth])
        if spec.convention == "nnunet":
            slab_low, slab_high = slab.flatten(1).aminmax(dim=1)
            low, high = min(low, slab_low.min().item()), max(high, slab_high.max().item())
        plane = _resample_planes(slab, matrices[1], matrices[2]).flatten(1)
        if spec.separate_axis is not None:  # skimage resizes and clips one slice at a time there
            plane = plane.clamp(slab_low[:, None], slab_high[:, None])
        columns = matrices[0][:, start : start + depth]
        rows = (columns.abs() > 1e-9).any(dim=1).nonzero()  # splines decay: 1e-9 of any HU is far below rounding
        if len(rows):
            first, last = int(rows[0]), int(rows[-1]) + 1
            result[first:last].addmm_(columns[first:last], plane)
    if spec.convention == "nnunet" and spec.separate_axis is None:
        result.clamp_(low, high)
    target.permute(axes).copy_(result.view(sizes))


def _resample_planes(slab: torch.Tensor, matrix_rows: torch.Tensor, matrix_columns: torch.Tensor) -> torch.Tensor:
    """(N, R, S) to (N, R', S'), the axis that shrinks most first."""
    rows_first = matrix_rows.shape[0] * slab.shape[2] < matrix_columns.shape[0] * slab.shape[1]
    for rows in (rows_first, not rows_first):
        matrix = matrix_rows if rows else matrix_columns
        if matrix.shape[0] != matrix.shape[1]:  # else the identity
            slab = torch.matmul(matrix, slab) if rows else torch.matmul(slab, matrix.T)
    return slab


def _as_float32(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array.to(torch.float32).contiguous()
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
