"""The step fraction and the weights of patches: what is measured, and that weights do what their names say."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, load_model, prepare, segment
from TuckerSegLib.analysis.accuracy_curve import Case
from TuckerSegLib.errors import SpecError
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.segmentation.step_fractions import StepPoint, measure_steps
from TuckerSegLib.sliding_window import StreamSpec, patch_origins, stream

PROCESSOR = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture
def ready(make_model_folder):
    model = load_model(make_model_folder(patch_shape=(16, 16, 16), spacing=(2.0, 1.5, 1.8)))
    with contextlib.closing(prepare(model, PROCESSOR)) as prepared:
        yield prepared


def test_larger_steps_take_fewer_patches_and_are_compared_with_the_usual_step(ready, small_image):
    points = list(measure_steps(ready, [Case(small_image)], [0.5, 1.0], PROCESSOR, ["gaussian", "flat"]))
    assert [(point.weights, point.step_fraction) for point in points] == [
        ("gaussian", 0.5),
        ("gaussian", 1.0),
        ("flat", 0.5),
        ("flat", 1.0),
    ]
    usual, large, flat, _ = points
    assert usual.agreement == 1
    assert large.patches < usual.patches == flat.patches
    assert 0 < large.agreement < 1 and 0 < flat.agreement < 1
    assert all(point.peak_memory_bytes > 0 and point.network_seconds > 0 for point in points)


def test_other_standards_are_compared_with_where_they_are_given(ready, small_image):
    labels = segment(small_image, ready, replace(PROCESSOR, step_fraction=1.0)).labels
    case = Case(small_image, labels)
    own, other = (
        next(measure_steps(ready, [case], [1.0], PROCESSOR, standards=standards)) for standards in (None, [labels])
    )
    assert other.agreement == own.dice == 1
    assert own.agreement < 1


def test_flat_weights_are_the_plain_mean_of_patches():
    volume = torch.randn((1, 11, 9, 13), generator=torch.Generator().manual_seed(0))
    network = torch.nn.Conv3d(1, 3, 3, padding=1).requires_grad_(False)
    spec = StreamSpec((8, 6, 8), 0.5, weights="flat")
    total, count = torch.zeros((3, *volume.shape[1:])), torch.zeros(volume.shape[1:])
    for z, y, x in patch_origins(volume.shape[1:], spec.patch_shape, 0.5):
        box = (slice(z, z + 8), slice(y, y + 6), slice(x, x + 8))
        total[(slice(None), *box)] += network(volume[(slice(None), *box)][None])[0]
        count[box] += 1
    means = torch.cat([slab.features for slab in stream(volume, network, spec)], dim=1)
    assert (means - total / count).abs().max() < 1e-6
    gaussian = torch.cat([slab.features for slab in stream(volume, network, replace(spec, weights="gaussian"))], dim=1)
    assert (means - gaussian).abs().max() > 1e-3


def test_weights_are_one_of_two_and_old_records_have_gaussian_ones():
    assert "patch_weights" not in to_json(InferenceSpec())
    assert from_json(InferenceSpec, to_json(replace(PROCESSOR, patch_weights="flat"))).patch_weights == "flat"
    with pytest.raises(SpecError, match="gaussian, flat; found 'round'"):
        InferenceSpec(patch_weights="round")


def test_explore_writes_a_table_and_a_picture_of_the_steps(run_here, make_model_folder, small_ct, tmp_path):
    pytest.importorskip("matplotlib")
    out, model = tmp_path / "steps", make_model_folder(patch_shape=(16, 16, 16))
    place = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)
    options = ("--model", model, "--steps", "0.5,1", "--weights", "flat", "--out", out)
    printed = run_here("explore", small_ct, *options, *place)
    assert "agreement" in printed and len((out / "steps.csv").read_text().splitlines()) == 3
    points = [from_json(StepPoint, each) for each in json.loads((out / "steps.json").read_text())]
    assert [(point.step_fraction, point.weights) for point in points] == [(0.5, "flat"), (1.0, "flat")]
    assert (out / "steps.png").read_bytes()[:4] == b"\x89PNG"
    assert not np.isnan(points[0].agreement)
