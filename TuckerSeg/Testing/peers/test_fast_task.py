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


# Only there is air skipped, so that patches lie elsewhere than TotalSegmentator's.
OPTIONS = {"dicom_example": ["--no-skip"]}


@pytest.fixture
def programs(programs_for):
    return programs_for("total_fast")


@pytest.mark.parametrize("name", CTS)
def test_labels_equal_totalsegmentators(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    ours = programs.ours(image, "total_fast", *OPTIONS.get(name, []))
    assert compare(programs.theirs(image, "--fast"), ours, f"total_fast, {name}") >= 0.999


@pytest.mark.parametrize("name", CTS)
def test_rounding_of_its_sums_explains_the_differences(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    theirs = programs.theirs(image, "--fast", single_precision=True)
    words = f"total_fast, {name}, its sums in single precision"
    ours = programs.ours(image, "total_fast", *OPTIONS.get(name, []))
    assert compare(theirs, ours, words) >= 0.9999
