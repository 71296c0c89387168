"""Labels cleaned by nnU-Net's rules, whose pickle is read and never run, and as TotalSegmentator cleans its tasks."""

from __future__ import annotations

import json
import pickle
import sys
import types

import numpy as np
import pytest

from TuckerSegLib import image_from_array
from TuckerSegLib.errors import ModelFolderError, SpecError
from TuckerSegLib.models.cleaning import cleaning_of
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.nnunet.postprocessing_rules import FUNCTION, MODULE, read_postprocessing
from TuckerSegLib.postprocessing.cleaning import clean
from TuckerSegLib.postprocessing.largest_component import keep_largest_components
from TuckerSegLib.records.cleaning import Cleaning, LargestComponentRule
from TuckerSegLib.records.job import Job

RULES = (LargestComponentRule((1, 2, 3)), LargestComponentRule((2,)), LargestComponentRule((2, 3)))
ARGUMENTS = [{"labels_or_regions": [1, 2, 3]}, {"labels_or_regions": 2}, {"labels_or_regions": [(2, 3)]}]
NAMES = {1: "body_trunc", 2: "body_extremities"}


@pytest.fixture
def function(monkeypatch):
    """A function that pickles by the name of nnU-Net's, and fails the test when it is called."""

    def called(*arguments, **options):
        pytest.fail("a file was run")

    called.__module__, called.__qualname__ = MODULE, FUNCTION
    parts = MODULE.split(".")
    for count in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
    setattr(sys.modules[MODULE], FUNCTION, called)
    return called


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_rules_are_read_from_pickles_of_all_protocols(function, tmp_path, protocol):
    (tmp_path / "postprocessing.pkl").write_bytes(pickle.dumps(([function] * 3, ARGUMENTS), protocol))
    assert read_postprocessing(tmp_path) == RULES
    (tmp_path / "none.pkl").write_bytes(pickle.dumps(([], []), protocol))
    assert read_postprocessing(tmp_path / "none.pkl") == ()


def test_rules_are_read_from_json(tmp_path):
    document = {"postprocessing_fns": [FUNCTION] * 3, "postprocessing_kwargs": ARGUMENTS, "input_folder": {}}
    (tmp_path / "postprocessing.json").write_text(json.dumps(document))
    assert read_postprocessing(tmp_path) == RULES


class Runs:
    """What runs a command when it is unpickled as pickles are."""

    def __reduce__(self):
        return pytest.fail, ("a file was run",)


def deep(levels):
    values = [1] * 100
    for _ in range(levels):
        values = [values] * 100
    return values


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda function: (Runs(), []), "should hold no name but"),
        (lambda function: ([print], [{"labels_or_regions": 1}]), "no name but"),
        (lambda function: ([function], []), "two lists of one length"),
        (lambda function: [function], "a pair of functions"),
        (lambda function: (["keep"], [{"labels_or_regions": 1}]), "a function that is"),
        (
            lambda function: ([function], [{"labels_or_regions": 1, "command": 2}]),
            "labels_or_regions and background_label",
        ),
        (lambda function: ([function], [{"labels_or_regions": "1"}]), "label values from 1"),
        (lambda function: ([function], [{"labels_or_regions": 10**30}]), "label values from 1"),
        (lambda function: ([function], [{"labels_or_regions": True}]), "calls nothing"),
        (lambda function: ([function], [{"labels_or_regions": []}]), "some labels"),
        (lambda function: ([function], [{"labels_or_regions": deep(5)}]), "label values from 1"),
        (lambda function: ([function], [{"labels_or_regions": [[1] * 9000] * 9000}]), "at most 100000 labels"),
        (lambda function: ([function], [{"labels_or_regions": list(range(70_000))}]), "at most 50000 instructions"),
        (lambda function: ([function], ["x" * 2_000_000]), "at most 1024 KiB"),
    ],
)
def test_pickles_of_anything_else_are_refused_and_not_run(function, tmp_path, content, words):
    path = tmp_path / "postprocessing.pkl"
    path.write_bytes(pickle.dumps(content(function)))
    with pytest.raises(ModelFolderError, match=words) as caught:
        read_postprocessing(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x80\x04]", b"{", b"\x80\x04e.", b"\x80\x04h\x07.", b"I1\x00\n.", b"]q\x00h\x00a."]
)
def test_damaged_files_are_told(tmp_path, content):
    (tmp_path / "postprocessing.pkl").write_bytes(content)
    with pytest.raises(ModelFolderError, match="postprocessing.pkl"):
        read_postprocessing(tmp_path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ModelFolderError, match="neither postprocessing.pkl nor postprocessing.json"):
        read_postprocessing(tmp_path)
    with pytest.raises(ModelFolderError, match="no such file"):
        read_postprocessing(tmp_path / "x.pkl")


