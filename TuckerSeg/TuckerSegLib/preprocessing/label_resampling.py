"""Label maps resampled as nnU-Net does: each label linearly on its own, the largest wins, the nearest among equals.

Source: nnunetv2 2.x ``resample_data_or_seg`` with ``batchgenerators``' ``resize_segmentation``, which decides so since
0.25.3; ``crop_to_nonzero``, which marks what lies outside the body.
"""

from __future__ import annotations

import numpy as np

from ..resampling import ResamplingSpec, resample

OUTSIDE = -1  # nnU-Net's mark for voxels outside the body's mask and outside the volume
NEARLY_EQUAL = 1e-5  # scores are kept in single precision


def resampled_labels(view: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """Labels resampled as nnU-Net does: each linearly on its own, then the largest wins.

    Where two are nearly equal, as often at grids of simple ratios, nnU-Net's decision hangs on the last bits of its
    scores: there they are computed as it does it.
    """
    winner = whole(resample(view[None], shape, ResamplingSpec(0, separate_axis=axis)))
    nearest = winner.copy()
    best, second, score_of_nearest = (np.full(shape, -np.inf, np.float32) for _ in range(3))
    linear = ResamplingSpec(1, separate_axis=axis)
    for value, box in _boxes(view, shape).items():
        score = resample(view[None], shape, linear, before=_equal_to(value))[0].numpy()[box]
        better = score > best[box]
        np.maximum(second[box], np.minimum(score, best[box]), out=second[box])
        winner[box][better], best[box][better] = value, score[better]
        np.copyto(score_of_nearest[box], score, where=nearest[box] == value)
    labels = np.where(score_of_nearest == best, nearest, winner)
    doubtful = np.nonzero(best - second < NEARLY_EQUAL)
    labels[doubtful] = _as_scipy_decides(view, shape, axis, doubtful, nearest[doubtful])
    return labels


def _as_scipy_decides(
    view: np.ndarray, shape: tuple[int, ...], axis: int | None, places: tuple[np.ndarray, ...], nearest: np.ndarray
) -> np.ndarray:
    """Labels of some voxels of the new grid, with the roundings of ``scipy.ndimage.zoom``."""
    from scipy.ndimage import map_coordinates

    where = [(place + 0.5) * (old / new) - 0.5 for place, old, new in zip(places, view.shape, shape, strict=True)]
    if axis is not None:  # of which whole slices are taken
        slices = np.arange(view.shape[axis]).reshape([-1 if each == axis else 1 for each in range(3)])
        sizes = tuple(shape[each] if each == axis else 1 for each in range(3))
        where[axis] = whole(resample(slices[None], sizes, ResamplingSpec(0, separate_axis=axis))).ravel()[places[axis]]
    winner, best = np.zeros_like(nearest), np.full(len(nearest), -np.inf)
    score_of_nearest = best.copy()
    for value in np.unique(view):
        score = map_coordinates(view == value, where, np.float64, order=1, mode="nearest")
        winner[score > best] = value
        np.maximum(best, score, out=best)
        np.copyto(score_of_nearest, score, where=nearest == value)
    return np.where(score_of_nearest == best, nearest, winner)


def _boxes(view: np.ndarray, shape: tuple[int, ...]) -> dict[int, tuple[slice, ...]]:
    """Each value that occurs, and the part of the new grid that interpolation spreads it to (all for 0 and -1)."""
    from scipy.ndimage import find_objects

    boxes = {value: (slice(None),) * 3 for value in (OUTSIDE, 0) if (view == value).any()}
    for value, bounds in enumerate(find_objects(view.astype(np.int32)), 1):
        if bounds is None:
            continue
        ratios = [new / old for new, old in zip(shape, view.shape, strict=True)]
        boxes[value] = tuple(
            slice(max(0, int((part.start - 1) * ratio) - 1), int((part.stop + 1) * ratio) + 2)  # a voxel to spare
            for part, ratio in zip(bounds, ratios, strict=True)
        )
    return boxes


def _equal_to(value: int):
    """A function that replaces an array by where it equals a value, in place."""
    return lambda values: np.equal(values, value, out=values)


def marked_outside(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Labels (Z, Y, X) with ``OUTSIDE`` for the background around the body of an image (C, Z, Y, X)."""
    from scipy.ndimage import binary_fill_holes

    outside = ~binary_fill_holes((image != 0).any(axis=0))
    return np.where(outside & (labels == 0), OUTSIDE, labels.astype(np.int16))


def whole(resampled) -> np.ndarray:
    """Resampled labels (1, Z, Y, X) as int16 (Z, Y, X)."""
    return resampled[0].numpy().astype(np.int16)
