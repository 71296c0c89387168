"""Where along the body slices lie: a column of boxes at the usual heights, flipped, rescaled and cut."""

from __future__ import annotations

import json

import numpy as np
import pytest

from TuckerSegLib.cli.main import main
from TuckerSegLib.image import Geometry, write_labels
from TuckerSegLib.quality.body_layout import VERTEBRAE, places
from TuckerSegLib.quality.body_scores import ScoreScale, as_document, clean_scores, scores_of_labels, slice_rows
from TuckerSegLib.quality.body_scores.landmarks import score_at

SPACING_MM = 5.0
LOWEST_MM = -380.0  # above T12
SHAPE = (190, 16, 20)
OTHERS = ("hip_left", "hip_right", "brain", "skull")
NAMES = dict(enumerate([*VERTEBRAE[:-1], "sacrum", *OTHERS], 1))


def torso(scale=1.0):
    """Labels (Z, Y, X) of boxes around the usual height of each structure, and their grid; T12 lies at 1000 mm."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, name in NAMES.items():
        middle = (places()[name].superior_mm * scale - LOWEST_MM) / SPACING_MM
        half = 4 if name in OTHERS else 1
        across = 3 * OTHERS.index(name) + 1 if name in OTHERS else 14
        labels[round(middle) - half : round(middle) + half + 1, 4:12, across : across + 3] = value
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[2, 3] = LOWEST_MM + 1000
    return labels, Geometry(labels.shape, affine)


def scaled(geometry, factor):
    """The grid whose slices the header puts ``factor`` times as far apart; below 0 they go downwards."""
    affine = geometry.matrix.copy()
    affine[2, 2] *= factor
    return Geometry(geometry.shape, affine)


def is_monotone(scores, sign=1):
    known = scores[np.isfinite(scores)]
    return len(known) > 1 and bool((sign * np.diff(known) >= 0).all())


@pytest.fixture(scope="module")
def whole():
    return torso()


@pytest.fixture(scope="module")
def scores(whole):
    return scores_of_labels(*whole, NAMES)


def test_slices_have_the_score_of_their_height(scores):
    assert is_monotone(scores.cleaned)
    inside = (scores.heights_mm > 700) & (scores.heights_mm < 1400)
    assert abs(scores.cleaned - score_at(scores.heights_mm - 1000))[inside].max() < 1.5
    assert score_at(-325) == 0 and score_at(430) == pytest.approx(100)


def test_a_whole_body_has_all_parts_and_nothing_to_object_to(scores):
    document = as_document(scores)
    assert document["body part examined tag"] == "HEAD-NECK-CHEST-ABDOMEN-PELVIS"
    assert (document["reverse z-ordering"], document["valid z-spacing"]) == (0.0, 1.0)
    assert document["slope ratio"] == pytest.approx(1, abs=0.03)
    assert list(document["body part ranges"]) == ["PELVIS", "ABDOMEN", "CHEST", "NECK", "HEAD"]
    first = [found["lowest mm"] for found in document["body part ranges"].values()]
    assert first == sorted(first)
    examined = document["body part examined"]
    assert list(examined) == ["legs", "pelvis", "abdomen", "chest", "shoulder-neck", "head"]
    assert [part for part, slices in examined.items() if not slices] == ["legs"]
    assert set(examined["abdomen"]) & set(examined["chest"])  # parts overlap
    json.dumps(document, allow_nan=False)


def test_fields_are_those_of_body_part_regression(scores):
    assert {
        "cleaned slice scores", "z", "unprocessed slice scores", "body part examined", "body part examined tag",
        "look-up table", "reverse z-ordering", "valid z-spacing", "expected slope", "observed slope", "slope ratio",
        "expected z-spacing", "z-spacing", "settings",
    } <= set(as_document(scores))  # fmt: skip


def test_slices_in_reverse_order_are_told(whole):
    labels, geometry = whole
    found = scores_of_labels(np.ascontiguousarray(labels[::-1]), geometry, NAMES)
    assert is_monotone(found.cleaned, -1)
    assert found.reversed and found.valid_spacing
    assert as_document(found)["reverse z-ordering"] == 1.0
    assert as_document(found)["body part examined tag"] == "HEAD-NECK-CHEST-ABDOMEN-PELVIS"


def test_how_a_true_header_stores_its_slices_does_not_matter(whole, scores):
    labels, geometry = whole
    affine = geometry.matrix.copy()
    affine[2, 2], affine[2, 3] = -SPACING_MM, affine[2, 3] + SPACING_MM * (SHAPE[0] - 1)
    found = scores_of_labels(np.ascontiguousarray(labels[::-1]), Geometry(SHAPE, affine), NAMES)
    assert not found.reversed
    np.testing.assert_allclose(found.cleaned, scores.cleaned, equal_nan=True)


@pytest.mark.parametrize("factor, valid", [(0.5, False), (0.7, False), (0.9, True), (1.2, True), (1.6, False)])
def test_a_wrong_distance_of_slices_is_told_with_the_likely_one(whole, factor, valid):
    labels, geometry = whole
    found = scores_of_labels(labels, scaled(geometry, factor), NAMES)
    assert found.valid_spacing is valid
    assert found.expected_spacing_mm == pytest.approx(SPACING_MM, rel=0.1)
    assert (as_document(found)["body part examined tag"] == "NONE") is not valid


@pytest.mark.parametrize("size", [0.85, 1.15])
def test_a_small_and_a_tall_patient_have_the_same_parts(size):
    found = scores_of_labels(*torso(size), NAMES)
    assert found.valid_spacing
    t8 = round((places()["vertebrae_T8"].superior_mm * size - LOWEST_MM) / SPACING_MM)
    assert found.cleaned[t8] == pytest.approx(score_at(places()["vertebrae_T8"].superior_mm), abs=1.5)


@pytest.mark.parametrize(
    "lowest, highest, tag",
    [
        (-300, 90, "ABDOMEN-PELVIS"),
        (-190, 250, "CHEST-ABDOMEN"),
        (230, 480, "HEAD-NECK"),
        (20, 260, "CHEST"),
        (95, 190, "CHEST"),  # a slab of less than 10 cm
    ],
)
def test_a_part_of_a_body_has_the_scores_of_the_whole(whole, scores, lowest, highest, tag):
    labels, geometry = whole
    first, last = (round((height - LOWEST_MM) / SPACING_MM) for height in (lowest, highest))
    affine = geometry.matrix.copy()
    affine[2, 3] += first * SPACING_MM
    cut = labels[first:last]
    found = scores_of_labels(cut, Geometry(cut.shape, affine), NAMES)
    assert is_monotone(found.cleaned) and found.valid_spacing and not found.reversed
    difference = abs(found.unprocessed - scores.unprocessed[first:last])
    assert difference[np.isfinite(difference)].max() < 4
    assert as_document(found)["body part examined tag"] == tag


def test_a_mistaken_structure_does_not_turn_the_scores(whole, scores):
    labels, geometry = whole
    exchanged = labels.copy()
    value = {name: number for number, name in NAMES.items()}
    exchanged[labels == value["vertebrae_T4"]] = value["vertebrae_L4"]
    exchanged[labels == value["vertebrae_L4"]] = value["vertebrae_T4"]
    found = scores_of_labels(exchanged, geometry, NAMES)
    assert is_monotone(found.cleaned) and found.valid_spacing
    assert np.nanmax(abs(found.cleaned - scores.cleaned)) < 3


def only(whole, *kept):
    labels, geometry = whole
    return np.where(np.isin(labels, [value for value, name in NAMES.items() if name in kept]), labels, 0), geometry


def test_without_landmarks_there_is_no_score_and_no_claim(whole):
    document = as_document(scores_of_labels(*only(whole), NAMES))
    assert set(document["cleaned slice scores"]) == {None}
    assert document["body part examined tag"] == "NONE" and document["body part ranges"] == {}
    assert document["reverse z-ordering"] is None and document["valid z-spacing"] is None


@pytest.mark.parametrize(
    "kept, tag",
    [(("brain", "skull"), "HEAD"), (("vertebrae_T5",), "CHEST"), (("vertebrae_T5", "vertebrae_T6"), "CHEST")],
)
def test_without_a_ruler_slices_have_scores_but_their_distance_is_not_judged(whole, scores, kept, tag):
    labels, geometry = only(whole, *kept)
    if tag == "HEAD":  # boxes are smaller than heads
        geometry = Geometry(geometry.shape, geometry.matrix @ np.diag([5, 5, 1, 1]))
    found = scores_of_labels(labels, geometry, NAMES)
    difference = abs(found.unprocessed - scores.unprocessed)
    assert difference[np.isfinite(difference)].max() < 2
    document = as_document(found)
    assert document["body part examined tag"].endswith(tag) and document["valid z-spacing"] is None


def test_what_lies_beyond_the_spine_does_not_hide_a_wrong_distance(whole):
    labels, geometry = only(whole, *VERTEBRAE[1:6])  # C2 to C6
    skull = round((395 - LOWEST_MM) / SPACING_MM)  # a cut one: what is seen of it lies too low
    labels[skull - 3 : skull + 4, 4:12, 2:6] = list(NAMES.values()).index("skull") + 1
    wide = Geometry(geometry.shape, geometry.matrix @ np.diag([6, 6, 1, 1]))  # as large as a skull
    found = scores_of_labels(labels, scaled(wide, 2), NAMES)
    assert found.valid_spacing is False and found.expected_spacing_mm == pytest.approx(SPACING_MM, rel=0.1)


def test_a_long_structure_that_is_cut_unnoticed_claims_nothing(whole):
    labels, geometry = only(whole, "hip_left")
    found = scores_of_labels(labels, geometry, {**NAMES, list(NAMES.values()).index("hip_left") + 1: "femur_left"})
    assert np.isnan(found.cleaned).all()


def test_slices_far_from_everything_have_no_score(whole):
    found = scores_of_labels(*only(whole, *(name for name in NAMES.values() if "_L" in name)), NAMES)
    known = found.heights_mm[np.isfinite(found.cleaned)]
    assert 1000 - 230 < known.min() < 1000 - 160 and 1000 - 30 < known.max() < 1000 + 40


def test_a_tail_whose_slope_is_none_of_a_body_is_left_out():
    heights = np.arange(100) * 10.0
    line = ScoreScale().slope_per_mm * heights
    steep = line.copy()
    steep[80:] += 4 * (heights[80:] - heights[80]) * ScoreScale().slope_per_mm  # from 106 on
    assert np.isfinite(clean_scores(line, heights, 10.0, ScoreScale()).cleaned).all()
    cleaned = clean_scores(steep, heights, 10.0, ScoreScale()).cleaned
    assert np.isfinite(cleaned[:78]).all() and np.isnan(cleaned[83:]).all()
    assert np.isnan(clean_scores(steep[::-1], heights, 10.0, ScoreScale()).cleaned[:17]).all()


@pytest.fixture
def label_file(tmp_path, whole, monkeypatch):
    labels, geometry = whole
    path = tmp_path / "labels.nii.gz"
    write_labels(path, labels, geometry, ())
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {name: value for value, name in NAMES.items()}}))
    monkeypatch.chdir(tmp_path)
    return path


def test_the_command_writes_json_and_a_table_of_labels(label_file, scores, capsys):
    assert main(["bodyparts", "--labels", str(label_file), "--json", "body.json", "--csv", "body.csv"]) == 0
    told = capsys.readouterr().out
    assert "HEAD-NECK-CHEST-ABDOMEN-PELVIS" in told and "as the header says" in told and "plausible" in told
    document = json.loads((label_file.parent / "body.json").read_text())
    np.testing.assert_allclose(document["z"][:3], [0, 5, 10])
    lines = (label_file.parent / "body.csv").read_text().splitlines()
    assert lines[0] == "slice,z mm,score,unprocessed score,body part"
    assert len(lines) == SHAPE[0] + 1 == len(slice_rows(scores))
    assert lines[77].endswith(",ABDOMEN")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "Give either an image, or --labels"),
        (["CT.nii.gz", "--labels", "labels.nii.gz"], "Give either an image, or --labels"),
        (["--labels", "labels.nii.gz", "--bpr-model", "."], "--bpr-model scores an image"),
        (["CT.nii.gz", "--labels-names", "total"], "--labels-names is for --labels"),
        (["--labels", "absent.nii.gz"], "absent.nii.gz"),
        (["--labels", "labels.nii.gz", "--json", "no/body.json"], "body.json"),
    ],
)
def test_what_cannot_be_done_is_said(label_file, arguments, said, capsys):
    assert main(["bodyparts", *arguments]) == 1
    assert said in capsys.readouterr().err
