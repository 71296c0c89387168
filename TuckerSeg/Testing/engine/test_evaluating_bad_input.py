"""``tuckerseg evaluate`` on files that are wrong or mean harm: one sentence, terminals and tables left alone."""

from __future__ import annotations

import functools
import json

import nibabel
import numpy as np
import pytest

from Testing.engine.evaluated_labels import boxes, rows_of, save


@pytest.fixture
def evaluate(outcome_here):
    return functools.partial(outcome_here, "evaluate")


def test_wrong_input_ends_with_one_message_that_says_what_to_do(evaluate, tmp_path):
    labels = save(tmp_path / "labels.nii", boxes(v1=0))
    finer = save(tmp_path / "finer.nii", boxes(v1=0), spacing_mm=(2, 2, 1))
    image = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(np.full((16, 16, 16), -1000, np.int16), np.eye(4)), image)
    for arguments, words in (
        ((tmp_path / "no.nii", labels), "there is no such file or folder. Check the path."),
        ((labels, tmp_path), "Two label files or two folders of them are compared; found "),
        ((image, labels), "Is it an image instead of a label map?"),
        (
            (finer, labels),
            "found 16x16x16 voxels of 1 x 2 x 2 mm from (0.0, 0.0, 0.0) and 16x16x16 voxels of 1 x 2 x 4",
        ),
        ((labels, labels, "--labels", "lungs"), "'lungs' names no labels; expected a task as total"),
        ((tmp_path / "no.nii", labels, "--tolerance-mm", -1), "The tolerance is 0 mm or more; found -1."),
        ((labels, labels, "--minimum-voxels", -1), "The smallest number of voxels is 0 or more; found -1."),
        ((labels, labels, "--out", tmp_path / "found.txt"), "the name of a table ends in .csv."),
        ((labels, labels, "--out", tmp_path / "none" / "found.csv"), "cannot be written in "),
    ):
        code, out, err = evaluate(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("tuckerseg: ")
        assert words in err
        assert err.count("\n") == 1
    code, out, _ = evaluate(finer, labels, "--json")
    assert (code, json.loads(out)["event"]) == (1, "error")


EVIL = {1: "=cmd|' /C calc'!A0", 2: "-2+3", 3: "liver\x1b[2J\nWritten: nothing"}


@pytest.mark.parametrize("as_json", [False, True])
def test_names_do_nothing_to_a_terminal_or_a_spreadsheet(evaluate, tmp_path, as_json):
    labels = {"labels": {"background": 0, **{name: value for value, name in EVIL.items()}}}
    (tmp_path / "dataset.json").write_text(json.dumps(labels))
    file = save(tmp_path / "\x1b[31mcase.nii.gz", boxes(v1=0, v2=5, v3=10))
    table = tmp_path / "out.csv"
    code, out, err = evaluate(file, file, "--out", table, *(["--json"] if as_json else []))
    assert code == 0, err
    assert "\x1b" not in out + err
    if as_json:
        assert {score["name"] for score in json.loads(out)["scores"]} == set(EVIL.values())
    else:
        assert r"liver\x1b[2J\nWritten: nothing" in out
    assert [row["name"] for row in rows_of(table)] == [f"'{EVIL[1]}", f"'{EVIL[2]}", EVIL[3]]
    assert {row["dice"] for row in rows_of(table)} == {"1"}


def test_of_a_file_that_nests_without_end_one_sentence_is_told(evaluate, tmp_path):
    (tmp_path / "dataset.json").write_text("[" * 100_000)
    file = save(tmp_path / "case.nii.gz", boxes(v1=0))
    code, out, err = evaluate(file, file)
    assert (code, out) == (1, "")
    assert "nested deeper than" in err and err.count("\n") == 1
