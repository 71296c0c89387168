"""What is said of labels: vertebrae, spacing, volumes, and structures that the border cuts."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.unit.painted_bodies import AFFINE, BODY, MIRRORED, ORGANS, SHAPE, of, painted, report_on, warned
from TuckerSegLib.image import Geometry, segment_volumes_ml
from TuckerSegLib.quality import ImageCheck, check_labels

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def body():
    return painted(BODY)


def test_a_body_as_it_should_be_raises_no_warning(body):
    report = report_on(*body)
    assert report.warnings == ()
    told = of(report, "orientation")
    assert min(told.numbers.values()) > 0.9 and set(told.numbers) == {"left-right", "front-back", "head-feet"}
    assert [part.name for part in report.body_parts] == ["chest", "abdomen", "pelvis", "legs"]


def test_vertebrae_out_of_order_are_told():
    mixed = dict(BODY)
    mixed["vertebrae_T6"], mixed["vertebrae_T7"] = BODY["vertebrae_T7"], BODY["vertebrae_T6"]
    warnings = warned(report_on(*painted(mixed)))
    assert list(warnings) == ["vertebra-order"] and "Vertebra T6 and Vertebra T7" in warnings["vertebra-order"].words


def test_a_gap_between_vertebrae_is_told():
    stretched = {
        name: ((center[0], center[1], center[2] + (30 if center[2] > 100 else 0)), size)
        for name, (center, size) in BODY.items()
        if name.startswith(("vertebrae", "liver", "sacrum"))
    }
    warnings = warned(report_on(*painted(stretched)))
    assert list(warnings) == ["vertebra-distances"] and "T8 to Vertebra T9" in warnings["vertebra-distances"].words


@pytest.mark.parametrize(
    "scale, said",
    [
        ((1, 1, 2), "about 0.5"),
        ((1, 1, 0.5), "about 2"),
        ((2, 2, 2), "times as large"),
        ((0.45, 0.45, 0.45), "It is a child"),
    ],
)
def test_a_voxel_size_that_makes_no_human_is_told(body, scale, said):
    labels, names = body
    scaled = np.diag([*scale, 1]) @ AFFINE
    warnings = warned(report_on(labels, names, scaled))
    assert said in warnings["spacing"].words


def test_a_child_or_a_giant_raises_no_warning_of_spacing(body):
    labels, names = body
    for size in (0.7, 1.25):
        assert "spacing" not in warned(report_on(labels, names, np.diag([size, size, size, 1]) @ AFFINE))


def test_structures_at_the_border_are_partial_and_their_volumes_are_not_judged(body):
    labels, names = body
    cut = labels[:, :, :55]  # through the liver: what is left of it is small
    whole = warned(report_on(np.where(labels == 19, 0, labels), names))
    assert whole == {}
    report = report_on(cut, names)
    assert "liver" in report.partial and "spleen" not in report.partial
    assert "volumes" not in warned(report)
    assert of(report, "partial").words.startswith("The border of the image cuts")


def test_padding_around_the_scan_is_no_border_of_the_body(body):
    labels, names = body
    assert "spleen" not in report_on(labels, names).partial
    edge = np.flatnonzero((labels == list(BODY).index("spleen") + 1).any(axis=(0, 1)))[0]
    content = (slice(0, 160), slice(0, 70), slice(int(edge), 100))
    assert "spleen" in report_on(labels, names, image=ImageCheck((), content, None)).partial


def test_labels_that_end_a_voxel_before_the_border_are_partial_where_voxels_are_small():
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[1:40, 10:50, 10:50] = 1
    for spacing, partial in ((1.5, ("liver",)), (4.0, ())):
        assert report_on(labels, {1: "liver"}, np.diag([spacing, spacing, spacing, 1])).partial == partial


def test_a_part_of_the_body_that_is_cut_is_told_by_its_share(body):
    labels, names = body
    whole, cut = ({part.name: part for part in report_on(array, names).body_parts} for array in (labels, labels[20:]))
    assert whole["pelvis"].share == 1 and whole["pelvis"].structures == cut["pelvis"].structures == 4
    assert cut["pelvis"].share < 0.5


def test_implausible_volumes_of_whole_structures_are_told(body):
    labels, names = body
    value = next(value for value, name in names.items() if name == "liver")
    small = labels.copy()
    inside = np.zeros(SHAPE, bool)
    inside[78:88, 34:44, 63:73] = True
    small[(small == value) & ~inside] = 0
    warnings = warned(report_on(small, names))
    assert list(warnings) == ["volumes"] and warnings["volumes"].numbers == {"liver": 64.0}
    assert "Liver 64 ml (expected 500 to 4000)" in warnings["volumes"].words


def test_structures_that_nobody_asked_for_tell_how_the_patient_lies_and_nothing_else(body):
    labels, names = body
    geometry = Geometry(labels[20:].shape, MIRRORED["A"] @ AFFINE)
    volumes = segment_volumes_ml(labels[20:], geometry, names)
    report = check_labels(labels[20:], geometry, names, volumes, reported=["liver", "urinary_bladder"])
    assert report.partial == ("urinary_bladder",) and "cuts 1 of 2" in of(report, "partial").words
    assert "front and back are exchanged" in of(report, "orientation").words


def test_labels_without_known_structures_are_said_not_to_be_checked():
    labels, _ = painted({"liver": ORGANS["liver"]})
    for names, reason in (({1: "tumor"}, "have no known structures"), ({2: "liver"}, "no known structures were found")):
        report = report_on(labels, names)
        (finding,) = report.findings
        assert finding.code == "not-checked" and "not checked" in finding.words and reason in finding.words
        assert report.warnings == () and report.body_parts == ()


def test_names_may_be_spelled_in_the_ways_that_are_known(body):
    labels, names = body
    spelled = {value: " ".join(name.split("_")).title() for value, name in names.items()}
    report = report_on(labels, spelled)
    assert report.warnings == () and "Femur Left" in report_on(labels[2:], spelled).partial


def test_body_parts_are_given_from_head_to_legs_with_their_extent():
    head = {"brain": ((0, -10, 230), (130, 160, 110)), "skull": ((0, 60, 190), (140, 40, 180))}
    neck = {f"vertebrae_C{n}": ((0, -10, 150 - 16 * n), (30, 30, 12)) for n in range(1, 8)}
    report = report_on(*painted(head | neck))
    assert [(part.name, part.structures) for part in report.body_parts] == [("head", 2), ("neck", 7)]
    neck_part = report.body_parts[1]
    assert neck_part.share == 1 and neck_part.lowest_mm == pytest.approx(32, abs=6)
    assert neck_part.highest_mm == pytest.approx(140, abs=6)


def test_an_island_makes_no_body_part(body):
    labels, names = body
    labels, names = labels.copy(), {**names, 200: "brain", 201: "skull"}
    labels[20:22, 30:33, 50:54], labels[24:26, 30:33, 50:54] = 200, 201
    assert "head" not in [part.name for part in report_on(labels, names).body_parts]
