"""A device's memory is given back however a run ends."""

from __future__ import annotations

import gc
import importlib
import weakref

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, Job, image_from_array, load_model, prepare, run_job, segment
from TuckerSegLib.errors import Cancelled, OutOfMemoryError, SpecError
from TuckerSegLib.hardware import torch_cpu
from TuckerSegLib.monitor import Monitor

PROCESSOR = InferenceSpec(device="torch:cpu")


@pytest.fixture
def image():
    values = np.random.default_rng(0).normal(size=(20, 20, 20)) * 300
    return image_from_array(values.astype(np.int16), spacing_mm=(3, 3, 3))


run_module = importlib.import_module("TuckerSegLib.jobs.run")
segment_module = importlib.import_module("TuckerSegLib.segmentation.segment")


def stop():
    raise Cancelled


def test_segment_closes_what_it_prepared_itself(make_model_folder, image, open_predictors):
    model = load_model(make_model_folder())
    segment(image, model, PROCESSOR)
    assert open_predictors == [0]
    with pytest.raises(Cancelled):
        segment(image, model, PROCESSOR, Monitor(cancelled=stop))
    assert open_predictors == [0]


def test_segment_leaves_open_what_the_caller_prepared(make_model_folder, image, open_predictors):
    ready = prepare(load_model(make_model_folder()), PROCESSOR)
    segment(image, ready, PROCESSOR)
    assert open_predictors == [1]


def test_a_run_that_fails_closes_what_it_prepared(make_model_folder, tmp_path, open_predictors):
    job = Job(images=(str(tmp_path / "missing.nii.gz"),), model=str(make_model_folder()), inference=PROCESSOR)
    with pytest.raises(Exception, match="missing.nii.gz"):
        run_job(job)
    assert open_predictors == [0]


def test_a_device_too_small_for_the_second_fold_is_said_and_the_first_is_closed(
    make_model_folder, monkeypatch, open_predictors
):
    model = load_model(make_model_folder(folds=("0", "1")))
    whole = torch_cpu.prepare

    def small(load_network, device, spec):
        if open_predictors[0]:
            raise MemoryError
        return whole(load_network, device, spec)

    monkeypatch.setattr(torch_cpu, "prepare", small)
    with pytest.raises(OutOfMemoryError, match="torch:cpu"):
        prepare(model, PROCESSOR)
    assert open_predictors == [0]


def test_a_job_without_an_image_is_refused(make_model_folder):
    with pytest.raises(SpecError, match="names no image"):
        run_job(Job((), model=str(make_model_folder())))


def test_the_image_is_held_by_nobody_while_the_last_network_runs(make_model_folder, small_ct, monkeypatch):
    seen, held = [], []
    read, predict = run_module.image.read_image, segment_module.predict

    def reading(*arguments, **named):
        volume = read(*arguments, **named)
        seen.append(weakref.ref(volume))
        return volume

    def predicting(*arguments):
        gc.collect()
        held.append(seen[0]() is not None)
        return predict(*arguments)

    monkeypatch.setattr(run_module.image, "read_image", reading)
    monkeypatch.setattr(segment_module, "predict", predicting)
    run_job(Job((str(small_ct),), model=str(make_model_folder()), inference=PROCESSOR))
    assert held == [False]
