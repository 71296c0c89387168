"""One bar for a whole run."""

from __future__ import annotations

import pytest

from TuckerSegLib.progress import ProgressTracker


def fractions(events):
    seen = []
    tracker = ProgressTracker(seen.append)
    for event in events:
        tracker(event)
    return [event.get("fraction") for event in seen]


def stage(name):
    return {"event": "stage", "stage": name}


def patch(done, total):
    return {"event": "progress", "stage": "network", "done": done, "total": total, "remaining_s": 1.0}


def test_the_bar_grows_from_the_first_stage_to_the_last_patch():
    cold = ["read", "load", "compress", "prepare", "preprocess", "network"]
    seen = fractions([*map(stage, cold), *(patch(done, 4) for done in range(1, 5))])
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, pytest.approx(1))


def test_the_bar_never_goes_back_where_stages_overlap_or_come_again():
    seen = fractions([stage("network"), patch(3, 4), stage("load"), stage("read"), patch(1, 4)])
    assert seen == sorted(seen)


def test_stages_it_does_not_know_and_other_events_pass_unchanged():
    seen = []
    tracker = ProgressTracker(seen.append)
    events = [{"event": "log", "message": "a"}, stage("write"), {"event": "row", "row": {}}]
    for event in events:
        tracker(event)
    assert seen == events