def test_the_largest_blob_of_labels_together_stays():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 1:3, 1:3], labels[2, 3, 3], labels[1, 6, 6] = 1, 2, 2  # 2 touches 1 by a corner; one lies apart
    expected = labels.copy()
    expected[1, 6, 6] = 0
    assert keep_largest_components(labels, [LargestComponentRule((1, 2))]) == 1
    assert np.array_equal(labels, expected)
    assert keep_largest_components(labels, [LargestComponentRule((7,)), LargestComponentRule((2,), 1)]) == 0
    labels[3, 6, 6] = labels[0, 6, 6] = 2  # as large: all stay
    assert keep_largest_components(labels, [LargestComponentRule((2,))]) == 0


def body_labels():
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[:, 5:20, 5:20], labels[2:4, 30:32, 30:32] = 1, 1
    labels[:20, 25:30, 5:10], labels[25, 36, 36] = 2, 2
    return labels


def test_a_body_keeps_its_largest_trunk_and_no_small_extremities():
    labels, geometry = body_labels(), image_from_array(body_labels(), spacing_mm=(5.0, 5.0, 5.0)).geometry
    expected = labels.copy()
    expected[2:4, 30:32, 30:32] = expected[25, 36, 36] = 0
    assert "9 voxels" in clean(labels, Cleaning("body"), NAMES, geometry)
    assert np.array_equal(labels, expected)
    with pytest.raises(SpecError, match="needs the structure body_trunc"):
        clean(labels, Cleaning("body"), {1: "liver"}, geometry)


def spine(numbers, names):
    """Vertebrae of 6 x 6 x 6 mm, the lowest first, along the first axis."""
    values = {name: value for value, name in names.items()}
    labels = np.zeros((len(numbers) * 12 + 8, 20, 20), np.uint8)
    for place, number in enumerate(numbers):
        labels[4 + 12 * place : 10 + 12 * place, 7:13, 7:13] = values[f"vertebrae_{number}"]
    return labels


def test_vertebrae_that_touch_are_numbered_along_the_spine():
    order = [*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]
    names = {value: f"vertebrae_{name}" for value, name in enumerate(order, 1)}
    geometry = image_from_array(np.zeros((68, 20, 20), np.int16), spacing_mm=(1.0, 1.0, 1.0)).geometry
    right = spine(["L5", "L4", "L3", "L2", "L1"], names)
    wrong = right.copy()
    wrong[4:7, 7:13, 7:13] = 23  # L4 leaked into L5
    assert "grown by 3 mm" in clean(right, Cleaning("vertebrae_pp"), names, geometry)
    assert "anew" in clean(wrong, Cleaning("vertebrae_pp"), names, geometry)
    assert np.array_equal(right, wrong)
    assert right[10, 9, 9] == 24 and right[13, 9, 9] == 23 and right[30, 9, 16] == 0 and right[30, 9, 15] == 22
    neck = spine(["C5", "C4", "C3", "C2", "C1"], names)
    leaked = neck.copy()
    leaked[4:7, 7:13, 7:13] = 9
    for labels in (neck, leaked):
        clean(labels, Cleaning("vertebrae_pp"), names, geometry)
    assert np.array_equal(neck, leaked)


def test_refined_vertebrae_are_grown_further_and_end_with_the_mask():
    resolved = resolve(Job((), model="vertebrae_pp_refined"))
    names = dict(resolved.task.structures)
    labels = spine(["L2", "L1"], names)
    geometry = image_from_array(labels.astype(np.int16), spacing_mm=(1.0, 1.0, 1.0)).geometry
    mask = np.ones(labels.shape, bool)
    mask[:, :, :6] = False
    assert "2 mm more" in clean(labels, cleaning_of(resolved), names, geometry, None, mask)
    lower = names[labels[7, 10, 10]]
    assert lower == "vertebrae_L2" and (labels[7, 10, [5, 6, 17, 18]] > 0).tolist() == [False, True, True, False]


def test_the_vertebrae_of_the_catalogs_task_are_numbered_and_grown():
    resolved = resolve(Job((), model="vertebrae_pp"))
    names = dict(resolved.task.structures)
    labels = spine(["L5", "L4", "L3"], names)
    expected = labels.copy()
    labels[4:7, 7:13, 7:13] = 20  # a part of L5 that the network took for L1
    geometry = image_from_array(labels.astype(np.int16), spacing_mm=(1.0, 1.0, 1.0)).geometry
    for each in (labels, expected):
        clean(each, cleaning_of(resolved), names, geometry)
    assert np.array_equal(labels, expected)
    assert {names[value] for value in np.unique(labels) if value} == {f"vertebrae_L{n}" for n in (3, 4, 5)}


def test_the_task_body_is_cleaned_unless_it_is_asked_otherwise(tmp_path):
    assert cleaning_of(resolve(Job((), model="body"))) == Cleaning("body")
    assert cleaning_of(resolve(Job((), model="body", postprocessing="none"))) is None
    assert cleaning_of(resolve(Job((), model="body_fast"))) == Cleaning("body")
    assert cleaning_of(resolve(Job((), model="body_mr"))) is None
    assert cleaning_of(resolve(Job((), model="total"))) is None
    assert cleaning_of(resolve(Job((), model="total", postprocessing="vertebrae_pp"))) == Cleaning("vertebrae_pp")
    with pytest.raises(ModelFolderError, match="no such file"):
        cleaning_of(resolve(Job((), model="demo", postprocessing="rules.pkl")))
