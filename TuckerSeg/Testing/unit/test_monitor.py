"""What a monitor tells, counts and shares with the parts of its work."""

from __future__ import annotations

import warnings

import pytest

from TuckerSegLib.errors import Cancelled
from TuckerSegLib.monitor import Monitor


def test_without_listeners_nothing_is_heard_and_nothing_stops():
    monitor = Monitor()
    with monitor.stage("load") as stage:
        stage.progress(1, 2)
        stage.fraction(0.5)
    monitor.check()
    assert not monitor.stop()
    assert monitor.seconds.keys() == {"load"}


def test_the_progress_of_a_stage_carries_its_name_and_its_seconds_add_up():
    told = []
    monitor = Monitor(told.append)
    with monitor.stage("load"):
        pass
    first = monitor.seconds["load"]
    with monitor.stage("load") as stage:
        stage.progress(3, 4, remaining_s=1.0)
    monitor.begin("network").progress(1, 2)
    monitor.within("finish").add("finish", 2.0)
    assert told[1:] == [
        {"event": "stage", "stage": "load"},
        {"event": "progress", "stage": "load", "done": 3, "total": 4, "remaining_s": 1.0},
        {"event": "stage", "stage": "network"},
        {"event": "progress", "stage": "network", "done": 1, "total": 2},
    ]
    assert monitor.seconds["load"] > first
    assert monitor.with_total() == {**monitor.seconds, "total": pytest.approx(monitor.with_total()["total"], abs=60)}
    assert monitor.seconds["finish"] == 2.0


def test_the_wish_to_stop_reaches_every_part_of_the_work():
    wished = []
    monitor = Monitor(cancelled=lambda: bool(wished))
    parts = [monitor, monitor.share(0, 2), monitor.quiet(), monitor.through(print), monitor.within("load").share(1, 2)]
    for part in parts:
        part.check()
        part.fraction(0.1)
    wished.append(True)
    for part in parts:
        assert part.stop()
        with pytest.raises(Cancelled, match=r"^The repair was cancelled\.$"):
            part.check("The repair")
        with pytest.raises(Cancelled):
            part.fraction(0.1)


def test_pieces_of_the_work_count_as_their_share():
    fractions, told = [], []
    monitor = Monitor(told.append, on_fraction=fractions.append)
    for number in range(2):
        folds = monitor.share(number, 2)
        for fold in range(2):
            folds.share(fold, 2).fraction(1.0)
    assert fractions == [0.25, 0.5, 0.75, 1.0]
    monitor.share(1, 4).tell("progress", fraction=0.5)
    assert told == [{"event": "progress", "fraction": 0.375, "remaining_s": None}]
    monitor.share(3, 4).tell("progress", fraction=0.5, remaining_s=7.0)
    assert told[-1]["remaining_s"] == 7.0  # the last piece: nothing comes after it
    monitor.share(2, 4).tell("progress", fraction=0.5, remaining_s=7.0)
    assert told[-1]["remaining_s"] >= 14.0


def test_what_is_told_elsewhere_has_seconds_of_its_own():
    told, elsewhere = [], []
    monitor = Monitor(told.append)
    with monitor.through(elsewhere.append).stage("load"), monitor.quiet().stage("prepare"):
        pass
    assert told == [] and [event["stage"] for event in elsewhere] == ["load"]
    assert monitor.seconds == {}


def test_the_librarys_own_warnings_become_notes_and_those_of_others_do_not():
    told = []
    monitor = Monitor(told.append)
    with monitor.warnings_noted():
        warnings.warn_explicit("ours", UserWarning, "/somewhere/TuckerSegLib/file.py", 1)
        warnings.warn_explicit("theirs", UserWarning, "/somewhere/other.py", 1)
    assert monitor.notes == ["ours"]
    assert told == [{"event": "log", "message": "ours"}]


def test_fractions_of_a_stage_are_told_in_hundredths_and_heard_as_before():
    told, heard = [], []
    monitor = Monitor(told.append, on_fraction=heard.append)
    with monitor.stage("calibrate") as stage:
        stage.in_hundredths().share(1, 2).fraction(0.5)
    assert told[1:] == [{"event": "progress", "stage": "calibrate", "done": 75, "total": 100}]
    assert heard == [0.75]
