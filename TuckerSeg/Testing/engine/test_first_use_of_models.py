"""What a first use takes is foretold, told when it begins, and remembered."""

from __future__ import annotations

import pytest

from Testing.engine.estimated_jobs import PROCESSOR, by_default, image_of
from TuckerSegLib import Cache, Job, calibrate_model, load_model
from TuckerSegLib.estimation import first_use
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.jobs.first_use import FirstUse
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.calibration import store_calibration
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.models.task import task_of
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import Step, steps_at
from TuckerSegLib.segmentation.lent import Lent


@pytest.fixture
def measurements():
    return Measurements(Cache())


def test_a_first_use_is_foretold_until_what_comes_of_it_is_kept(make_model_folder, hand_over, measurements):
    model, volume, job = load_model(make_model_folder()), image_of(hand_over()), by_default(0.5)
    estimator = Estimator(model, measurements)

    def foretold(job=job):
        return estimator.estimate(volume.geometry, job).first_use_seconds

    whole = foretold()
    assert whole > 0
    assert foretold(by_default(1.0)) == 0
    store_calibration(model, calibrate_model(model, None), Cache())
    assert 0 < foretold() < whole  # the volume at hand is added to a calibration on the built-in one alone
    compress_for_job(model, job, Cache(), Monitor(), lambda: volume)
    assert foretold() == 0
    assert 0 < foretold(by_default(0.4)) < whole  # calibrated, but not decomposed at these ranks


def test_what_is_not_known_of_a_method_is_not_foretold(make_model_folder, hand_over, measurements):
    model, geometry = load_model(make_model_folder()), image_of(hand_over()).geometry
    job = resolve(Job((), inference=PROCESSOR, steps=(Step("prune", {"keep_ratio": 0.5}),)))
    assert Estimator(model, measurements).estimate(geometry, job).first_use_seconds is None


def test_a_run_says_first_what_it_takes_and_what_it_took_is_remembered(
    make_model_folder, hand_over, measurements, monkeypatch
):
    monkeypatch.setattr(first_use, "LEAST_TOLD_SECONDS", 0.0)
    monkeypatch.setattr(first_use, "LEAST_REMEMBERED_SECONDS", 0.0)
    volume, events = image_of(hand_over()), []
    job = resolve(Job((), model=str(make_model_folder()), inference=PROCESSOR, steps=steps_at(0.5)))
    Runs().segment(job, volume, Monitor(events.append))
    (place,) = [n for n, each in enumerate(events) if each["event"] == "log" and "First use" in each["message"]]
    after = [each for each in events[place:] if each["event"] in ("stage", "progress")]
    assert after[0]["stage"] == "calibrate"
    assert "the network is calibrated" in events[place]["message"]
    ratio = first_use.here(1.0, measurements)
    assert ratio > 0
    assert ratio != 1.0
    events.clear()
    Runs().segment(job, volume, Monitor(events.append))
    assert not [each for each in events if each["event"] == "log" and "First use" in each["message"]]


def test_small_networks_tell_nothing_of_large_ones(measurements):
    first_use.remember_first_use(100.0, 0.01, measurements)
    assert first_use.here(1.0, measurements) == 1.0
    first_use.remember_first_use(20.0, 10.0, measurements)
    assert first_use.here(1.0, measurements) == 2.0


def test_of_several_networks_all_that_are_to_come_are_told(installed_total, hand_over, monkeypatch):
    monkeypatch.setattr(first_use, "LEAST_TOLD_SECONDS", 0.0)
    monkeypatch.setattr(first_use, "LEAST_REMEMBERED_SECONDS", 0.0)
    job = resolve(Job((), model="total", inference=PROCESSOR, steps=steps_at(0.5)))
    events, seconds = [], iter(range(0, 1000, 10))
    listener = FirstUse(Cache(), events.append, clock=lambda: float(next(seconds)))
    listener.follow(task_of(job, Cache()), Lent.holding(image_of(hand_over())))
    for number in (0, 1):
        listener({"event": "part", "number": number, "count": 5, "name": str(number)})
        listener({"event": "stage", "stage": "calibrate"})
        listener({"event": "stage", "stage": "prepare"})
    told = [each["message"] for each in events if each["event"] == "log"]
    assert len(told) == 2
    assert "5 networks are" in told[0]
    assert "40 s more" in told[1]  # four networks, each ten seconds as the first
