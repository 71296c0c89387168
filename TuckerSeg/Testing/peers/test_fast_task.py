"""``total_fast``, with the same network on both sides, gives the labels that TotalSegmentator's ``--fast`` gives."""

from __future__ import annotations

import pytest

from TuckerSegLib import catalog
from TuckerSegLib.benchmark.totalsegmentator import results_folder

TASK = catalog.task("total_fast")
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
    return programs_for(TASK.name)


@pytest.mark.parametrize("name", CTS)
def test_labels_equal_totalsegmentators(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    ours = programs.ours(image, results_folder(programs.home) / TASK.parts[0].dataset)
    assert compare(programs.theirs(image, "--fast"), ours, f"{TASK.name}, {name}") >= 0.999


@pytest.mark.parametrize("name", CTS)
def test_rounding_of_its_sums_explains_the_differences(programs, shared_data, compare, name):
    image = shared_data / "data" / name
    ours = programs.ours(image, results_folder(programs.home) / TASK.parts[0].dataset)
    theirs = programs.theirs(image, "--fast", single_precision=True)
    assert compare(theirs, ours, f"{TASK.name}, {name}, its sums in single precision") >= 0.9999
