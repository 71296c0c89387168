"""Normalized surface Dice: as DeepMind's package computes it, and what follows from its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib.errors import SpecError
from TuckerSegLib.evaluation.label_files import read_label_map
from TuckerSegLib.evaluation.surface_distance import element_areas, nsd_per_label

SPACINGS_MM = ((1.0, 1.0, 1.0), (5.0, 0.7, 1.3), (0.9, 3.1, 2.0))  # (Z, Y, X)
TOLERANCES_MM = (0.0, 1.0, 3.0)


def blobs(seed: int, threshold: float = 0.0) -> np.ndarray:
    """Labels 1 to 4 with ragged, bent surfaces that reach the volume's border; (14, 17, 19)."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(random.normal(size=(14, 17, 19)), 1.2, mode="nearest") for _ in range(4)])
    return np.where(fields.max(axis=0) > threshold, fields.argmax(axis=0) + 1, 0).astype(np.uint8)


def of_the_package(labels, reference, spacing_mm, tolerance_mm) -> dict[int, float]:
    """What ``surface-distance`` says of the structures that both maps have; of others it says nothing under numpy 2."""
    package = pytest.importorskip("surface_distance", reason="needs surface-distance, a package for tests")
    dice = {}
    for value in sorted(set(np.unique(labels)) & set(np.unique(reference)) - {0}):
        distances = package.compute_surface_distances(reference == value, labels == value, spacing_mm)
        dice[int(value)] = package.compute_surface_dice_at_tolerance(distances, tolerance_mm)
    return dice


@pytest.mark.parametrize("tolerance_mm", TOLERANCES_MM)
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_it_equals_deepminds_package_on_ragged_structures_that_touch_the_border(spacing_mm, tolerance_mm):
    reference = blobs(0)
    for other in (blobs(1), np.roll(reference, (0, 1, 2), axis=(0, 1, 2)), blobs(0, threshold=0.1)):
        expected = of_the_package(other, reference, spacing_mm, tolerance_mm)
        assert len(expected) == 4
        assert nsd_per_label(other, reference, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_the_area_of_every_block_is_that_of_deepminds_package(spacing_mm):
    package = pytest.importorskip("surface_distance", reason="needs surface-distance, a package for tests")
    # The package numbers a block's eight voxels from the other end
    order = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    expected = package.metrics.lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    np.testing.assert_allclose(element_areas(spacing_mm)[order], expected, atol=1e-12)


@pytest.mark.parametrize("tolerance_mm", TOLERANCES_MM)
@pytest.mark.parametrize("name", ["example_seg", "ts_s0002_seg"])
def test_it_equals_deepminds_package_on_real_labels(shared_data, name, tolerance_mm):
    from scipy.ndimage import grey_erosion

    reference = read_label_map(Path(shared_data, "data", f"{name}.nii.gz"))
    part = tuple(slice(size // 4, 3 * size // 4) for size in reference.array.shape)
    labels = np.ascontiguousarray(reference.array[part])
    worse = np.roll(grey_erosion(labels, size=3), 1, axis=0)
    # A file's 1.50000006 mm is 1.5 mm: with it, the package would not find two voxels within 3 mm
    expected = of_the_package(worse, labels, np.round(reference.geometry.spacing_mm, 5), tolerance_mm)
    nsd = nsd_per_label(worse, labels, reference.geometry.spacing_mm, tolerance_mm)
    assert len(expected) > 5
    assert {value: nsd[value] for value in expected} == pytest.approx(expected, abs=1e-6)


def test_a_map_agrees_wholly_with_itself_at_no_tolerance():
    labels = blobs(2)
    assert nsd_per_label(labels, labels, (1, 2, 3), 0) == dict.fromkeys((1, 2, 3, 4), 1.0)


@pytest.mark.parametrize(("axis", "tolerance_mm"), [(0, 5.0), (1, 1.5), (2, 0.5)])
def test_a_plane_that_moves_by_one_voxel_agrees_from_the_spacing_of_its_axis_on(axis, tolerance_mm):
    spacing_mm = (5.0, 1.5, 0.5)
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[tuple(slice(3, 9) if other == axis else slice(None) for other in range(3))] = 1
    moved = np.roll(reference, 1, axis=axis)
    assert nsd_per_label(moved, reference, spacing_mm, tolerance_mm)[1] == 1
    assert nsd_per_label(moved, reference, spacing_mm, 0.999 * tolerance_mm)[1] < 1


def test_a_tolerance_of_two_voxels_takes_in_two_voxels_whose_spacing_a_file_has_rounded():
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[2:5, 2:5, 2:5] = 1
    rounded = float(np.float32(1.1)) + 1e-7
    assert nsd_per_label(np.roll(reference, 2, axis=1), reference, (rounded, rounded, rounded), 2.2)[1] == 1


def test_a_structure_in_one_of_the_maps_only_has_no_agreement_and_one_in_neither_is_left_out():
    first, second = (np.zeros((5, 5, 5), np.uint8) for _ in range(2))
    first[1, 1, 1], second[2, 2, 2] = 2, 5
    assert nsd_per_label(first, second, (1, 1, 1), 100) == {2: 0, 5: 0}
    assert nsd_per_label(first * 0, second * 0, (1, 1, 1), 100) == {}


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32])
def test_the_type_and_the_memory_order_of_the_maps_do_not_matter(kind):
    labels, reference = blobs(3), blobs(4)
    expected = nsd_per_label(labels, reference, (1, 2, 3), 2)
    flipped = [np.asfortranarray(array[::-1, :, ::-1]).astype(kind)[::-1, :, ::-1] for array in (labels, reference)]
    assert nsd_per_label(*flipped, (1, 2, 3), 2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("tolerance_mm", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance_mm):
    with pytest.raises(SpecError, match="tolerance is 0 mm or more"):
        nsd_per_label(blobs(0), blobs(0), (1, 1, 1), tolerance_mm)


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        nsd_per_label(blobs(0), blobs(0)[1:], (1, 1, 1), 1)
