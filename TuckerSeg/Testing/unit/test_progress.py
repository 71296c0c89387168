"""One bar for a whole run, and its remaining time."""

from __future__ import annotations

import itertools

import pytest

from TuckerSegLib.jobs.progress import ProgressTracker

COLD = ["read", "load", "compress", "prepare", "preprocess", "network"]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen():
    return []


@pytest.fixture
def tracker(seen, clock):
    return ProgressTracker(seen.append, clock)


def stage(name):
    return {"event": "stage", "stage": name}


def progress(name, done, total):
    return {"event": "progress", "stage": name, "done": done, "total": total}


def run(tracker, clock, layers=3, patches=4, planes=5, patch_s=2.0, plane_s=0.5):
    """A volume of some layers of patches; each layer's planes are labeled when its patches are done."""
    tracker(stage("network"))
    for layer in range(layers):
        for patch in range(patches):
            clock.now += patch_s
            tracker(progress("network", layer * patches + patch + 1, layers * patches))
        for plane in range(planes):
            clock.now += plane_s
            tracker(progress("finish", layer * planes + plane + 1, layers * planes))


def test_the_bar_grows_from_the_first_stage_to_the_last_plane(tracker, seen, clock):
    for name in COLD[:-1]:
        tracker(stage(name))
    run(tracker, clock)
    fractions = [event["fraction"] for event in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, pytest.approx(1))


def test_the_remaining_time_is_right_from_the_second_layer_on(tracker, seen, clock):
    run(tracker, clock)
    ends_at = clock.now
    again = Clock()
    events = []
    run(ProgressTracker(lambda event: events.append((again.now, event)), again), again)
    told = [(now, event) for now, event in events if event["event"] == "progress"]
    assert len(told) == 12 + 5
    for now, event in told[4:]:
        assert event["remaining_s"] == pytest.approx(ends_at - now), event
    assert told[-1][1]["remaining_s"] == 0


def test_labeling_that_is_foretold_counts_before_its_first_plane(tracker, seen, clock):
    tracker.expect_finish(30.0)
    run(tracker, clock, layers=1)
    remaining = [event["remaining_s"] for event in seen if event["event"] == "progress"]
    assert remaining[:4] == [36.0, 34.0, 32.0, 30.0]
    assert remaining[4] == 2.0


def test_planes_are_told_only_when_no_patch_is_left(tracker, seen, clock):
    run(tracker, clock)
    stages = [event["stage"] for event in seen if event["event"] == "progress"]
    assert [name for name, _ in itertools.groupby(stages)] == ["network", "finish"]
    assert stages.count("finish") == 5


def test_a_run_that_begins_again_with_less_memory_is_timed_anew(tracker, seen, clock):
    tracker(stage("network"))
    for done, seconds in ((1, 10.0), (2, 10.0), (1, 3.0), (2, 3.0)):
        clock.now += seconds
        tracker(progress("network", done, 4))
    assert [event["remaining_s"] for event in seen[1:]] == [30.0, 20.0, 9.0, 6.0]


def test_the_bar_never_goes_back_where_stages_overlap_or_come_again(tracker, seen, clock):
    tracker(stage("network"))
    clock.now += 1
    tracker(progress("network", 3, 4))
    for event in (stage("load"), stage("read"), progress("network", 1, 4)):
        tracker(event)
    fractions = [event["fraction"] for event in seen]
    assert fractions == sorted(fractions)


def test_stages_it_does_not_know_and_other_events_pass_unchanged(tracker, seen):
    events = [{"event": "log", "message": "a"}, stage("write"), {"event": "row", "row": {}}]
    for event in events:
        tracker(event)
    assert seen == events


def part(number, count, name="part"):
    return {"event": "part", "number": number, "count": count, "name": f"{name} {number + 1}"}


def run_parts(tracker, clock, count=3, load_s=1.0, **sizes):
    for number in range(count):
        tracker(part(number, count))
        tracker(stage("load"))
        clock.now += load_s
        run(tracker, clock, **sizes)


def test_the_bar_grows_over_several_networks(tracker, seen, clock):
    run_parts(tracker, clock)
    fractions = [event["fraction"] for event in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    ends = [event["fraction"] for event in seen if event.get("remaining_s") is not None and event["stage"] == "finish"]
    assert ends[4::5] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [event["part_name"] for event in seen if event["event"] == "stage" and event["stage"] == "load"] == [
        "part 1",
        "part 2",
        "part 3",
    ]
    assert {(event["part"], event["parts"]) for event in seen} == {(1, 3), (2, 3), (3, 3)}


def test_networks_to_come_are_expected_to_take_as_long_as_those_before(clock):
    told = []
    tracker = ProgressTracker(lambda event: told.append((clock.now, event)), clock)
    run_parts(tracker, clock)
    ends_at = clock.now
    known = [(now, event) for now, event in told if event["event"] == "progress"][4:]  # its first labels are known
    for now, event in known:
        if event["part"] == 1:
            assert event["remaining_s"] == pytest.approx(ends_at - now), event
    assert known[-1][1]["remaining_s"] == 0


def test_a_run_of_several_networks_that_begins_again_keeps_the_bar(tracker, seen, clock):
    run_parts(tracker, clock, count=2)
    run_parts(tracker, clock, count=2)
    fractions = [event["fraction"] for event in seen]
    assert fractions == sorted(fractions)
    assert seen[-1]["remaining_s"] == 0


def test_calibrating_moves_the_bar_and_takes_most_of_it(tracker, seen, clock):
    for name in ("read", "load", "calibrate"):
        tracker(stage(name))
    for done in (25, 50, 100):
        tracker(progress("calibrate", done, 100))
    tracker(stage("compress"))
    tracker(progress("compress", 50, 100))
    tracker(stage("prepare"))
    run(tracker, clock)
    fractions = [event["fraction"] for event in seen]
    assert fractions == sorted(fractions)
    at = {(event["event"], event["stage"], event.get("done")): event["fraction"] for event in seen}
    assert at["progress", "calibrate", 25] < at["progress", "calibrate", 50] < at["progress", "calibrate", 100]
    assert at["stage", "compress", None] >= 0.5
    assert fractions[-1] == pytest.approx(1)


def test_a_network_that_is_calibrated_already_has_the_bar_of_any_run(tracker, seen, clock):
    tracker({"event": "part", "number": 0, "count": 2, "name": "first"})
    tracker(stage("calibrate"))
    tracker({"event": "part", "number": 1, "count": 2, "name": "second"})
    tracker(stage("prepare"))
    assert seen[-1]["fraction"] == pytest.approx((1 + 0.1) / 2)
