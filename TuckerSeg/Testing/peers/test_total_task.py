"""``total``, five networks whose labels are merged, gives the labels that TotalSegmentator gives with the same ones.

The networks share their features and differ in their heads, so they contradict each other in many voxels: which part
wins there is part of what is compared.
"""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["example_ct.nii.gz", "ts_s0002.nii.gz", "ts_s0003.nii.gz"])
def test_labels_equal_totalsegmentators(programs_for, shared_data, compare, name):
    programs, image = programs_for("total"), shared_data / "data" / name
    assert compare(programs.theirs(image), programs.ours(image, "total"), f"total, {name}") >= 0.999
