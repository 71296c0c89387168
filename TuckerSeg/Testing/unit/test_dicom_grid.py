"""Where DICOM slices lie: directions that are rounded, missing slices, uneven distances, tilted gantries."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.unit.dicom_files import COLUMNS, ROWS, SPACING, multi_frame, places, save, save_series, single
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image


def ramp(point):
    """Linear in space, in stored values: an interpolation that knows every slice's place gives it exactly."""
    return 1500 + 3 * point[..., 0] - 5 * point[..., 1] + 8 * (point[..., 2] - 100)


def sampled(positions, directions=(1, 0, 0, 0, 1, 0)):
    """Slices (N, Y, X) of the ramp, stored in eighths: fine enough for a slope of 1/8."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    row, column = np.reshape(directions, (2, 3))
    in_plane = x[..., None] * SPACING[1] * row + y[..., None] * SPACING[0] * column
    return np.stack([np.rint(8 * ramp(position + in_plane)).astype(np.uint16) for position in np.array(positions)])


EIGHTHS = {"RescaleSlope": 0.125, "RescaleIntercept": -1024}


def assert_is_ramp(image, outside=0):
    """Every voxel of a slice's rectangle has the value of its place; others are air."""
    z, y, x = np.mgrid[tuple(slice(0, size) for size in image.geometry.shape)]
    point = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ image.geometry.matrix.T
    expected = ramp(point[..., :3] * [-1, -1, 1]) - 1024
    measured = image.array[0] != -1024
    np.testing.assert_allclose(image.array[0][measured], expected[measured], atol=0.2)
    assert np.count_nonzero(~measured) <= outside


def test_directions_that_are_rounded_each_for_itself_make_one_stack(tmp_path):
    angle = np.radians(20.02)
    for index in range(10):
        jitter = 4e-4 * (-1) ** index
        directions = (1, 0, 0, 0, np.cos(angle) + jitter, np.sin(angle) - jitter)
        normal = np.array([0, -np.sin(angle), np.cos(angle)])
        position = np.round(2.5 * index * normal, 4)
        save(single(np.full((ROWS, COLUMNS), index, np.uint16), position, directions=directions), tmp_path / f"{index}")
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0, :, 0, 0], np.arange(10) - 1024)
    np.testing.assert_allclose(image.geometry.spacing_mm, (2.5, 0.9, 0.7), atol=1e-3)


def test_positions_that_are_rounded_to_a_tenth_are_even(tmp_path):
    at = [(-30, 20, round(100 + 0.625 * index, 1)) for index in range(16)]
    save_series(tmp_path, sampled(at), at)
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], sampled(at).astype(int) - 1024)
    assert image.geometry.spacing_mm[0] == pytest.approx(0.625, abs=0.005)


def test_copies_that_are_rounded_otherwise_are_told_as_slices_at_one_position(tmp_path):
    at = [(-30, 20, 100 + 2 * index + extra) for index in range(6) for extra in (0, 0.004)]
    save_series(tmp_path, sampled(at), at)
    with pytest.raises(ImageError, match="6 slices at a position of another slice"):
        read_image(tmp_path)


@pytest.mark.parametrize("lost", [[4], [3, 4], [2, 5], [1], [3, 4, 5]])
@pytest.mark.parametrize("several", [False, True])
def test_missing_slices_are_told_with_their_positions(tmp_path, lost, several):
    at = [place for index, place in enumerate(places(12)) if index not in lost]
    stored = sampled(at)
    if several:
        save(multi_frame(stored, at), tmp_path / "e.dcm")
    else:
        save_series(tmp_path, stored, at)
    where = ", ".join(f"{places(12)[index][2]:.2f}" for index in lost)
    with pytest.raises(ImageError, match=rf"{len(lost)} slices seem to be missing .*, at {where} mm .*z of Image"):
        read_image(tmp_path)


@pytest.mark.parametrize("heights", [
    [100, 102, 104, 106, 108.5, 110, 112, 114],  # one is off
    [100, 101, 102, 103, 104, 105, 107.5, 110, 112.5, 115, 117.5],  # the distance changes
    [100, 100.8, 103, 104.4, 106.6, 107.2, 109.5],
])  # fmt: skip
@pytest.mark.parametrize("several", [False, True])
def test_uneven_slices_are_resampled_where_they_were_measured(tmp_path, heights, several):
    at = [(-30, 20, height) for height in heights]
    stored = sampled(at)
    if several:
        save(multi_frame(stored, at, slopes=[0.125] * len(at)), tmp_path / "e.dcm")
    else:
        save_series(tmp_path, stored, at, **EIGHTHS)
    image = read_image(tmp_path)
    assert_is_ramp(image)
    matrix = image.geometry.matrix
    assert image.geometry.shear_degrees < 1e-6
    assert matrix[2, 3] == pytest.approx(heights[0])
    assert matrix[2, 3] + matrix[2, 2] * (image.geometry.shape[0] - 1) == pytest.approx(heights[-1])
    assert "Resampled with the true position of every slice" in image.notes[0]
    assert "Labels are given on that grid" in image.notes[0]


@pytest.mark.parametrize("degrees", [-25, -8, 6, 12, 30])
@pytest.mark.parametrize("several", [False, True])
def test_a_tilted_gantry_is_resampled_where_its_slices_were_measured(tmp_path, degrees, several):
    """As scanners write it: slices that lie slanted, moved along the table."""
    angle = np.radians(degrees)
    directions = (1, 0, 0, 0, np.cos(angle), np.sin(angle))
    at = [(-30, 20, 100 + 2.5 / np.cos(angle) * index) for index in range(8)]
    stored = sampled(at, directions)
    if several:
        save(multi_frame(stored, at, directions=directions, slopes=[0.125] * 8), tmp_path / "e.dcm")
    else:
        save_series(tmp_path, stored, at, directions=directions, **EIGHTHS)
    image = read_image(tmp_path)
    shape = image.geometry.shape
    assert shape[0] == 8 and shape[2] == COLUMNS
    assert_is_ramp(image, outside=np.prod(shape) - 8 * (ROWS - 1) * COLUMNS)
    assert image.geometry.shear_degrees < 1e-6
    np.testing.assert_allclose(image.geometry.spacing_mm, (2.5, *SPACING), atol=1e-6)
    assert f"the gantry was tilted by {abs(degrees):.1f} degrees" in image.notes[0]


def test_a_slice_that_is_shifted_sideways_is_put_back(tmp_path):
    at = places()
    at[4] = (-29, 20, 110)
    save_series(tmp_path, sampled(at), at, **EIGHTHS)
    assert_is_ramp(read_image(tmp_path), outside=(8 * 2 + 1) * ROWS)


def test_slices_beside_each_other_are_no_stack(tmp_path):
    at = [(-30 + 1000 * index, 20, 100 + 2.5 * index) for index in range(4)]
    save_series(tmp_path, sampled(places(4)), at)
    with pytest.raises(ImageError, match="its slices lie beside each other, up to .* pixels apart"):
        read_image(tmp_path)
