"""Which images make a cohort: folders, lists, tables and studies, and the names of their cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.engine.cohort_inputs import labels_of, states_of, write_ct
from Testing.unit.dicom_files import places, save_series, single, stored_values
from Testing.unit.dicom_files import save as save_dicom
from TuckerSegLib.cohort.cases import Case, cases_of, named_apart
from TuckerSegLib.cohort.plan import with_all_series
from TuckerSegLib.errors import ImageError


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def cohort(run_here, model, tmp_path):
    return states_of(run_here, model, tmp_path)


def test_lists_and_tables_name_images_series_and_cases(tmp_path):
    for patient in ("anna", "bert"):
        write_ct(tmp_path / patient / "ct.nii.gz", 1, size=4)
    (tmp_path / "list.txt").write_text("# two patients\nanna/ct.nii.gz\n\n" + str(tmp_path / "bert" / "ct.nii.gz"))
    cases = cases_of(tmp_path / "list.txt")
    assert [case.name for case in cases] == ["anna_ct", "bert_ct"]
    assert [Path(case.images[0]) for case in cases] == [tmp_path / each / "ct.nii.gz" for each in ("anna", "bert")]
    text = "name,image,series,timepoint,channel_1\nfirst,anna/ct.nii.gz,4,,\n,bert/ct.nii.gz,,2,anna/ct.nii.gz\n"
    (tmp_path / "table.csv").write_text("\ufeff" + text)
    first, second = cases_of(tmp_path / "table.csv")
    assert (first.name, first.series, first.timepoint, len(first.images)) == ("first", "4", None, 1)
    assert (second.name, second.series, second.timepoint, len(second.images)) == ("ct", None, 2, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "column 'image'"),
        ("image,timepoint\nct.nii.gz,one\n", "row 2: the timepoint"),
        ("image,name\n,one\n", "row 2 has nothing"),
        ("image\n", "names no image"),
        ("", "column 'image'"),
        ("image\na\0b.nii.gz\n", "not a text"),
        ("image\n" + "a" * 5000 + "\n", "5000 characters"),
    ],
)
def test_a_table_that_is_none_is_told_with_its_row(tmp_path, text, words):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ImageError, match=words):
        cases_of(tmp_path / "table.csv")


def test_names_are_those_of_files_on_every_system_and_no_two_are_alike():
    names = ["a", "A", "b/../c", "nul", "x" * 400, "", "..", "a"]
    cases = named_apart([Case(name, (f"/data/{number}/ct.nii.gz",)) for number, name in enumerate(names)])
    fit = [case.name for case in cases]
    assert len({name.casefold() for name in fit}) == len(names)
    assert all(name and "/" not in name and len(name.encode()) < 200 and not name.startswith(".") for name in fit)
    alike = [Case("ct", ("/data/ct.nii.gz",))] * 3
    assert [case.name for case in named_apart(alike)] == ["data_ct", "data_ct_2", "data_ct_3"]


def test_all_series_of_a_study_have_results_of_their_own(cohort, tmp_path):
    study = tmp_path / "study"
    for number in (3, 5):
        stored = stored_values(seed=number)
        save_series(study / str(number), stored, places(), SeriesNumber=number, SeriesInstanceUID=f"1.2.{number}",
                    StudyInstanceUID="1.2.3")  # fmt: skip
    scout = single(stored_values(1)[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1,
                   SeriesInstanceUID="1.2.1")  # fmt: skip
    save_dicom(scout, study / "scout.dcm")
    assert [case.series for case in with_all_series([Case("study", (str(study),))])] == ["3", "5"]
    assert cohort("--all-series", images=study) == {"study_3": "done", "study_5": "done"}
    first, second = (labels_of(tmp_path / "out" / f"study_{number}.nii.gz") for number in (3, 5))
    assert first.shape == second.shape and (first != second).any()
    assert cohort("--all-series", images=study) == {"study_3": "skipped", "study_5": "skipped"}
    write_ct(tmp_path / "plain.nii.gz", 0)
    assert cohort("--all-series", images=tmp_path / "plain.nii.gz", out=tmp_path / "other") == {"plain": "done"}


def test_a_study_that_cannot_be_read_fails_alone_also_where_all_series_are_wanted(cohort, tmp_path):
    (tmp_path / "cts" / "empty").mkdir(parents=True)
    study = save_series(tmp_path / "cts" / "study", stored_values(), places())
    broken = tmp_path / "cts" / "broken"
    broken.mkdir()
    for file in study.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:300])
    (tmp_path / "list.txt").write_text("cts/broken\ncts/study\nno/such/folder\n")
    states = cohort("--all-series", images=tmp_path / "list.txt", code=1)
    assert states == {"broken": "failed", "study": "done", "folder": "failed"}
