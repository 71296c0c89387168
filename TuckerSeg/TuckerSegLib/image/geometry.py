"""The position of a voxel grid in the patient, and views of arrays along other axes.

Knows shapes, affines and orientation codes; knows nothing of files and of intensities.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .orientations import axes_of, codes_of, nearest_axes

SAME_GRID_FRACTION = 0.1  # of a voxel: two scanners' roundings agree much better, two different grids worse
AXIS_OF = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in the patient.

    Attributes:
        shape: Number of voxels, (Z, Y, X).
        affine: 4x4 matrix from voxel index (x, y, z) to RAS mm, as in nibabel. Any 4x4 array-like is taken and
            kept as nested tuples, so that a geometry can be compared, hashed and written to JSON.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.affine, dtype=np.float64)
        if matrix.shape != (4, 4) or len(self.shape) != 3:
            raise ValueError(
                f"A geometry needs a 4x4 affine and a shape (Z, Y, X); found an affine of shape {matrix.shape} "
                f"and a shape of {len(self.shape)} numbers."
            )
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "affine", tuple(tuple(float(value) for value in row) for row in matrix))

    @property
    def matrix(self) -> np.ndarray:
        """The affine as a fresh (4, 4) float64 array."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm, (Z, Y, X): the lengths of the affine's columns."""
        lengths = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return tuple(float(length) for length in lengths[::-1])

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml, of a sheared one too (determinant, not product of the spacings)."""
        return float(abs(np.linalg.det(self.matrix[:3, :3]))) / 1000.0

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """The directions in which the indices x, y, z grow, as ``nibabel.aff2axcodes``, such as ('R', 'A', 'S')."""
        return codes_of(nearest_axes(self.matrix))

    @property
    def shear_degrees(self) -> float:
        """The largest deviation of a pair of axes from 90 degrees."""
        columns = self.matrix[:3, :3] / np.linalg.norm(self.matrix[:3, :3], axis=0)
        cosines = [abs(float(columns[:, i] @ columns[:, j])) for i, j in itertools.combinations(range(3), 2)]
        return float(np.degrees(np.arcsin(min(1.0, max(cosines)))))

    def same_grid(self, other: Geometry) -> bool:
        """Whether both shapes are equal and all corners of the grids are less than a tenth of a voxel apart."""
        if self.shape != other.shape:
            return False
        sizes = self.shape[::-1]
        corners = np.array([[*corner, 1] for corner in itertools.product(*[(0, size - 1) for size in sizes])])
        distances = np.linalg.norm(corners @ (self.matrix - other.matrix).T, axis=1)
        return bool(distances.max() < SAME_GRID_FRACTION * min(self.spacing_mm))


def oriented(array: np.ndarray, geometry: Geometry, codes: str | Sequence[str] = "RAS") -> tuple[np.ndarray, Geometry]:
    """View an array along the axes that are nearest to given patient directions.

    Nothing is copied: the axes are permuted and flipped. What is written into the view of a label array therefore
    stands in that array in the input's own orientation.

    Args:
        array: (..., Z, Y, X); axes before the last three stay as they are.
        geometry: Grid of the array.
        codes: Directions that the indices x, y, z shall grow to, such as ``"RAS"`` or ``"LPS"``.

    Returns:
        The view, (..., Z, Y, X) of the new axes, and its geometry.

    Raises:
        ValueError: The array does not fit the geometry, or the codes do not name three different axes.

    Source: ``nibabel.as_closest_canonical`` (5.x); equality is tested for all 48 orientations.
    """
    codes = tuple(codes)
    if sorted(AXIS_OF.get(code, -1) for code in codes) != [0, 1, 2]:
        raise ValueError(f"Orientation codes are one each of R/L, A/P and S/I, such as 'RAS'; found {codes}.")
    if array.ndim < 3 or tuple(array.shape[-3:]) != geometry.shape:
        raise ValueError(
            f"An array of shape {array.shape} does not fit a geometry of shape (Z, Y, X) {geometry.shape}."
        )
    present, wanted = nearest_axes(geometry.matrix), axes_of(codes)
    if None in present:
        raise ValueError(f"The grid has no volume: its axes run along {codes_of(present)}.")
    targets = [next(target for target, axis in enumerate(wanted) if axis[0] == own[0]) for own in present]
    signs = [own[1] * wanted[target][1] for own, target in zip(present, targets, strict=True)]
    # Index axes are x, y, z; array axes are Z, Y, X: axis k of one is axis 2 - k of the other.
    leading = array.ndim - 3
    flips = [slice(None, None, sign) for sign in reversed(signs)]
    order = [*range(leading), *(leading + 2 - targets.index(2 - axis) for axis in range(3))]
    view = array[(..., *flips)].transpose(order)
    index_of = np.zeros((4, 4))  # of the view's voxels to the array's
    index_of[3, 3] = 1
    for axis, (target, sign) in enumerate(zip(targets, signs, strict=True)):
        index_of[axis, target] = sign
        index_of[axis, 3] = geometry.shape[2 - axis] - 1 if sign < 0 else 0
    return view, Geometry(tuple(view.shape[-3:]), geometry.matrix @ index_of)
