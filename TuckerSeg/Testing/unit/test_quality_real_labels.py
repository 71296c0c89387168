"""Reference label maps of real patients: nothing to warn of as they are, and a flipped header is caught."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib.evaluation.label_files import LabelMap, read_label_map
from TuckerSegLib.evaluation.label_names import named_labels
from TuckerSegLib.image import Geometry, segment_volumes_ml
from TuckerSegLib.quality import check_labels
from TuckerSegLib.records.quality_report import WARNING

ROOT = Path(__file__).resolve().parents[3]
NECKS = ("ts_s0002_seg", "ts_s0003_seg")  # nothing in a neck is on one side only
MAPS = (
    "labels/s0001",
    "labels/s0004",
    "labels/s0006",
    "labels/s0011",
    "example_seg",
    "dicom_example_seg",
    *NECKS,
)
BODY_PARTS = {
    "labels/s0001": ["chest", "abdomen", "pelvis", "legs"],
    "labels/s0004": ["neck", "chest", "abdomen", "pelvis", "legs", "arms"],
    "labels/s0006": ["chest", "abdomen", "pelvis", "legs"],
    "labels/s0011": ["neck", "chest", "abdomen", "pelvis", "legs", "arms"],
    "example_seg": ["chest", "abdomen", "pelvis", "legs"],
    "dicom_example_seg": ["chest", "abdomen", "arms"],
    "ts_s0002_seg": ["head", "neck", "chest"],
    "ts_s0003_seg": ["head", "neck", "chest"],
}


@functools.cache
def label_map(path: Path) -> LabelMap:
    return read_label_map(path, named_labels("total"))


def report_on(labels: LabelMap, flip=(1, 1, 1)):
    geometry = Geometry(labels.array.shape, np.diag([*flip, 1]) @ labels.geometry.matrix)
    volumes = segment_volumes_ml(labels.array, geometry, labels.names)
    return check_labels(labels.array, geometry, labels.names, volumes)


@pytest.mark.parametrize("name", MAPS)
def test_a_true_header_raises_no_warning(shared_data, name):
    report = report_on(label_map(shared_data / "data" / f"{name}.nii.gz"))
    assert report.warnings == ()
    assert [part.name for part in report.body_parts] == BODY_PARTS[name]


@pytest.mark.parametrize("axis, pair", enumerate(["left and right", "front and back", "head and feet"]))
@pytest.mark.parametrize("name", MAPS)
def test_a_flipped_header_is_caught(shared_data, name, axis, pair):
    flip = [1, 1, 1]
    flip[axis] = -1
    report = report_on(label_map(shared_data / "data" / f"{name}.nii.gz"), flip)
    (warning,) = [finding for finding in report.findings if finding.severity == WARNING]
    if name in NECKS and axis == 0:
        assert warning.code == "left-right-names"
    else:
        assert warning.code == "orientation" and f"{pair} are exchanged" in warning.words


def test_slices_twice_as_far_apart_as_they_were_are_caught(shared_data):
    labels = label_map(shared_data / "data" / "labels" / "s0011.nii.gz")
    (warning,) = [f for f in report_on(labels, (1, 1, 2)).findings if f.code == "spacing"]
    assert warning.severity == WARNING and warning.numbers["along"] > 1.8 and warning.numbers["across"] < 1.2


def test_the_labels_of_the_built_in_volume_raise_no_warning_but_where_they_are_flipped():
    volume = ROOT / "TuckerSeg" / "Resources" / "Data" / "synthetic_torso_labels.nii.gz"
    labels = label_map(volume)
    assert report_on(labels).warnings == ()
    for flip in ([-1, 1, 1], [1, -1, 1], [1, 1, -1]):
        assert any(finding.code == "orientation" for finding in report_on(labels, flip).findings[:1])
        assert len(report_on(labels, flip).warnings) == 1
