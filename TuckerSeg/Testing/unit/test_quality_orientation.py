"""How the patient lies, judged by the labels: flipped headers, exchanged sides, too little to tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from Testing.unit.painted_bodies import AFFINE, BODY, MIRRORED, SHAPE, of, painted, report_on, warned
from TuckerSegLib.image import Geometry, oriented, segment_volumes_ml
from TuckerSegLib.quality import ImageCheck, check_labels
from TuckerSegLib.records.quality_report import INFO, WARNING, Finding

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def body():
    return painted(BODY)


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
