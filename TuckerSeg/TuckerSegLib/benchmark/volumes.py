"""The volumes of the benchmark: the one given, and the same one resampled to the voxels of a thin-slice CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..catalog.resources import RESOURCES
from ..errors import ImageError, SpecError
from ..files.atomic_writes import written_whole

BUILT_IN = RESOURCES / "Data" / "synthetic_torso.nii.gz"


def resample_volume(source: Path, target: Path, spacing_mm: Sequence[float], repeats: int = 1) -> tuple[int, int, int]:
    """Write a volume with other voxels over the same extent, as int16: larger, with nothing new in it.

    Linear interpolation, edge-aligned; no smoothing, which only matters when the voxels become larger.

    Args:
        source: NIfTI file, 3D.
        target: NIfTI file to write.
        spacing_mm: New voxel size, (Z, Y, X).
        repeats: Copies stacked along Z, every second one mirrored, so that the seams are smooth.

    Returns:
        Shape of the new volume, (Z, Y, X).

    Raises:
        SpecError: A spacing is not positive, or less than one copy.
        ImageError: The source cannot be read or is not 3D.
        OutputError: The target cannot be written.
    """
    import nibabel
    import torch

    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise SpecError(f"The spacing should be three positive numbers of mm (Z Y X); found {tuple(spacing_mm)}.")
    if repeats < 1:
        raise SpecError(f"The volume should be repeated at least once; found {repeats}.")
    image = load_volume(source)
    old_spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)[::-1]
    once = np.asarray(image.dataobj, dtype=np.float32).T
    array = np.concatenate([once[::-1] if copy % 2 else once for copy in range(repeats)])
    shape = tuple(int(round(n * old / new)) for n, old, new in zip(array.shape, old_spacing, spacing_mm))
    larger = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(array))[None, None], size=shape, mode="trilinear", align_corners=False
    )
    voxels = larger[0, 0].round_().clamp_(-32768, 32767).to(torch.int16).numpy()
    with written_whole(target) as beside:
        nibabel.save(nibabel.Nifti1Image(voxels.T, _affine_of(image.affine, array.shape, shape)), beside)
    return shape


def load_volume(path: Path):
    """Open a 3D NIfTI file with nibabel; the array is read when it is used.

    Raises:
        ImageError: Not a readable 3D NIfTI file.
    """
    import nibabel

    try:
        image = nibabel.load(path)
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise ImageError(f"{path}: the benchmark needs a 3D NIfTI file (.nii, .nii.gz); {error}") from error
    if len(image.shape) != 3:
        raise ImageError(f"{path}: the benchmark needs a 3D volume; this one has shape {image.shape}.")
    return image


def agreement(first: Path, second: Path) -> float:
    """Fraction of voxels with equal labels in two label files.

    Raises:
        ImageError: The files are not on the same grid: a result there is wrong, whatever its labels are.
    """
    first_labels, second_labels = load_volume(first), load_volume(second)
    if first_labels.shape != second_labels.shape or not np.allclose(
        first_labels.affine, second_labels.affine, atol=1e-3
    ):
        raise ImageError(f"{first} {first_labels.shape} and {second} {second_labels.shape} are not on the same grid.")
    return float((np.asarray(first_labels.dataobj) == np.asarray(second_labels.dataobj)).mean())


def _affine_of(affine: np.ndarray, old_shape: Sequence[int], new_shape: Sequence[int]) -> np.ndarray:
    """Matrix from voxel (x, y, z) to RAS mm for the same extent in other voxels. Shapes are (Z, Y, X)."""
    scale = np.array([old / new for old, new in zip(old_shape, new_shape)])[::-1]
    step = np.eye(4)
    step[:3, :3] = np.diag(scale)
    step[:3, 3] = 0.5 * scale - 0.5  # the outer edges stay, so the first voxel's center moves
    return affine @ step
