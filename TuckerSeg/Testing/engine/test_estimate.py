"""What is told before a run, against what the run then says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from Testing.engine.estimated_jobs import PROCESSOR, by_default, image_of
from TuckerSegLib import (
    Cache,
    InferenceSpec,
    Job,
    compress,
    load_model,
    prepare,
    run_job,
    segment,
)
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import BackendError, SpecError
from TuckerSegLib.estimation import network as module
from TuckerSegLib.estimation.network import NOT_MEASURED, Estimator
from TuckerSegLib.estimation.timing import INTERPOLATED
from TuckerSegLib.jobs.warm_runs import measure_patch
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.resolved_job import ResolvedJob, resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.estimate import Estimate

FLIPPED = ((0, 0, 3.0, -20), (-2.0, 0, 0, 60), (0, 1.5, 0, 10), (0, 0, 0, 1))


def job_at(rank_ratio: float = 0.5, inference: InferenceSpec = PROCESSOR, **settings) -> ResolvedJob:
    if rank_ratio == 1:
        return resolve(Job((), inference=inference))
    return resolve(Job((), method="tucker", compression={"rank_ratio": rank_ratio, **settings}, inference=inference))


@pytest.fixture
def measurements():
    return Measurements(Cache())


@pytest.mark.parametrize(
    ("folder", "inference", "rank_ratio"),
    [
        ({}, {}, 1.0),
        ({"folds": ("0", "1")}, {"step_fraction": 0.4}, 0.5),
        ({"mirror_axes": (0, 1, 2)}, {"mirroring": True, "step_fraction": 1.0}, 0.3),
        ({"mirror_axes": None}, {"mirroring": True}, 0.5),
        ({"patch_shape": (16, 32, 48), "spacing": (5.0, 3.0, 2.0), "transpose": (1, 2, 0)}, {}, 0.5),
        ({"name": "Dataset298_TotalSegmentator", "residual": True}, {}, 0.5),
    ],
)
@pytest.mark.parametrize("affine", [FLIPPED, None])
def test_counts_are_exactly_those_of_the_run(
    make_model_folder, hand_over, measurements, folder, inference, rank_ratio, affine
):
    inference = InferenceSpec(device="torch:cpu", threads=1, **inference)
    model = load_model(make_model_folder(**folder))
    volume = image_of(hand_over(**({"affine": affine} if affine else {})))
    told = Estimator(model, measurements).estimate(volume.geometry, job_at(rank_ratio, inference))
    run = segment(volume, model if rank_ratio == 1 else compress(model, Spec(rank_ratio=rank_ratio)), inference)
    names = ("parameters", "macs_per_patch", "macs_per_volume")
    for name in ("patches", *names, *(f"original_{name}" for name in names), "device", "precision"):
        assert getattr(told, name) == getattr(run.statistics, name), name


def test_nothing_is_loaded_run_or_decomposed_for_it(make_model_folder, hand_over, measurements, monkeypatch):
    model = load_model(make_model_folder())
    geometry = image_of(hand_over()).geometry
    for name in ("network", "head"):
        monkeypatch.setattr(type(model), name, lambda *arguments: pytest.fail("weights were touched"), raising=True)
    monkeypatch.setattr(module, "predicted_peak_memory_bytes", lambda *arguments: 1)  # asks the head for its size
    assert Estimator(model, measurements).estimate(geometry, job_at()).macs_per_patch


def test_a_compression_is_planned_once(make_model_folder, hand_over, measurements, monkeypatch):
    planned = []
    whole = module.Estimator._planned
    monkeypatch.setattr(
        module.Estimator, "_planned", lambda self, *arguments: planned.append(arguments) or whole(self, *arguments)
    )
    estimator = Estimator(load_model(make_model_folder()), measurements)
    geometry = image_of(hand_over()).geometry
    for rank_ratio in (0.5, 0.4, 0.5, 0.4):
        estimator.estimate(geometry, job_at(rank_ratio))
    assert len(planned) == 2


def test_a_compressed_file_is_told_as_it_is_and_not_compressed_again(
    make_model_folder, hand_over, measurements, tmp_path
):
    original = load_model(make_model_folder())
    compress(original, Spec(rank_ratio=0.5)).save(tmp_path / "small.tuckerseg")
    model, volume = load_model(tmp_path / "small.tuckerseg"), image_of(hand_over())
    told = Estimator(model, measurements).estimate(volume.geometry, job_at(1.0))
    assert told.parameters == model.cost.parameters < told.original_parameters == original.cost.parameters
    assert (told.agreement, told.agreement_source) == (None, NOT_MEASURED)
    with pytest.raises(SpecError, match="compressed already"):
        Estimator(model, measurements).estimate(volume.geometry, job_at(0.5))


def test_seconds_are_unknown_until_something_was_measured(make_model_folder, hand_over, measurements):
    model, volume = load_model(make_model_folder()), image_of(hand_over())
    estimator = Estimator(model, measurements)
    told = estimator.estimate(volume.geometry, job_at())
    assert (told.seconds, told.original_seconds, told.notes) == (None, None, ())
    ready = prepare(compress(model, Spec(rank_ratio=0.5)), PROCESSOR)
    measure_patch(ready, PROCESSOR, measurements)
    foretold = estimator.estimate(volume.geometry, job_at()).seconds
    assert estimator.estimate(volume.geometry, job_at()).original_seconds is None
    assert foretold > 0


def test_a_run_from_files_is_remembered(make_model_folder, hand_over, measurements, tmp_path):
    import nibabel

    volume, folder = hand_over(), make_model_folder()
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), np.asarray(volume.file.affine)), path)
    statistics = run_job(Job((str(path),), model=str(folder), inference=PROCESSOR)).statistics
    told = Estimator(load_model(folder), measurements).estimate(image_of(volume).geometry, job_at(1.0))
    (part,) = statistics.parts  # of the network alone: the whole run checks its labels, too
    taken = sum(part.seconds[stage] for stage in ("preprocess", "network", "finish"))
    assert told.seconds == pytest.approx(taken, rel=1e-3)


def test_between_two_measured_ranks_seconds_are_interpolated_and_said_to_be(make_model_folder, hand_over, measurements):
    model, geometry = load_model(make_model_folder()), image_of(hand_over()).geometry
    estimator = Estimator(model, measurements)
    slow, between, fast = (estimator.estimate(geometry, job_at(rank)) for rank in (1.0, 0.5, 0.3))
    assert fast.macs_per_patch < between.macs_per_patch < slow.macs_per_patch
    setting = module.planned_setting(model.plans, *device_of(slow), PROCESSOR)
    measurements.add_voxel_seconds(setting, 0.0)
    measurements.add_patch_seconds(setting, slow.macs_per_patch, 4.0)
    assert estimator.estimate(geometry, job_at(0.5)).seconds is None
    measurements.add_patch_seconds(setting, fast.macs_per_patch, 2.0)
    told = estimator.estimate(geometry, job_at(0.5))
    share = (between.macs_per_patch - fast.macs_per_patch) / (slow.macs_per_patch - fast.macs_per_patch)
    assert told.seconds == pytest.approx((2 + 2 * share) * told.patches)
    assert told.notes == (INTERPOLATED,)
    assert estimator.estimate(geometry, job_at(0.3)).notes == ()


def device_of(told: Estimate):
    from TuckerSegLib import hardware

    return next(device for device in hardware.devices() if device.id == told.device), told.precision


def test_measurements_of_other_settings_do_not_count(make_model_folder, hand_over, measurements):
    model, geometry = load_model(make_model_folder()), image_of(hand_over()).geometry
    measure_patch(prepare(model, PROCESSOR), PROCESSOR, measurements)
    estimator = Estimator(model, measurements)
    assert estimator.estimate(geometry, job_at(1.0)).seconds is not None
    for change in ({"threads": 2}, {"batch_size": 2}):
        other = replace(PROCESSOR, **change)
        assert estimator.estimate(geometry, job_at(1.0, other)).seconds is None
    another = Estimator(load_model(make_model_folder("Dataset003_Another", residual=True)), measurements)
    assert another.estimate(geometry, job_at(1.0)).seconds is None


def test_the_original_agrees_with_itself_and_a_rank_only_where_it_was_measured(
    make_model_folder, hand_over, measurements
):
    model, geometry = load_model(make_model_folder()), image_of(hand_over()).geometry
    estimator = Estimator(model, measurements)
    for rank_ratio in (1.0, 0.999):  # the second changes no layer
        told = estimator.estimate(geometry, job_at(rank_ratio))
        assert (told.agreement, told.agreement_source) == (1.0, "this is the original network")
    told = estimator.estimate(geometry, job_at(0.5))
    assert (told.agreement, told.agreement_source) == (None, NOT_MEASURED)
    measurements.add_agreement(compress(model, Spec(rank_ratio=0.5)).key, "my CT", 0.75)
    told = estimator.estimate(geometry, job_at(0.5))
    assert (told.agreement, told.agreement_source) == (0.75, "measured on my CT with Compare strengths")


def test_the_built_in_network_s_agreement_is_known_beforehand(hand_over, measurements, tmp_path):
    model, geometry = load_model("demo"), image_of(hand_over()).geometry
    estimator = Estimator(model, measurements)
    told = estimator.estimate(geometry, by_default(0.85))
    assert told.agreement == pytest.approx(0.98, abs=0.02)
    assert told.agreement_source == "measured on the built-in volume"
    between = estimator.estimate(geometry, by_default(0.87))
    assert between.agreement == told.agreement  # the next strength below is what it is at least
    assert between.agreement_source == "measured on the built-in volume at strength 0.85"
    assert estimator.estimate(geometry, job_at(0.85)).agreement is None  # another policy
    compress(model, Spec.at(0.85)).save(tmp_path / "small.tuckerseg")
    file = Estimator(load_model(tmp_path / "small.tuckerseg"), measurements)
    assert file.estimate(geometry, job_at(1.0)).agreement is None  # ranks from the weights alone: not what was measured
    measurements.add_agreement(compress(model, Spec(rank_ratio=0.85)).key, "my CT", 0.5)
    assert estimator.estimate(geometry, job_at(0.85)).agreement_source == "measured on my CT with Compare strengths"


def test_an_estimate_is_exact_once_the_model_is_calibrated(make_model_folder, hand_over, measurements):
    model, volume = load_model(make_model_folder()), image_of(hand_over())
    estimator, job = Estimator(model, measurements), by_default(0.5)
    before = estimator.estimate(volume.geometry, job)
    assert "settled" in before.notes[0]
    made = compress_for_job(model, job, Cache(), Monitor(), lambda: volume)
    after = estimator.estimate(volume.geometry, job)
    assert after.notes == ()
    assert (after.macs_per_patch, after.parameters) == (made.cost.macs, made.cost.parameters)
    assert after.macs_per_patch <= before.macs_per_patch


def test_what_cannot_run_cannot_be_estimated(make_model_folder, hand_over, measurements):
    estimator = Estimator(load_model(make_model_folder()), measurements)
    geometry = image_of(hand_over()).geometry
    with pytest.raises(SpecError, match="rank_ratio"):
        estimator.estimate(geometry, job_at(2.0))
    with pytest.raises(BackendError, match="tpu"):
        estimator.estimate(geometry, job_at(0.5, InferenceSpec(device="tpu")))


def test_the_worker_measures_one_patch_where_it_must_and_only_then(start_worker, hand_over, make_model_folder, job_for):
    worker, volume = start_worker(), hand_over()
    job = job_for(make_model_folder(), 0.5)
    question = {"job": job, "shape": volume.document["shape"], "affine": volume.document["affine"]}
    assert worker.ask("estimate", **question, measure=False)["estimate"]["seconds"] is None
    measured = worker.ask("estimate", **question, measure=True)["estimate"]
    assert measured["seconds"] > 0
    assert measured["original_seconds"] > 0
    for measure in (False, True):
        assert worker.ask("estimate", **question, measure=measure)["estimate"]["seconds"] == measured["seconds"]
