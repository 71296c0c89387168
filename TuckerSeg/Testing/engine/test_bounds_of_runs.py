"""What a run is asked for: numbers within bounds, threads that a system makes, grids that a computer holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from TuckerSegLib import InferenceSpec, Job
from TuckerSegLib.errors import (
    ImageError,
    ModelFileError,
    SpecError,
)
from TuckerSegLib.hardware import torch_threads
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.records.serialization import from_json, to_json

NAN, INFINITY, MANY = float("nan"), float("inf"), 10**9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threads", 0),
        ("threads", 1_000_000),
        ("threads", 2.5),
        ("threads", True),
        ("threads", "2"),
        ("batch_size", 0),
        ("batch_size", MANY),
        ("batch_size", None),
        ("step_fraction", NAN),
        ("step_fraction", INFINITY),
        ("step_fraction", 0),
        ("step_fraction", 1e-9),
        ("step_fraction", "0.5"),
        ("remove_blobs_mm3", NAN),
        ("remove_blobs_mm3", INFINITY),
        ("remove_blobs_mm3", -1),
        ("device", ""),
        ("device", "x" * 100_000),
        ("device", None),
        ("precision", "fp8"),
        ("precision", ["fp32"]),
        ("output_grid", "x"),
    ],
)
def test_a_run_is_asked_for_within_bounds(field, value):
    with pytest.raises(SpecError):
        InferenceSpec(**{field: value})
    with pytest.raises((SpecError, ModelFileError)):
        from_json(Job, {**to_json(Job(("a",))), "inference": {**to_json(InferenceSpec()), field: value}})


@pytest.mark.parametrize("change", [{"images": [1]}, {"model": 7}, {"timepoint": -1}, {"folds": [0]}, {"images": "ct"}])
def test_a_job_says_what_it_means(change):
    with pytest.raises((SpecError, ModelFileError)):
        from_json(Job, {**to_json(Job(("a",))), **change})


def test_no_work_takes_more_threads_than_a_system_makes():
    before = torch.get_num_threads()
    with pytest.raises(SpecError, match="1000000"), torch_threads(1_000_000):
        pass
    assert torch.get_num_threads() == before


def test_a_grid_that_no_computer_holds_is_refused_before_it_is_made(shapes_model, small_image, monkeypatch):
    for spacing, error, words in (((1e-4,) * 3, SpecError, "more than any volume has"), ((0.5,) * 3, ImageError, "GB")):
        monkeypatch.setattr("TuckerSegLib.preprocessing.preprocess.system_memory_bytes", lambda: (10**5, 10**5))
        with pytest.raises(error, match=words):
            preprocess(small_image, replace(shapes_model.plans, spacing_mm=spacing), "nnunet")
