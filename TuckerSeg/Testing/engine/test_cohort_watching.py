"""A folder that is watched: a study is segmented when it has stopped growing, once, and again where it grows again."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from Testing.engine.cohort_inputs import PLACE, write_ct
from Testing.unit.dicom_files import places, save_series, stored_values
from TuckerSegLib.cli.cohort_run import segment_cohort
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.cohort import watching
from TuckerSegLib.cohort.case_record import read_record, record_path
from TuckerSegLib.cohort.watching import SettledCases, watch
from TuckerSegLib.errors import DependencyError, ImageError, SpecError
from TuckerSegLib.monitor import Monitor


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def looked(settled: SettledCases, clock: Clock, at: float) -> list[str]:
    clock.now = at
    return [case.name for case in settled.look()]


def test_what_changes_is_waited_for_and_each_state_comes_once(tmp_path):
    clock = Clock()
    settled = SettledCases(tmp_path, 10, leave_out=tmp_path / "out", clock=clock)
    assert looked(settled, clock, 0) == []  # an empty folder is no error
    write_ct(tmp_path / "a.nii.gz", 0, size=4)
    assert looked(settled, clock, 1) == looked(settled, clock, 10.5) == []
    write_ct(tmp_path / "b.nii.gz", 1, size=4)
    assert looked(settled, clock, 11) == ["a"]
    assert settled.next_look_s() == pytest.approx(10)
    (tmp_path / "b.nii.gz").write_bytes(b"longer than before" * 100)
    assert looked(settled, clock, 20.5) == []  # it has grown meanwhile
    assert settled.next_look_s() == pytest.approx(10)
    assert looked(settled, clock, 31) == ["b"]
    assert looked(settled, clock, 60) == []
    write_ct(tmp_path / "a.nii.gz", 5, size=5)
    assert looked(settled, clock, 61) == [] and looked(settled, clock, 72) == ["a"]
    (tmp_path / "a.nii.gz").unlink()
    assert looked(settled, clock, 100) == []


def test_a_study_is_given_when_its_last_slice_has_come(tmp_path):
    clock, study = Clock(), save_series(tmp_path / "all", stored_values(), places())
    inbox = tmp_path / "inbox"
    (inbox / "anna").mkdir(parents=True)
    settled = SettledCases(inbox, 5, clock=clock)
    for number, file in enumerate(sorted(study.iterdir())):
        shutil.copy(file, inbox / "anna" / file.name)
        assert looked(settled, clock, 4.0 * number) == []
    assert looked(settled, clock, 4.0 * number + 5) == ["anna"]


def test_the_system_tells_of_changes(tmp_path, monkeypatch):
    pytest.importorskip("watchdog", reason="needs watchdog, of the cohort extra")
    monkeypatch.setattr(watching, "LOOK_S", 600.0)  # without being told, nothing would be seen
    given, stop = [], threading.Event()

    def do(cases):
        given.extend(case.name for case in cases)
        stop.set()

    waited_for = threading.Thread(
        target=watch, args=(SettledCases(tmp_path, 0.2), tmp_path, do, Monitor(cancelled=stop.is_set)), daemon=True
    )
    waited_for.start()
    time.sleep(0.3)
    write_ct(tmp_path / "late.nii.gz", 0, size=4)
    waited_for.join(60)
    assert given == ["late"] and not waited_for.is_alive()


def test_a_watched_folder_is_segmented_study_by_study(make_model_folder, tmp_path, monkeypatch):
    pytest.importorskip("watchdog", reason="needs watchdog, of the cohort extra")
    model, inbox, out = make_model_folder(patch_shape=(16, 16, 16)), tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    (inbox / "broken.nii.gz").write_bytes(b"no image")
    study = save_series(tmp_path / "study", stored_values(), places())
    words = ["segment", inbox, out, "--model", model, "--watch", "--settle", "0.5", "--json", *PLACE]
    options = build_parser().parse_args([str(word) for word in words])
    events, seen = [], threading.Event()

    def listen(event):
        events.append(event)
        if event["event"] == "case" and event["case"] == "broken":
            seen.set()

    def send():
        seen.wait(60)  # that of a broken file ends nothing
        (inbox / "anna").mkdir()
        for file in sorted(study.iterdir()):
            shutil.copy(file, inbox / "anna" / file.name)
            time.sleep(0.05)

    class Heard(Monitor):
        def through(self, listener):
            return Monitor(listen, self.stop)

    def all_slices_are_done() -> bool:
        """Of a machine so slow that the study seemed to have stopped growing, there were records of fewer before."""
        record = read_record(record_path(out, "anna"))
        return record is not None and len(record.inputs) == 8

    options.monitor = Heard(cancelled=all_slices_are_done)
    sender = threading.Thread(target=send)
    sender.start()
    segment_cohort(options)
    sender.join()
    states = {event["case"]: event["state"] for event in events if event["event"] == "case"}
    assert states == {"broken": "failed", "anna": "done"}
    record = read_record(record_path(out, "anna"))
    assert len(record.inputs) == 8 and (out / "anna.nii.gz").is_file() and (out / "cohort.csv").is_file()


def test_what_cannot_be_watched_is_told(run_here, tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="time to settle"):
        SettledCases(tmp_path, 0)
    with pytest.raises(ImageError, match="no such folder"):
        SettledCases(tmp_path / "absent").look()
    ct = write_ct(tmp_path / "ct.nii.gz", 0)
    run_here("segment", ct, tmp_path / "out.nii.gz", "--watch", code=1)
    run_here("segment", tmp_path, tmp_path / "out", "--watch", "--dry-run", code=1)
    assert not Path(tmp_path / "out").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="watchdog"):
        watch(SettledCases(tmp_path), tmp_path, print, Monitor())
