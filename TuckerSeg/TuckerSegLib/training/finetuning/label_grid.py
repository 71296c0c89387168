"""Brings labels to a model's grid: turned, cropped and resampled as the image was. Knows arrays, not files or cases.

Source: nnunetv2 2.x ``DefaultPreprocessor`` (each label is resampled linearly on its own, the largest wins, the
nearest among equals; the ``nnunet`` convention); TotalSegmentator 2.x (nearest voxel; ``aligned``).
"""

from __future__ import annotations

import numpy as np

from ...image import Geometry, oriented
from ...nnunet.plans import ModelPlans
from ...preprocessing.preprocess import PreparedVolume
from ...resampling import ResamplingSpec, resample, separate_axis

OUTSIDE = -1  # nnU-Net's mark for voxels outside the body's mask and outside the volume


def labels_on_grid(
    labels: np.ndarray, image: np.ndarray, volume: PreparedVolume, plans: ModelPlans, convention: str
) -> np.ndarray:
    """Bring the labels of a case to the grid of its prepared image.

    Args:
        labels: (Z, Y, X), non-negative whole numbers, on the grid of the image as read.
        image: (C, Z, Y, X) as read.
        volume: What ``preprocess`` made of the image.
        plans: Of the model.
        convention: The one that ``preprocess`` was given.

    Returns:
        (Z, Y, X) int16 in the shape of ``volume.data``; ``OUTSIDE`` where a masked normalization set the image to zero.
    """
    view = volume.label_view(labels)
    shape, part = volume.grid
    if any(channel.use_mask for channel in plans.normalization):
        view = _marked_outside(view, np.stack([volume.label_view(channel) for channel in image]))
    if view.shape == shape:
        return np.ascontiguousarray(view[part], dtype=np.int16)
    if convention == "aligned":
        return np.ascontiguousarray(_whole(resample(view[None], shape, ResamplingSpec(0, convention)))[part])
    force = plans.image_resampling.force_separate_z
    spacing_mm = _model_spacing(volume.geometry, plans)
    axis = separate_axis(spacing_mm, plans.grid_spacing_mm(spacing_mm), force)
    return _per_label(view, shape, axis)


def _per_label(view: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """Labels resampled as nnU-Net does: each linearly on its own, then the largest wins."""
    winner = _whole(resample(view[None], shape, ResamplingSpec(0, separate_axis=axis)))
    nearest = winner.copy()
    best, score_of_nearest = (np.full(shape, -np.inf, np.float32) for _ in range(2))
    linear = ResamplingSpec(1, separate_axis=axis)
    for value, box in _boxes(view, shape).items():
        score = resample(view[None], shape, linear, before=_equal_to(value))[0].numpy()[box]
        better = score > best[box]
        winner[box][better], best[box][better] = value, score[better]
        np.copyto(score_of_nearest[box], score, where=nearest[box] == value)
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


def _marked_outside(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Labels (Z, Y, X) with ``OUTSIDE`` for the background around the body of an image (C, Z, Y, X)."""
    from scipy.ndimage import binary_fill_holes

    outside = ~binary_fill_holes((image != 0).any(axis=0))
    return np.where(outside & (labels == 0), OUTSIDE, labels.astype(np.int16))


def _whole(resampled) -> np.ndarray:
    """Resampled labels (1, Z, Y, X) as int16 (Z, Y, X)."""
    return resampled[0].numpy().astype(np.int16)


def _model_spacing(geometry: Geometry, plans: ModelPlans) -> tuple[float, ...]:
    """Spacing of an image in mm along the model's axes, rounded as for the image itself."""
    if plans.orientation is not None:
        geometry = oriented(np.broadcast_to(np.uint8(0), geometry.shape), geometry, plans.orientation)[1]
    return tuple(round(float(geometry.spacing_mm[axis]), 6) for axis in plans.transpose_forward)
