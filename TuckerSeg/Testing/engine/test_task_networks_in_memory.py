"""Which networks of a task are alive at a time, which are read, and that none is left."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib import Cache, InferenceSpec, Job, load_task, run_job
from TuckerSegLib.errors import Cancelled
from TuckerSegLib.hardware import torch_cpu
from TuckerSegLib.models import task as segmentation_task
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import steps_at
from TuckerSegLib.segmentation import prepared_task

PARTS = ["organs", "vertebrae", "cardiac", "muscles", "ribs"]
PROCESSOR = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def networks(installed_total) -> Path:
    return installed_total


@pytest.mark.parametrize("rank_ratio", [1.0, 0.5])
def test_what_is_compiled_already_runs_without_its_weights_being_read(small_ct, monkeypatch, rank_ratio):
    inference = InferenceSpec(device="openvino:cpu", precision="fp32", threads=1)
    job = Job((str(small_ct),), model="total", inference=inference, calibrate="none", steps=steps_at(rank_ratio))
    # As of the published networks, of which none has more classes than features; a head would be read.
    monkeypatch.setattr("TuckerSegLib.models.model.accumulated_channels", lambda model: model.plans.logit_channels)
    first = run_job(job)
    monkeypatch.setattr(segmentation_task, "load_model", lambda *_: pytest.fail("weights were read"))
    again = run_job(job)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert len(np.unique(again.labels)) > 5
    assert again.statistics.compression == first.statistics.compression
    assert again.statistics.notes == first.statistics.notes


def test_beside_a_compression_no_other_network_is_read(monkeypatch):
    second_is_read, seen_beside = threading.Event(), []
    task = load_task("total")
    facts = task.parts[1].facts
    second = replace(task.parts[1], facts=lambda: (second_is_read.set(), facts())[1])

    def compress(model, **settings):
        seen_beside.append(second_is_read.wait(0.3))
        return model

    monkeypatch.setattr(prepared_task, "compress_for_job", compress)
    task = replace(task, parts=(task.parts[0], second))
    ready = prepared_task.prepare_task(task, PROCESSOR, Cache(), Monitor())
    with contextlib.closing(ready):
        ready.begin()
        assert seen_beside == [False]
        assert second_is_read.wait(60)


@pytest.fixture
def prepared(monkeypatch):
    """Networks that were prepared, as weak references, and how many others lived at each time."""
    networks, alive = [], []
    whole = torch_cpu.prepare

    def prepare(load_network, device, spec):
        gc.collect()
        alive.append(sum(reference() is not None for reference in networks))
        predictor = whole(load_network, device, spec)
        networks.append(weakref.ref(predictor._network))
        return predictor

    monkeypatch.setattr(torch_cpu, "prepare", prepare)
    return networks, alive


@pytest.mark.parametrize("rank_ratio", [1.0, 0.5])
def test_one_network_is_alive_at_a_time_and_none_is_left(small_ct, prepared, rank_ratio):
    networks, alive = prepared
    run_job(Job((str(small_ct),), model="total", inference=PROCESSOR, calibrate="none", steps=steps_at(rank_ratio)))
    assert alive == [0] * 5
    gc.collect()
    assert not any(reference() for reference in networks)


def test_cancelling_between_networks_ends_the_run_and_frees_everything(small_ct, prepared, tmp_path):
    networks, _ = prepared
    output, events = tmp_path / "labels.nii.gz", []
    with pytest.raises(Cancelled):
        run_job(
            Job((str(small_ct),), str(output), "total", inference=PROCESSOR),
            events.append,
            cancelled=lambda: any(event.get("part") == 2 for event in events),
        )
    gc.collect()
    assert len(networks) == 1
    assert networks[0]() is None
    assert not output.exists()


def test_the_next_network_is_read_while_one_runs(small_image):
    read = []
    task = load_task("total")
    parts = [replace(part, facts=lambda part=part: read.append(part.name) or part.facts()) for part in task.parts]
    watching = replace(task, parts=tuple(parts))
    with contextlib.closing(prepared_task.prepare_task(watching, PROCESSOR, Cache(), Monitor())) as ready:
        for number, part in enumerate(ready):
            expected = PARTS[: number + 2]
            wait_until(lambda expected=expected: read == expected)
            assert read == expected
            assert part.name == PARTS[number]


def wait_until(true) -> None:
    ends_at = time.monotonic() + 120
    while not true() and time.monotonic() < ends_at:
        time.sleep(0.01)
