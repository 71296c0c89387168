"""What is told of all means together before a run: what was asked for, or what an earlier run gave."""

from __future__ import annotations

import pytest

from TuckerSegLib import Cache, InferenceSpec, Job, load_model
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.estimation.timing import planned_setting
from TuckerSegLib.hardware import choose, devices
from TuckerSegLib.image import Geometry
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.allocation_question import asked_in_words
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.records.job import Step

PROCESSOR = InferenceSpec(device="torch:cpu", threads=1)
GEOMETRY = Geometry((40, 40, 40), ((3.0, 0, 0, 0), (0, 3.0, 0, 0), (0, 0, 3.0, 0), (0, 0, 0, 1)))


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def model(folder):
    return load_model(folder)


@pytest.fixture
def measurements(model):
    """Ten seconds for a patch of the original, four for one of half of its operations."""
    known = Measurements(Cache())
    device, _ = choose("torch:cpu", devices())
    setting = planned_setting(model.plans, device, "fp32", PROCESSOR)
    known.add_patch_seconds(setting, model.cost.macs, 10.0)
    known.add_patch_seconds(setting, model.cost.macs // 2, 4.0)
    return known


def estimate_of(model, measurements, **compression):
    job = Job((), inference=PROCESSOR, **compression)
    return Estimator(model, measurements).estimate(GEOMETRY, resolve(job))


def test_a_share_of_the_time_is_estimated_as_it_was_asked_for(model, measurements):
    asked_for = estimate_of(model, measurements, steps=(Step("auto", {"share": 0.3}),))
    network_s = 10.0 * asked_for.patches
    assert asked_for.original_seconds == pytest.approx(network_s, rel=0.01)
    assert asked_for.seconds == pytest.approx(0.3 * network_s, rel=0.01)
    assert any("bounds" in note for note in asked_for.notes)


def test_a_share_of_the_operations_is_counted_as_such(model, measurements):
    asked_for = estimate_of(model, measurements, steps=(Step("auto", {"share": 0.3, "budget": "macs"}),))
    assert asked_for.macs_per_patch == round(0.3 * model.cost.macs)
    assert asked_for.parameters == model.cost.parameters


def test_an_agreement_is_bounded_by_the_original_until_a_run_has_found_its_network(model, measurements):
    before = estimate_of(model, measurements, agreement=0.97)
    assert before.macs_per_patch == model.cost.macs
    assert before.agreement == 0.97
    ((_, spec),) = resolve(Job((), agreement=0.97)).steps
    measurements.add_answer_macs(asked_in_words(model, spec), model.cost.macs // 2)
    after = estimate_of(model, measurements, agreement=0.97)
    assert after.macs_per_patch == pytest.approx(model.cost.macs // 2, abs=1)
    assert after.seconds == pytest.approx(4.0 * after.patches, rel=0.01)


def test_the_whole_strength_is_the_original(model, measurements):
    whole = estimate_of(model, measurements, steps=(Step("auto", {"share": 1.0}),))
    assert (whole.macs_per_patch, whole.agreement) == (model.cost.macs, 1.0)


def test_presets_tell_seconds_where_a_run_has_found_their_network(folder, model, measurements):
    ((_, spec),) = resolve(Job((), agreement=0.93)).steps
    measurements.add_answer_macs(asked_in_words(model, spec), model.cost.macs // 2)
    runs = Runs()
    resolved = resolve(Job((), model=str(folder), inference=PROCESSOR))
    assert runs.seconds_at_agreement(resolved, 0.93, GEOMETRY) == pytest.approx(
        estimate_of(model, measurements, agreement=0.93).seconds
    )
    assert runs.seconds_at_agreement(resolved, 0.97, GEOMETRY) is None
    runs.close()
