"""``tuckerseg evaluate`` as a user meets it: table, files, JSON, folders."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from Testing.engine.evaluated_labels import SPACING_MM, boxes, rows_of, save
from TuckerSegLib.evaluation.label_files import read_label_map
from TuckerSegLib.evaluation.surface_distance import nsd_per_label
from TuckerSegLib.image import write_labels

NAMES = {1: "spleen", 2: "kidney_right", 5: "liver"}
DATASET = {"labels": {"background": 0, **{name: value for value, name in NAMES.items()}}}


@pytest.fixture
def evaluate(outcome_here):
    return functools.partial(outcome_here, "evaluate")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Predictions and references of the cases a and b; c is predicted only, d has a reference only."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    save(predictions / "a.nii.gz", boxes(v1=0, v2=5))
    save(references / "a.nii.gz", boxes(v1=0, v2=6))
    save(predictions / "b.nrrd", boxes(v1=2, v2=7))
    save(references / "b.nii.gz", boxes(v1=0, v5=11))
    save(predictions / "c.nii.gz", boxes(v1=0))
    save(references / "d.mha", boxes(v1=0))
    for folder in (predictions, references):
        (folder / "dataset.json").write_text(json.dumps(DATASET))
    return predictions, references


def test_two_files_give_a_table_that_says_what_was_measured(evaluate, tmp_path):
    prediction, reference = save(tmp_path / "a.nii.gz", boxes(v1=1, v2=8)), save(tmp_path / "b.mha", boxes(v1=0, v2=8))
    code, out, err = evaluate(prediction, reference, "--labels", "total", "--tolerance-mm", 1)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    nsd = nsd_per_label(boxes(v1=1), boxes(v1=0), SPACING_MM, 1)[1]
    assert lines[0].split() == ["structure", "label", "cases", "Dice", "NSD"]
    assert lines[1].split() == ["spleen", "1", "1", f"{27 / 64:.3f}", f"{nsd:.3f}"]
    assert lines[2].split() == ["kidney_right", "2", "1", "1.000", "1.000"]
    assert lines[3].split() == f"mean of 2 structures 1 {(27 / 64 + 1) / 2:.3f} {(nsd + 1) / 2:.3f}".split()
    assert lines[4] == "NSD: normalized surface Dice at 1 mm. Means over the cases whose reference has the structure."
    assert lines[5] == "All structures of all cases: --out FILE.csv"
    assert 0 < nsd < 1


def test_the_spacing_is_that_of_the_axes_in_the_patient_however_a_file_lays_them_out(evaluate, tmp_path):
    labels, moved = boxes(v1=4), np.roll(boxes(v1=4), 1, axis=0)  # by 4 mm, upwards
    reference = save(tmp_path / "reference.nii.gz", labels)
    stored = moved.transpose(0, 2, 1)[:, :, ::-1]  # first axis upwards, then to the right, then to the back
    affine = np.array([[0, 1, 0, 0], [0, 0, -2, 15 * 2], [4, 0, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "prediction.nii.gz")
    for tolerance_mm, expected in ((4, 1.0), (3.9, nsd_per_label(moved, labels, SPACING_MM, 3.9)[1])):
        _, out, _ = evaluate(tmp_path / "prediction.nii.gz", reference, "--tolerance-mm", tolerance_mm, "--json")
        assert json.loads(out)["nsd"] == pytest.approx(expected, abs=1e-9)
    assert expected < 1


def test_folders_give_every_structure_of_every_case_and_means_over_those_whose_reference_has_it(
    evaluate, folders, tmp_path
):
    code, out, err = evaluate(*folders, "--out", tmp_path / "found.csv")
    assert code == 0
    assert err.splitlines() == ["case 1 of 2: a", "case 2 of 2: b"]
    scores = rows_of(tmp_path / "found.csv")
    assert list(scores[0]) == ["case", "value", "name", "reference_voxels", "predicted_voxels", "dice", "nsd"]
    values = [
        (row["case"], row["value"], row["name"], row["reference_voxels"], row["predicted_voxels"]) for row in scores
    ]
    assert values == [
        ("a", "1", "spleen", "64", "64"),
        ("a", "2", "kidney_right", "64", "64"),
        ("b", "1", "spleen", "64", "64"),
        ("b", "2", "kidney_right", "0", "64"),
        ("b", "5", "liver", "64", "0"),
    ]
    assert [float(row["dice"]) for row in scores] == pytest.approx([1, 27 / 64, 8 / 64, 0, 0], abs=1e-6)
    means = rows_of(tmp_path / "found_means.csv")
    assert list(means[0]) == ["value", "name", "cases", "cases_without", "dice", "nsd"]
    assert [(row["name"], row["cases"], row["cases_without"]) for row in means] == [
        ("liver", "1", "0"),
        ("kidney_right", "1", "1"),
        ("spleen", "2", "0"),
    ]
    assert [float(row["dice"]) for row in means] == pytest.approx([0, 27 / 64, (1 + 8 / 64) / 2], abs=1e-6)
    assert f"mean of 3 structures 2 {(27 / 64 + (1 + 8 / 64) / 2) / 3:.3f}" in " ".join(out.split())
    assert "Predicted in cases whose reference has none, which counts nowhere: kidney_right (1)" in out
    assert f"Left out, for want of a partner: {folders[0] / 'c.nii.gz'}, {folders[1] / 'd.mha'}" in out
    assert out.endswith(f"Written: {tmp_path / 'found.csv'}, {tmp_path / 'found_means.csv'}\n")


def test_json_is_the_only_thing_on_standard_output_and_holds_what_the_tables_do(evaluate, folders, tmp_path):
    code, out, _ = evaluate(*folders, "--json", "--out", tmp_path / "found.csv")
    document = json.loads(out)
    assert code == 0
    assert (document["version"], document["cases"], document["tolerance_mm"]) == (1, 2, 3.0)
    assert document["unpaired"] == [str(folders[0] / "c.nii.gz"), str(folders[1] / "d.mha")]
    for key, table in (("scores", "found.csv"), ("structures", "found_means.csv")):
        rows = rows_of(tmp_path / table)
        assert [record["name"] for record in document[key]] == [row["name"] for row in rows]
        assert [record["nsd"] for record in document[key]] == pytest.approx(
            [float(row["nsd"]) for row in rows], abs=1e-6
        )
    assert document["dice"] == pytest.approx(np.mean([record["dice"] for record in document["structures"]]))
    assert document["nsd"] == pytest.approx(np.mean([record["nsd"] for record in document["structures"]]))


def test_segmentations_that_number_their_segments_differently_are_compared_by_name(evaluate, tmp_path):
    save(tmp_path / "p" / "a.seg.nrrd", boxes(v1=0, v2=5), {1: "liver", 2: "spleen"})
    save(tmp_path / "r" / "a.seg.nrrd", boxes(v1=5, v2=0), {1: "spleen", 2: "liver"})
    save(tmp_path / "p" / "b.seg.nrrd", boxes(v3=0), {3: "liver"})
    save(tmp_path / "r" / "b.seg.nrrd", boxes(v1=0), {1: "liver"})
    code, out, _ = evaluate(tmp_path / "p", tmp_path / "r", "--json")
    document = json.loads(out)
    assert code == 0
    assert [(record["name"], record["cases"]) for record in document["structures"]] == [("spleen", 1), ("liver", 2)]
    assert document["dice"] == document["nsd"] == 1
    _, out, _ = evaluate(tmp_path / "p" / "a.seg.nrrd", tmp_path / "r" / "a.seg.nrrd", "--labels", "total", "--json")
    assert json.loads(out)["dice"] == 0  # names that are given hold for the values of all files


def test_files_without_a_common_structure_are_told_of(evaluate, tmp_path):
    prediction = save(tmp_path / "a.seg.nrrd", boxes(v1=0), {1: "Leber"})
    reference = save(tmp_path / "b.seg.nrrd", boxes(v1=0), {1: "liver"})
    code, out, _ = evaluate(prediction, reference)
    assert code == 0
    assert "Note: b: no structure is in both files; predicted: Leber; reference: liver." in out


def test_voxels_that_the_reference_ignores_count_nowhere(evaluate, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "ignore": 2}}))
    reference, prediction = boxes(v1=0, v2=6), boxes(v1=0)
    prediction[6:10, 6:10, 6:10] = 1
    prediction[12:, 12:, 12:] = 2  # of a prediction it is background
    code, out, _ = evaluate(save(tmp_path / "a.nii", prediction), save(tmp_path / "b.nii", reference), "--json")
    document = json.loads(out)
    assert code == 0
    assert [(record["name"], record["dice"], record["nsd"]) for record in document["scores"]] == [("liver", 1, 1)]


def test_without_names_every_value_is_a_structure_and_255_too(evaluate, tmp_path):
    labels = boxes(v255=3)
    code, out, _ = evaluate(save(tmp_path / "a.nii", labels), save(tmp_path / "b.nii", labels))
    assert code == 0
    assert out.splitlines()[1].split() == ["label", "255", "255", "1", "1.000", "1.000"]


def test_small_reference_structures_do_not_count_where_that_is_asked_for(evaluate, tmp_path):
    reference = boxes(v1=0)
    reference[15, 15, :3] = 2
    files = save(tmp_path / "a.nii", boxes(v1=0)), save(tmp_path / "b.nii", reference)
    for minimum, dice in ((0, 0.5), (3, 0.5), (4, 1.0)):
        _, out, _ = evaluate(*files, "--minimum-voxels", minimum, "--json")
        assert json.loads(out)["dice"] == dice
    _, out, _ = evaluate(*files, "--minimum-voxels", 4)
    assert "whose reference has the structure with 4 voxels or more." in out


def test_empty_label_maps_are_no_error_and_have_no_means(evaluate, tmp_path):
    empty = save(tmp_path / "empty.nii", boxes())
    code, out, _ = evaluate(empty, empty, "--out", tmp_path / "found.csv")
    assert code == 0
    assert "No structure of the references counts." in out
    assert "Note" not in out
    assert rows_of(tmp_path / "found.csv") == rows_of(tmp_path / "found_means.csv") == []
    _, out, _ = evaluate(save(tmp_path / "full.nii", boxes(v1=1)), empty, "--json", "--out", tmp_path / "found.csv")
    assert json.loads(out)["dice"] is None
    assert rows_of(tmp_path / "found_means.csv")[0]["dice"] == ""


def test_the_terminal_shows_the_structures_that_agree_least(evaluate, tmp_path):
    reference = np.zeros((20, 20, 20), np.uint8)
    for value in range(1, 20):
        reference[value, :, 1 : value + 1] = value
    prediction = np.where(reference == 7, 0, reference)
    _, out, _ = evaluate(save(tmp_path / "a.nii", prediction), save(tmp_path / "b.nii", reference))
    assert out.splitlines()[1].split()[:2] == ["label", "7"]
    assert out.splitlines()[16] == "... and 4 more that agree better or as well"


def test_real_labels_agree_wholly_with_themselves_and_less_when_they_are_moved(evaluate, shared_data, tmp_path):
    path = shared_data / "data" / "example_seg.nii.gz"
    _, out, _ = evaluate(path, path, "--labels", "total", "--json")
    same = json.loads(out)
    assert (same["dice"], same["nsd"], len(same["structures"])) == (1, 1, 61)
    reference = read_label_map(path)
    write_labels(tmp_path / "moved.nrrd", np.roll(reference.array, 1, axis=2).astype(np.uint8), reference.geometry, [])
    moved = {}
    for tolerance_mm in (0, 1, 3):
        _, out, _ = evaluate(tmp_path / "moved.nrrd", path, "--tolerance-mm", tolerance_mm, "--json")
        moved[tolerance_mm] = json.loads(out)
    assert moved[0]["dice"] == moved[3]["dice"] < 0.95
    assert moved[0]["nsd"] == moved[1]["nsd"] < 0.8  # voxels of 3 mm
    assert moved[3]["nsd"] > 0.99


def test_neither_torch_nor_an_engine_is_needed(tmp_path):
    labels = save(tmp_path / "labels.nii", boxes(v1=0))
    code = (
        "import sys\n"
        "for name in ('torch', 'nnunetv2', 'openvino', 'tensorly'): sys.modules[name] = None\n"
        "from TuckerSegLib.cli import main\n"
        f"sys.exit(main(['evaluate', {str(labels)!r}, {str(labels)!r}]))"
    )
    folder = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
