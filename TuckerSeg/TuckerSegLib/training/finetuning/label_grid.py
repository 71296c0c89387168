"""Brings labels to a model's grid: turned, cropped and resampled as the image was. Knows arrays, not files or cases.

Source: nnunetv2 2.x ``DefaultPreprocessor`` (the ``nnunet`` convention); TotalSegmentator 2.x (nearest voxel;
``aligned``).
"""

from __future__ import annotations

import numpy as np

from ...image import Geometry, oriented
from ...nnunet.plans import ModelPlans
from ...preprocessing.label_resampling import marked_outside, resampled_labels, whole
from ...preprocessing.preprocess import PreparedVolume
from ...resampling import ResamplingSpec, resample, separate_axis


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
        view = marked_outside(view, np.stack([volume.label_view(channel) for channel in image]))
    if view.shape == shape:
        return np.ascontiguousarray(view[part], dtype=np.int16)
    if convention == "aligned":
        return np.ascontiguousarray(whole(resample(view[None], shape, ResamplingSpec(0, convention)))[part])
    force = plans.image_resampling.force_separate_z
    spacing_mm = _model_spacing(volume.geometry, plans)
    axis = separate_axis(spacing_mm, plans.grid_spacing_mm(spacing_mm), force)
    return resampled_labels(view, shape, axis)


def _model_spacing(geometry: Geometry, plans: ModelPlans) -> tuple[float, ...]:
    """Spacing of an image in mm along the model's axes, rounded as for the image itself."""
    if plans.orientation is not None:
        geometry = oriented(np.broadcast_to(np.uint8(0), geometry.shape), geometry, plans.orientation)[1]
    return tuple(round(float(geometry.spacing_mm[axis]), 6) for axis in plans.transpose_forward)
