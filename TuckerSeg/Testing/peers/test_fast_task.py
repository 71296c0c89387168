"""``total_fast``, with the same network on both sides, gives the labels that TotalSegmentator's ``--fast`` gives."""

from __future__ import annotations

import pytest

# trunk; neck, oblique; neck; whole chest of 4 mm voxels; half a chest of 5 mm slices; DICOM, 20 slices
CTS = (
    "example_ct.nii.gz",
    "ts_s0002.nii.gz",
    "ts_s0003.nii.gz",
    "cip_chest_64.nii.gz",
    "elastix_lung_small.nii.gz",
    "dicom_example",
)


@pytest.fixture
def programs(programs_for):
    return programs_for("total_fast")


@pytest.mark.parametrize("name", CTS)
def test_labels_equal_totalsegmentators(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    assert compare(programs.theirs(image, "--fast"), programs.ours(image, "total_fast"), f"total_fast, {name}") >= 0.999


@pytest.mark.parametrize("name", CTS)
def test_rounding_of_its_sums_explains_the_differences(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    theirs = programs.theirs(image, "--fast", single_precision=True)
    words = f"total_fast, {name}, its sums in single precision"
    assert compare(theirs, programs.ours(image, "total_fast"), words) >= 0.9999
