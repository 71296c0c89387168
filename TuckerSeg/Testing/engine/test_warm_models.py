"""Models that stay ready: what is kept, what is given back, and what happens when a device is full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, Job, image_from_array
from TuckerSegLib.errors import Cancelled, OutOfMemoryError
from TuckerSegLib.hardware import torch_cpu
from TuckerSegLib.jobs import warm_models
from TuckerSegLib.jobs.warm_models import MOST_READY, WarmModels
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor


@pytest.fixture
def job(make_model_folder):
    return Job((), model=str(make_model_folder()), inference=InferenceSpec(device="torch:cpu", threads=1))


@pytest.fixture
def context():
    return Monitor()


@pytest.fixture
def image():
    values = np.random.default_rng(0).normal(size=(40, 40, 40)) * 300
    return image_from_array(values.astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture
def fine_image(image):
    """On the grid of the task of several networks, where it makes few patches."""
    return image_from_array(image.array[0], spacing_mm=(1.5, 1.5, 1.5))


def at(job, rank_ratio):
    return replace(job, method="tucker", compression={"rank_ratio": rank_ratio})


def ready(models, job):
    return models.ready(resolve(job), Monitor())


def test_the_same_model_is_ready_at_once_and_other_settings_make_another(job, open_predictors):
    models = WarmModels()
    first = ready(models, at(job, 0.5))
    assert ready(models, at(job, 0.5)) is first
    faster = replace(job.inference, step_fraction=0.9, mirroring=True, output_grid="nearest")
    assert ready(models, at(replace(job, inference=faster), 0.5)) is first
    assert ready(models, at(replace(job, inference=replace(job.inference, batch_size=2)), 0.5)) is not first
    models.close()
    assert open_predictors == [0]


def test_ratios_that_change_nothing_share_the_original(job, open_predictors):
    models = WarmModels()
    assert ready(models, at(job, 0.999)) is ready(models, job)
    assert open_predictors == [1]
    models.close()


def test_the_least_recently_used_is_given_back(job, open_predictors):
    models = WarmModels()
    original, half = ready(models, job), ready(models, at(job, 0.5))
    assert ready(models, job) is original
    ready(models, at(job, 0.3))
    assert open_predictors == [MOST_READY]
    assert ready(models, job) is original
    assert ready(models, at(job, 0.5)) is not half
    models.close()
    assert open_predictors == [0]


def test_a_model_is_read_once_while_its_files_stay(job, monkeypatch):
    read = []
    whole = warm_models.load_model
    monkeypatch.setattr(warm_models, "load_model", lambda *arguments: read.append(arguments) or whole(*arguments))
    models = WarmModels()
    first = models.original(job.model)
    assert models.original(job.model) is first
    assert models.original(job.model, ("0",)).key == first.key
    assert len(read) == 2  # folds that were named may not be all there will be


def test_a_full_device_is_cleared_before_a_model_is_refused(job, open_predictors, monkeypatch):
    whole = torch_cpu.prepare

    def small(load_network, device, spec):
        if open_predictors[0]:
            raise MemoryError
        return whole(load_network, device, spec)

    monkeypatch.setattr(torch_cpu, "prepare", small)
    models = WarmModels()
    ready(models, job)
    ready(models, at(job, 0.5))
    assert open_predictors == [1]
    models.close()
    open_predictors[0] = 1  # somebody else's
    with pytest.raises(OutOfMemoryError):
        ready(models, job)


def test_a_run_that_fills_the_device_is_done_again_without_the_other_models(
    job, open_predictors, monkeypatch, image, context
):
    whole, calls = torch_cpu.TorchPredictor.__call__, []

    def full(self, patches):
        calls.append(open_predictors[0])
        if open_predictors[0] > 1:
            raise MemoryError
        return whole(self, patches)

    runs = Runs()
    expected = runs.segment(resolve(job), image, context).labels
    runs.segment(resolve(at(job, 0.5)), image, context)
    monkeypatch.setattr(torch_cpu.TorchPredictor, "__call__", full)
    np.testing.assert_array_equal(runs.segment(resolve(job), image, context).labels, expected)
    assert calls[0] == 2
    assert open_predictors == [1]
    open_predictors[0] = 2  # somebody else's
    with pytest.raises(OutOfMemoryError):
        runs.segment(resolve(job), image, context)
    open_predictors[0] = 1
    runs.close()
    assert open_predictors == [0]


def test_compressing_can_be_stopped_between_layers_and_leaves_nothing_half_done(job, monkeypatch):
    asked = []

    def stop_in_the_middle():
        asked.append(None)
        return len(asked) == 4

    models = WarmModels()
    with pytest.raises(Cancelled):
        models.ready(resolve(at(job, 0.5)), Monitor(cancelled=stop_in_the_middle))
    assert ready(models, at(job, 0.5)).model.recipes
    models.close()


def test_a_task_of_several_networks_leaves_what_is_warm_alone(
    job, open_predictors, installed_total, fine_image, context
):
    runs = Runs()
    runs.segment(resolve(job), fine_image, context)
    warm = ready(runs._models, job)
    several = replace(job, model="total", structures=("liver", "ribs"))
    assert len(runs.segment(resolve(several), fine_image, context).statistics.parts) == 2
    assert open_predictors == [1]
    assert ready(runs._models, job) is warm
    organs = replace(several, structures=("liver",))  # one network: kept as any other
    runs.segment(resolve(organs), fine_image, context)
    assert open_predictors == [2]
    assert ready(runs._models, organs) is ready(runs._models, organs)
    runs.close()
    assert open_predictors == [0]


def test_a_network_of_several_that_fills_the_device_is_run_again_without_what_is_warm(
    job, open_predictors, installed_total, fine_image, context, monkeypatch
):
    runs, whole = Runs(), torch_cpu.prepare
    several = replace(job, model="total", structures=("liver", "ribs"))
    expected = runs.segment(resolve(several), fine_image, context).labels
    runs.segment(resolve(job), fine_image, context)

    def small(load_network, device, spec):
        if open_predictors[0]:
            raise MemoryError
        return whole(load_network, device, spec)

    monkeypatch.setattr(torch_cpu, "prepare", small)
    np.testing.assert_array_equal(runs.segment(resolve(several), fine_image, context).labels, expected)
    assert open_predictors == [0]
