"""Many images in one run: what is written, what is done again, what a failure or a stop leaves."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from Testing.engine.cohort_inputs import PLACE, labels_of, states_of, write_ct, write_cts
from Testing.unit.dicom_files import places, save_series, stored_values
from TuckerSegLib.cli.cohort_run import segment_cohort
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.cohort import run as cohort_run
from TuckerSegLib.cohort.case_record import CaseRecord, read_record, record_path, write_record
from TuckerSegLib.cohort.cases import Case
from TuckerSegLib.cohort.plan import CohortPlan
from TuckerSegLib.jobs import warm_models
from TuckerSegLib.monitor import Monitor


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def cohort(run_here, model, tmp_path):
    return states_of(run_here, model, tmp_path)


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cohort.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_every_image_of_a_folder_is_segmented_as_alone_and_a_bad_one_ends_nothing(
    cohort, run_here, model, tmp_path, monkeypatch
):
    prepared = []
    real = warm_models.prepare
    monkeypatch.setattr(warm_models, "prepare", lambda *words: prepared.append(1) or real(*words))
    (write_cts(tmp_path / "cts", 3) / "bad.nii.gz").write_bytes(b"no image")
    out = tmp_path / "out"
    assert cohort(code=1) == {"bad": "failed", "ct0": "done", "ct1": "done", "ct2": "done"}
    assert len(prepared) == 1, "the model stays ready"
    for number in (0, 2):
        ct, alone = tmp_path / "cts" / f"ct{number}.nii.gz", tmp_path / "alone.nii.gz"
        run_here("segment", ct, alone, "--model", model, *PLACE)
        np.testing.assert_array_equal(labels_of(out / f"ct{number}.nii.gz"), labels_of(alone))
    rows = table(out)
    assert list(rows) == ["bad", "ct0", "ct1", "ct2"]
    assert rows["bad"]["state"] == "failed" and "bad.nii.gz" in rows["bad"]["message"]
    labels = labels_of(out / "ct1.nii.gz")
    largest = np.bincount(labels[labels > 0].ravel()).argmax()
    assert float(rows["ct1"][f"structure_{largest} ml"]) == pytest.approx((labels == largest).sum() * 0.027, rel=1e-4)
    assert int(rows["ct1"]["structures"]) == len(np.unique(labels)) - 1


def test_an_image_that_failed_and_was_taken_away_belongs_to_the_cohort_no_more(cohort, run_here, tmp_path):
    cts, out = write_cts(tmp_path / "cts", 1), tmp_path / "out"
    (cts / "bad.nii.gz").write_bytes(b"no image")
    cohort(code=1)
    (cts / "bad.nii.gz").unlink()
    told = run_here("summarize", out, "--pictures", 0)
    assert "1 cases, 1 done; 0 to look at" in told and "taken away since: bad" in told
    assert list(table(out)) == ["ct0"]
    document = json.loads(run_here("summarize", out, "--pictures", 0, "--json"))
    assert (document["removed"], document["notable"]) == (["bad"], [])
    assert cohort() == {"ct0": "skipped"} and list(table(out)) == ["ct0"]

    (tmp_path / "list.txt").write_text("cts/ct0.nii.gz\ncts/absent.nii.gz\n", encoding="utf-8")
    assert cohort(images=tmp_path / "list.txt", code=1) == {"absent": "failed", "ct0": "skipped"}
    assert "1 done; 1 to look at" in run_here("summarize", out, "--pictures", 0), "it never was there"
    (cts / "bad.nii.gz").write_bytes(b"no image")
    cohort(code=1)
    cts.rename(tmp_path / "elsewhere")
    assert "1 done; 2 to look at" in run_here("summarize", out, "--pictures", 0), "nobody knows"


def test_what_is_done_and_whole_is_not_done_again_and_what_has_changed_is(cohort, tmp_path):
    cts, out = write_cts(tmp_path / "cts", 3), tmp_path / "out"
    assert set(cohort().values()) == {"done"}
    written = (out / "ct0.nii.gz").stat().st_mtime_ns
    assert set(cohort().values()) == {"skipped"}
    for path in cts.iterdir():  # the times of files alone say nothing
        os.utime(path)
    assert set(cohort().values()) == {"skipped"}
    assert (out / "ct0.nii.gz").stat().st_mtime_ns == written

    write_ct(cts / "ct0.nii.gz", seed=7)
    (out / "ct1.nii.gz").write_bytes(b"cut")
    assert cohort() == {"ct0": "done", "ct1": "done", "ct2": "skipped"}
    (out / "ct1.nii.gz").unlink()
    record_path(out, "ct2").write_text("{")
    assert cohort() == {"ct0": "skipped", "ct1": "done", "ct2": "done"}

    assert set(cohort("--step", "0.7").values()) == {"done"}, "other settings"
    assert set(cohort("--step", "0.7", "--threads", "2").values()) == {"skipped"}, "threads change nothing"
    assert set(cohort("--step", "0.7", "--output-type", "nifti,slicer").values()) == {"done"}
    assert {"ct0.seg.nrrd", "ct0.nii.gz"} <= {path.name for path in out.iterdir()}
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert set(cohort("--step", "0.7", "--output-type", "nifti,slicer", "--again").values()) == {"done"}
    assert all(path.stat().st_mtime_ns > stamps[path.name] for path in out.iterdir()), "all is written anew"


def test_files_beside_the_labels_are_whole_too_or_made_again(cohort, tmp_path):
    write_cts(tmp_path / "cts", 1)
    assert cohort("--statistics", "--preview") == {"ct0": "done"}
    record = read_record(record_path(tmp_path / "out", "ct0"))
    assert [each.name for each in record.outputs] == ["ct0.nii.gz", "ct0_statistics.json", "ct0_preview.png"]
    assert cohort("--statistics", "--preview") == {"ct0": "skipped"}
    (tmp_path / "out" / "ct0_preview.png").unlink()
    assert cohort("--statistics", "--preview") == {"ct0": "done"}


def test_another_model_of_the_same_name_is_another_model(cohort, model, tmp_path):
    import torch

    write_cts(tmp_path / "cts", 1)
    assert cohort() == {"ct0": "done"}
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    next(iter(checkpoint["network_weights"].values())).mul_(2)
    torch.save(checkpoint, file)
    assert cohort() == {"ct0": "done"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run_here, cohort, model, tmp_path):
    write_cts(tmp_path / "cts", 2)
    words = ["segment", tmp_path / "cts", tmp_path / "out", "--model", model, "--dry-run"]
    told = run_here(*words)
    assert "2 of 2 images to do" in told and "ct1.nii.gz" in told
    assert not (tmp_path / "out").exists()
    cohort()
    write_ct(tmp_path / "cts" / "ct9.nii.gz", 9)
    rows = json.loads(run_here(*words, *PLACE, "--json"))
    assert [(row["case"], row["state"]) for row in rows] == [("ct0", "done"), ("ct1", "done"), ("ct9", "to do")]
    assert not (tmp_path / "out" / "ct9.nii.gz").exists()


def test_a_stop_keeps_what_is_done_and_the_next_run_goes_on(cohort, model, tmp_path, monkeypatch):
    write_cts(tmp_path / "cts", 3)
    real, begun = cohort_run.run_case, []

    def stopped_in_the_second(plan, runs, monitor):
        begun.append(plan.case.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(plan, runs, monitor)

    words = ["segment", tmp_path / "cts", tmp_path / "out", "--model", model, "--json", *PLACE]
    options = build_parser().parse_args([str(word) for word in words])
    options.monitor = Monitor()
    with monkeypatch.context() as patched:
        patched.setattr(cohort_run, "run_case", stopped_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            segment_cohort(options)
    assert begun == ["ct0", "ct1"]
    assert {name: row["state"] for name, row in table(tmp_path / "out").items()} == {"ct0": "done"}
    assert cohort() == {"ct0": "skipped", "ct1": "done", "ct2": "done"}


def test_what_would_fail_for_every_image_fails_once(run_here, cohort, model, tmp_path):
    write_cts(tmp_path / "cts", 2)
    assert cohort("--device", "torch:nothing", code=1) == {}
    assert not list(tmp_path.glob("out/*.record.json"))
    run_here("segment", tmp_path / "cts", tmp_path / "out", "--model", tmp_path / "no_model", code=1)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_nobody_foresaw_is_a_failure_of_its_case(cohort, tmp_path, monkeypatch):
    write_cts(tmp_path / "cts", 2)
    real = cohort_run.run_case

    def fails_once(plan, runs, monitor):
        if plan.case.name == "ct0":
            raise ZeroDivisionError("division by zero")
        return real(plan, runs, monitor)

    with monkeypatch.context() as patched:
        patched.setattr(cohort_run, "run_case", fails_once)
        assert cohort(code=1) == {"ct0": "failed", "ct1": "done"}
    assert "ZeroDivisionError" in table(tmp_path / "out")["ct0"]["message"]
    assert cohort() == {"ct0": "done", "ct1": "skipped"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_once(run_here, model, tmp_path):
    write_cts(tmp_path / "cts", 2)
    (tmp_path / "out").mkdir(mode=0o500)
    run_here("segment", tmp_path / "cts", tmp_path / "out", "--model", model, *PLACE, code=1)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_in_the_place_of_the_folder_is_told(run_here, model, tmp_path):
    write_cts(tmp_path / "cts", 1)
    (tmp_path / "out").write_text("")
    run_here("segment", tmp_path / "cts", tmp_path / "out", "--model", model, *PLACE, code=1)
    run_here("segment", tmp_path / "cts", tmp_path / "out" / "below", "--model", model, *PLACE, code=1)


def test_images_are_never_overwritten(run_here, model, tmp_path):
    cts = write_cts(tmp_path / "cts", 1)
    before = (cts / "ct0.nii.gz").read_bytes()
    run_here("segment", cts, cts, "--model", model, *PLACE, code=1)
    assert (cts / "ct0.nii.gz").read_bytes() == before and len(list(cts.iterdir())) == 1


def test_the_folder_of_results_within_that_of_the_images_is_no_image(cohort, tmp_path):
    cts = write_cts(tmp_path / "cts", 1)
    out = cts / "results"
    assert cohort("--output-type", "nifti", out=out) == {"ct0": "done"}
    save_series(out / "slices", stored_values(), places())
    assert cohort("--output-type", "nifti", out=out) == {"ct0": "skipped"}


def test_the_time_left_is_that_of_the_images_left(tmp_path):
    from TuckerSegLib.cohort.case_run import CasePlan
    from TuckerSegLib.records.job import Job

    plans = tuple(CasePlan(Case(name, ("x",)), Job(()), str(tmp_path), ("nifti",), False, "") for name in "abcd")
    record = {name: CaseRecord(name, "done", "", ("x",), None, (), "", ()) for name in "abcd"}
    times, events = iter([0.0, 10.0, 30.0, 60.0]), []
    plan = CohortPlan(plans, {"b": record["b"]}, str(tmp_path))
    progress = cohort_run.CohortProgress(plan, events.append, clock=lambda: next(times))
    in_order = progress.collected(record[name] for name in "dac")
    assert [each.name for each in in_order] == list("abcd")
    assert [(event["case"], event["number"], event["remaining_s"]) for event in events] == [
        ("b", 1, None), ("d", 2, 20.0), ("a", 3, 15.0), ("c", 4, 0.0)
    ]  # fmt: skip


def test_images_that_fail_at_once_say_nothing_of_the_time_left(tmp_path):
    from TuckerSegLib.cohort.case_run import CasePlan
    from TuckerSegLib.records.job import Job

    plans = tuple(CasePlan(Case(name, ("x",)), Job(()), str(tmp_path), ("nifti",), False, "") for name in "abc")
    records = [CaseRecord(*state, "", ("x",), None, (), "", ()) for state in (("a", "failed"), ("b", "done"))]
    times, events = iter([0.0, 10.0]), []
    plan = CohortPlan(plans, {}, str(tmp_path))
    cohort_run.CohortProgress(plan, events.append, clock=lambda: next(times)).collected(iter(records))
    assert [event["remaining_s"] for event in events] == [None, 10.0]


def test_parquet_says_what_the_csv_says(cohort, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the cohort extra")
    (write_cts(tmp_path / "cts", 1) / "bad.nii.gz").write_bytes(b"")
    cohort(code=1)
    rows = table(tmp_path / "out")
    columns = parquet.read_table(tmp_path / "out" / "cohort.parquet").to_pydict()
    assert columns["case"] == list(rows) and columns["state"] == ["failed", "done"]
    assert columns["structures"] == [None, int(rows["ct0"]["structures"])]
    name = next(name for name in columns if name.endswith(" ml"))
    assert columns[name] == [None, pytest.approx(float(rows["ct0"][name]), rel=1e-4)]


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_is_none(tmp_path):
    record = CaseRecord("a", "failed", "key", ("x",), "4", (), "", (), "it is no image", 1.5, "here:1")
    write_record(tmp_path, record)
    assert read_record(record_path(tmp_path, "a")) == record
    for text in ("", "[]", '{"name": 3}', '{"version": 99}'):
        record_path(tmp_path, "a").write_text(text)
        assert read_record(record_path(tmp_path, "a")) is None


def test_options_of_many_images_are_refused_for_one(run_here, model, tmp_path):
    ct = write_ct(tmp_path / "ct.nii.gz", 0)
    for more in (["--dry-run"], ["--again"]):
        run_here("segment", ct, tmp_path / "a.nii.gz", "--model", model, *more, code=1)
    run_here("segment", ct, tmp_path / "out/", "--stats", tmp_path / "a.json", code=1)
    (tmp_path / "list.txt").write_text("ct.nii.gz")
    run_here("segment", tmp_path / "list.txt", tmp_path / "a.nii.gz", "--model", model, code=1)
    assert not (tmp_path / "a.nii.gz").exists()
