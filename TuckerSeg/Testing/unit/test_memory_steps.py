"""What a prediction does when the device has too little memory."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from TuckerSegLib.errors import OutOfMemoryError
from TuckerSegLib.image import Geometry
from TuckerSegLib.preprocessing.preprocess import PreparedVolume
from TuckerSegLib.records.job import InferenceSpec
from TuckerSegLib.resampling import ResamplingSpec
from TuckerSegLib.segmentation import predictor
from TuckerSegLib.segmentation.predictor import Network, predict

SHAPE = (8, 8, 24)
MODEL = SimpleNamespace(
    plans=SimpleNamespace(patch_shape=(8, 8, 8), region_values=None, logit_channels=2, mirror_axes=())
)


def volume(shape=SHAPE):
    data = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    whole = (slice(None),) * 3
    return PreparedVolume(data, Geometry(shape, np.eye(4)), None, (0, 1, 2), whole, ResamplingSpec(1))


def logits(patches):
    return torch.cat([patches, -patches], dim=1)


def network_that(run):
    return Network(run, None, lambda error: isinstance(error, MemoryError))


def test_a_step_down_frees_the_memory_of_the_attempt_before_it():
    failed, alive = [], []

    def run(patches):
        if len(patches) > 1:
            failed.append(weakref.ref(patches))
            raise MemoryError
        alive.append(failed[0]() is not None)
        return logits(patches)

    found = predict(volume(), MODEL, network_that(run), InferenceSpec(batch_size=2))
    assert "one patch at a time" in found.notes[0]
    assert not any(alive)


def test_planes_that_are_labeled_hold_no_memory_while_the_next_patches_run(monkeypatch):
    slabs, alive = [], []
    whole = predictor.stream

    def watched(*arguments):
        for slab in whole(*arguments):
            slabs.append(weakref.ref(slab.features.untyped_storage()))  # a view of it is enough to hold it
            yield slab
            del slab

    def run(patches):
        alive.append(sum(slab() is not None for slab in slabs))
        return logits(patches)

    monkeypatch.setattr(predictor, "stream", watched)
    predict(volume((24, 8, 8)), MODEL, network_that(run), InferenceSpec())
    assert len(slabs) > 2
    assert not any(alive)


def test_labels_after_a_step_down_are_those_of_a_run_without():
    def run(patches):
        if len(patches) > 1:
            raise MemoryError
        return logits(patches)

    found = predict(volume(), MODEL, network_that(run), InferenceSpec(batch_size=4))
    expected = predict(volume(), MODEL, network_that(logits), InferenceSpec())
    assert expected.labels.any()
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_an_error_that_is_not_about_memory_goes_up_at_once():
    calls = []

    def run(patches):
        calls.append(len(patches))
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        predict(volume(), MODEL, network_that(run), InferenceSpec(batch_size=2))
    assert calls == [2]


def test_too_little_memory_for_one_patch_says_what_to_do():
    def run(patches):
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match="choose another device"):
        predict(volume(), MODEL, network_that(run), InferenceSpec())
