"""What is said of labels: a body of boxes, as it should be, and with everything that can be wrong with it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from TuckerSegLib.image import Geometry, oriented, segment_volumes_ml
from TuckerSegLib.quality import ImageCheck, check_labels
from TuckerSegLib.records.quality_report import INFO, WARNING, Finding

# Name: center (right, anterior, superior) and size in mm; the volume is 400 x 280 x 640 mm around (0, 0, 0)
SPINE = {f"vertebrae_T{n}": ((0, -40, 290 - 22 * n), (40, 40, 18)) for n in range(1, 13)}
SPINE |= {f"vertebrae_L{n}": ((0, -40, 26 - 34 * n), (44, 44, 28)) for n in range(1, 6)}
ORGANS = {
    "sacrum": ((0, -60, -190), (80, 40, 60)),
    "liver": ((75, 20, 20), (130, 120, 110)),
    "spleen": ((-95, -20, 15), (60, 60, 80)),
    "stomach": ((-40, 60, 10), (70, 60, 80)),
    "gallbladder": ((60, 90, -50), (30, 10, 40)),
    "heart": ((-30, 60, 120), (90, 90, 90)),
    "inferior_vena_cava": ((25, 0, -80), (24, 24, 70)),
    "aorta": ((-15, -5, -80), (32, 28, 80)),
    "urinary_bladder": ((0, 50, -240), (80, 70, 60)),
    "sternum": ((0, 120, 170), (40, 16, 120)),
    "trachea": ((0, 20, 230), (20, 20, 80)),
    "autochthon_left": ((-35, -85, 0), (40, 40, 300)),
    "autochthon_right": ((35, -85, 0), (40, 40, 300)),
    "kidney_left": ((-70, -30, -60), (50, 50, 90)),
    "kidney_right": ((70, -30, -65), (50, 50, 70)),
    "lung_upper_lobe_left": ((-100, 30, 200), (90, 120, 120)),
    "lung_upper_lobe_right": ((100, 30, 200), (90, 120, 120)),
    "hip_left": ((-80, -5, -220), (60, 50, 100)),
    "hip_right": ((80, -5, -220), (60, 50, 100)),
    "femur_left": ((-110, -5, -290), (40, 40, 58)),
    "femur_right": ((110, -5, -290), (40, 40, 58)),
}
BODY = SPINE | ORGANS
SPACING_MM = 4.0
SHAPE = (160, 70, 100)
AFFINE = np.array([[4, 0, 0, -198], [0, 4, 0, -138], [0, 0, 4, -318], [0, 0, 0, 1]], dtype=float)
MIRRORED = {"R": np.diag([-1, 1, 1, 1]), "A": np.diag([1, -1, 1, 1]), "S": np.diag([1, 1, -1, 1])}


def painted(body):
    """Labels (Z, Y, X) of boxes, and their names."""
    labels = np.zeros(SHAPE, np.uint8)
    names = dict(enumerate(body, 1))
    for value, (center, size) in enumerate(body.values(), 1):
        first = [round((c - s / 2 - AFFINE[axis, 3]) / 4) for axis, (c, s) in enumerate(zip(center, size))]
        last = [begin + max(1, round(s / 4)) for begin, s in zip(first, size)]
        x, y, z = (slice(max(0, begin), end) for begin, end in zip(first, last))
        labels[z, y, x] = value
    return labels, names


def report_on(labels, names, affine=AFFINE, image=None):
    geometry = Geometry(labels.shape, affine)
    return check_labels(labels, geometry, names, segment_volumes_ml(labels, geometry, names), image)


def warned(report):
    return {finding.code: finding for finding in report.findings if finding.severity == WARNING}


def of(report, code):
    return next(finding for finding in report.findings if finding.code == code)


@pytest.fixture(scope="module")
def body():
    return painted(BODY)


def test_a_body_as_it_should_be_raises_no_warning(body):
    report = report_on(*body)
    assert report.warnings == ()
    told = of(report, "orientation")
    assert min(told.numbers.values()) > 0.9 and set(told.numbers) == {"left-right", "front-back", "head-feet"}
    assert [part.name for part in report.body_parts] == ["chest", "abdomen", "pelvis", "legs"]


@pytest.mark.parametrize(
    "axes, said",
    [
        ("R", ["left and right are exchanged", "situs inversus"]),
        ("A", ["front and back are exchanged", "the image is mirrored"]),
        ("S", ["head and feet are exchanged", "reverse order"]),
        ("RA", ["left and right are", "front and back are", "face down"]),
        ("RS", ["left and right are", "head and feet are", "feet first"]),
        ("AS", ["front and back are", "head and feet are", "180 degrees"]),
        ("RAS", ["left and right are", "front and back are", "head and feet are", "every direction"]),
    ],
)
def test_a_header_that_is_flipped_is_told_with_its_likely_cause(body, axes, said):
    labels, names = body
    affine = AFFINE
    for axis in axes:
        affine = MIRRORED[axis] @ affine
    warnings = warned(report_on(labels, names, affine))
    assert list(warnings) == ["orientation"]
    assert all(words in warnings["orientation"].words for words in said)
    assert {name for name, score in warnings["orientation"].numbers.items() if score < -0.9} == {
        {"R": "left-right", "A": "front-back", "S": "head-feet"}[axis] for axis in axes
    }


@pytest.mark.parametrize("order", itertools.permutations(range(3)), ids=str)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "RPI"])
def test_how_a_true_header_stores_its_axes_does_not_matter(body, order, codes):
    labels, names = body
    axes = "".join(codes[axis] for axis in order)
    view, geometry = oriented(labels, Geometry(labels.shape, AFFINE), axes)
    volumes = segment_volumes_ml(view, geometry, names)
    report = check_labels(view, geometry, names, volumes)
    expected = report_on(labels, names)
    assert report.warnings == ()
    assert report.body_parts == expected.body_parts and set(report.partial) == set(expected.partial)


def test_a_patient_who_lies_askew_raises_no_warning(body):
    turn = np.eye(4)
    angle = np.radians(20)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert report_on(*body, turn @ AFFINE).warnings == ()


def test_a_network_that_names_sides_by_place_is_seen_through(body):
    labels, names = body
    swapped = {name: name for name in BODY}
    for name in BODY:
        words = {"left": "right", "right": "left"}
        swapped[name] = "_".join(words.get(word, word) for word in name.split("_"))
    by_place = {value: swapped[name] for value, name in names.items()}
    warnings = warned(report_on(labels, by_place, MIRRORED["R"] @ AFFINE))
    assert list(warnings) == ["orientation"] and "may be exchanged too" in warnings["orientation"].words


def test_exchanged_names_of_sides_are_told_apart_from_a_flipped_header(body):
    labels, names = body
    words = {"left": "right", "right": "left"}
    exchanged = {value: "_".join(words.get(word, word) for word in name.split("_")) for value, name in names.items()}
    warnings = warned(report_on(labels, exchanged))
    assert list(warnings) == ["left-right-names"] and "in 5 of 5 pairs" in warnings["left-right-names"].words


@pytest.mark.parametrize("seed", range(3, 9))
def test_structures_that_lie_anywhere_are_doubted_and_no_flip_is_claimed(seed):
    random = np.random.default_rng(seed)
    centers = [center for center, _ in BODY.values()]
    random.shuffle(centers)
    scattered = {name: (tuple(center), size) for (name, (_, size)), center in zip(BODY.items(), centers)}
    warnings = warned(report_on(*painted(scattered)))
    assert "layout" in warnings and "orientation" not in warnings


def test_the_largest_structures_outvote_islands(body):
    labels, names = body
    labels = labels.copy()
    for name in ("stomach", "gallbladder", "spleen"):  # two of four organs on the wrong side, but tiny
        value = next(value for value, each in names.items() if each == name)
        labels[labels == value] = 0
        side = 80 if BODY[name][0][0] < 0 else 15
        labels[60:63, 30:33, side : side + 3] = value
        labels[100:103, 30:33, side : side + 3] = value
    assert "orientation" not in warned(report_on(labels, names))
    assert of(report_on(labels, names), "orientation").numbers["left-right"] > 0.8


def test_too_little_to_tell_is_told_as_that():
    neck = {f"vertebrae_C{n}": ((0, 0, 100 - 16 * n), (30, 30, 12)) for n in range(1, 8)}
    report = report_on(*painted(neck))
    assert report.warnings == ()
    assert "Not judged" in of(report, "orientation").words and "left-right" in of(report, "orientation").words
    assert list(of(report, "orientation").numbers) == ["head-feet"]


def test_one_organ_alone_does_not_tell_left_from_right(body):
    labels, names = body
    kept = [value for value, name in names.items() if name.startswith(("vertebrae", "sacrum", "liver"))]
    report = report_on(np.where(np.isin(labels, kept), labels, 0), names, MIRRORED["R"] @ AFFINE)
    assert report.warnings == () and "left-right" not in of(report, "orientation").numbers


def test_what_image_and_labels_both_say_is_said_once_and_the_rest_joins(body):
    labels, names = body
    front = Finding("front-back", WARNING, "The bones lie in front.", {"bones_in_front": 0.2})
    thick = Finding("thick-slices", INFO, "The slices are thick.")
    checked = ImageCheck((front, thick), tuple(slice(0, size) for size in SHAPE), 0.2)
    turned = report_on(labels, names, MIRRORED["A"] @ AFFINE, checked)
    assert list(warned(turned)) == ["orientation"] and of(turned, "thick-slices") == thick
    assert list(warned(report_on(labels, names, AFFINE, checked))) == ["front-back"]  # they contradict each other


def test_bones_decide_where_the_labels_do_not():
    centers = [center for center, _ in BODY.values()]
    np.random.default_rng(4).shuffle(centers)
    scattered = painted({name: (tuple(c), size) for (name, (_, size)), c in zip(BODY.items(), centers)})
    whole = tuple(slice(0, size) for size in SHAPE)
    codes = [finding.code for finding in report_on(*scattered, AFFINE, ImageCheck((), whole, 0.2)).findings]
    assert codes[:2] == ["front-back", "layout"]
    assert "front-back" not in warned(report_on(*scattered, AFFINE, ImageCheck((), whole, -0.2)))


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
