"""Segments one patch of a volume, around a point, to show what a setting would give there before a whole run.

The patch is cut out of the image and goes through the same steps as a whole volume. A whole run averages several
patches where they overlap; a preview has only the one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import ImageError
from ..image import Box, Geometry, Image, cropped, oriented
from ..monitor import Monitor
from ..nnunet.plans import ModelPlans
from ..records.job import InferenceSpec
from .prepared_model import PreparedModel
from .prepared_task import PreparedTask
from .segment import SegmentationResult, segment


def preview(
    volume: Image,
    model: PreparedModel | PreparedTask,
    inference: InferenceSpec,
    point_mm: Sequence[float],
    monitor: Monitor | None = None,
) -> tuple[SegmentationResult, Box]:
    """Segment the one patch around a point, once, whatever ``inference`` says of mirroring.

    Args:
        volume: The whole image.
        model: Ready to run; of a task of several networks, the first one's patch shape counts.
        inference: How; mirroring and the removal of blobs do not count.
        point_mm: (R, A, S) in mm, inside the image.
        monitor: Asked whether to stop; hears nothing.

    Returns:
        Labels of the patch's part of the image, and the slices (Z, Y, X) of that part.

    Raises:
        ImageError: The point lies outside the image.
        Cancelled: The monitor said so.
    """
    first = model.begin().prepared_model if isinstance(model, PreparedTask) else model
    box = patch_box(volume.geometry, first.model.plans, point_mm)
    quick = replace(inference, mirroring=False, remove_blobs_mm3=0.0)  # a patch cuts structures
    return segment(cropped(volume, box), model, quick, (monitor or Monitor()).quiet()), box


def patch_box(geometry: Geometry, plans: ModelPlans, point_mm: Sequence[float]) -> Box:
    """The part of an image that is one patch on the model's grid, as near to a point as the image's edges allow.

    Args:
        geometry: Of the image.
        plans: Of the model.
        point_mm: (R, A, S) in mm.

    Returns:
        Slices of the image's voxels (Z, Y, X); shorter than a patch where the image is.

    Raises:
        ImageError: The point lies outside the image.
    """
    index = np.linalg.solve(geometry.matrix, np.append(np.asarray(point_mm, dtype=float), 1.0))[:3][::-1]
    shape = np.asarray(geometry.shape)
    if (index < -0.5).any() or (index > shape - 0.5).any():
        point = ", ".join(f"{value:.0f}" for value in point_mm)
        raise ImageError(f"The point ({point}) mm lies outside the volume; move the crosshair into it.")
    sizes = np.minimum(_patch_voxels(geometry, plans), shape)
    first = np.clip(np.round(index - sizes / 2).astype(int), 0, shape - sizes)
    return tuple(slice(int(low), int(low + size)) for low, size in zip(first, sizes))


def _patch_voxels(geometry: Geometry, plans: ModelPlans) -> np.ndarray:
    """Voxels of the image, (Z, Y, X), that become at most one patch when they are resampled."""
    probe = (2, 3, 4)  # three sizes that tell the axes apart
    turned = probe
    if plans.orientation is not None:
        turned = oriented(np.empty(probe), Geometry(probe, geometry.matrix), plans.orientation)[0].shape
    voxels = [0, 0, 0]
    sources = [probe.index(turned[axis]) for axis in plans.transpose_forward]
    spacings_mm = plans.grid_spacing_mm([geometry.spacing_mm[source] for source in sources])
    for patch, spacing, source in zip(plans.patch_shape, spacings_mm, sources):
        voxels[source] = max(1, int((patch + 0.5) * spacing / geometry.spacing_mm[source] - 1e-6))
    return np.asarray(voxels)
