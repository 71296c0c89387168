"""The memory of a run and of a calibration is foretold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from Testing.engine.estimated_jobs import by_default, image_of
from Testing.engine.running_worker import LIBRARY_FOLDER
from TuckerSegLib import (
    Cache,
    InferenceSpec,
    Job,
    calibrate_model,
    hardware,
    load_model,
)
from TuckerSegLib.estimation.memory import predicted_peak_memory_bytes
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.image import Geometry
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.calibration import store_calibration
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.records.estimate import Estimate
from TuckerSegLib.records.serialization import from_json, to_json


@pytest.fixture
def measurements():
    return Measurements(Cache())


STRAIGHT = ((0.8, 0, 0, 0), (0, 0.8, 0, 0), (0, 0, 1.5, 0), (0, 0, 0, 1))
COARSE = ((3.0, 0, 0, 0), (0, 3.0, 0, 0), (0, 0, 3.0, 0), (0, 0, 0, 1))


@pytest.mark.parametrize(
    ("device", "rank", "shape", "affine"),
    [("openvino:cpu", 1.0, (120, 512, 512), STRAIGHT), ("torch:cpu", 0.5, (112, 107, 110), COARSE)],
    ids=["the volume takes most", "the network takes most"],
)
def test_the_peak_memory_of_the_built_in_model_is_foretold(
    start_worker, hand_over, job_for, tmp_path, device, rank, shape, affine
):
    """A fresh process each, for a peak is of a process's whole life."""
    volume, worker = hand_over(shape, affine), start_worker(cold=True)
    job = job_for("demo", rank, device=device, step_fraction=1.0)
    place = {"shape": shape, "affine": affine}
    told = from_json(Estimate, worker.ask("estimate", job=job, **place, measure=False)["estimate"])
    answer = worker.ask(
        "segment", job=job, volume=volume.document, labels=str(tmp_path / "labels.npy"), structures=None
    )
    taken = answer["statistics"]["peak_memory_bytes"]
    assert 0.7 < told.peak_memory_bytes / taken < 1.33
    assert told.fits == (told.peak_memory_bytes <= told.free_memory_bytes)
    assert from_json(Estimate, to_json(told)) == told


def test_of_a_coarse_volume_with_the_nearest_output_less_is_foretold_to_be_held(make_model_folder, hand_over):
    model = load_model(make_model_folder(spacing=(1.0, 1.0, 1.0), labels={"background": 0, "a": 1, "b": 2}))
    (processor,) = [device for device in hardware.devices() if device.id == "torch:cpu"]

    def told(size, spacing_mm, output_grid):
        affine = tuple(map(tuple, np.diag([spacing_mm] * 3 + [1.0])))
        inference = InferenceSpec(output_grid=output_grid, step_fraction=0.5)
        return predicted_peak_memory_bytes(model, Geometry((size,) * 3, affine), processor, "fp32", inference)

    sums = 32 * 128**2 * (3 * 4 + 4)  # of a layer of patches: logits and weights
    assert told(64, 2.0, "native") - told(64, 2.0, "nearest") == pytest.approx(sums * 7 / 8, rel=0.01)
    assert told(128, 1.0, "native") == told(128, 1.0, "nearest")


def test_of_a_network_that_is_compiled_already_no_weights_are_counted_beside_it(make_model_folder, measurements):
    model, geometry = load_model(make_model_folder()), Geometry((40, 40, 40), COARSE)
    job = resolve(Job((), inference=InferenceSpec(device="openvino:cpu", precision="fp32")))
    before = Estimator(model, measurements).estimate(geometry, job).peak_memory_bytes
    Cache().compiled_folder(model.key).mkdir(parents=True)
    after = Estimator(model, measurements).estimate(geometry, job).peak_memory_bytes
    assert before - after == pytest.approx(2.5 * model.weight_bytes, abs=1)


CALIBRATED = """
import sys
from TuckerSegLib import calibrate_model, hardware, image_from_array, load_model
from TuckerSegLib.estimation.memory import calibration_bytes
from TuckerSegLib.models import calibration
from TuckerSegLib.models.fresh import fresh_model
from TuckerSegLib.nnunet.narrower import narrower_plans
import numpy as np
calibration.has_built_in_volumes = lambda model: False
model, noise = load_model(sys.argv[1]), np.random.default_rng(0).normal(size=(80, 80, 80))
volume = image_from_array(noise.astype(np.float32), spacing_mm=(3, 3, 3))
for base in (4, 8):
    narrow = fresh_model(narrower_plans(model.plans, base), 0)
    passes = calibration_bytes(narrow)
    hardware.forget_peak_memory()
    before = hardware.held_memory_bytes()
    calibrate_model(narrow, volume)
    print(passes, hardware.peak_memory_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a peak cannot be forgotten there")
def test_the_memory_of_a_calibration_is_foretold_of_narrow_networks_too(make_model_folder):
    """In a process of its own, whose memory is nobody else's."""
    command = [sys.executable, "-c", CALIBRATED, make_model_folder(patch_shape=(80, 80, 80))]
    done = subprocess.run(command, cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():  # the process itself is more than these networks
        told, taken = map(int, line.split())
        assert 0.65 < told / taken < 1.5, done.stdout


def test_a_plan_counts_the_calibration_only_where_one_is_due(make_model_folder, hand_over, measurements):
    model, volume = load_model(make_model_folder(patch_shape=(48, 48, 48))), image_of(hand_over())
    estimator, geometry = Estimator(model, measurements), volume.geometry

    def told(job):
        return estimator.estimate(geometry, job).peak_memory_bytes

    due = by_default(0.5)
    without = replace(due, job=replace(due.job, calibrate="none"))
    assert told(due) > told(without) == told(by_default(1.0))
    store_calibration(model, calibrate_model(model, volume), Cache())
    assert told(due) == told(without)
    assert told(replace(due, job=replace(due.job, calibrate="volume"))) > told(due)
