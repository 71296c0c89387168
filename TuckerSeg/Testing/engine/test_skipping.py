"""Whole runs that leave out patches of air: what they find, what they count, what they tell."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from TuckerSegLib import Cache, InferenceSpec, Job, as_table, image_from_array, load_model, prepare, read_image, segment
from TuckerSegLib.cli.commands.plan import estimate_table
from TuckerSegLib.estimation.network import Estimator
from TuckerSegLib.image import oriented
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.records.statistics import RunStatistics, run_rows
from TuckerSegLib.segmentation.predictor import Network

EXACT = InferenceSpec(precision="fp32", device="torch:cpu")
EVERYTHING = dataclasses.replace(EXACT, skip_empty=False)
CLASSES = 20


def body_in_air(shape=(70, 90, 110), spacing=(3.0, 3.0, 3.0), air=-1000) -> np.ndarray:
    """An ellipsoid of tissue with a lung, low and to one side in much air."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    radius = ((z - 30) / 25) ** 2 + ((y - 55) / 24) ** 2 + ((x - 40) / 30) ** 2
    values = np.full(shape, air, dtype=np.int16)
    values[radius <= 1] = 40
    values[((z - 30) / 12) ** 2 + ((y - 55) / 12) ** 2 + ((x - 30) / 10) ** 2 <= 1] = -850
    noise = np.random.default_rng(0).integers(-20, 20, shape).astype(np.int16)
    return values + noise


@pytest.fixture
def by_value(ready_with):
    """A model with a network that knows voxels only, tissue from the rest: its labels depend on no grid of patches."""

    def run(patches):
        logits = torch.zeros((len(patches), CLASSES, *patches.shape[2:]))
        logits[:, 3] = patches[:, 0] * 1000  # normalized, 0 lies at 20 HU
        return logits

    return functools.partial(ready_with, run)


@pytest.mark.parametrize("name", ["Dataset001_Small", "Dataset297_TotalSegmentator_small"])
@pytest.mark.parametrize("codes", ["RAS", "PIL"])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.5, 3.5, 3.0)])
def test_labels_do_not_change_and_patches_are_spared(by_value, name, codes, spacing):
    ready = by_value(name=name, transpose=(1, 0, 2))
    ct = image_from_array(body_in_air(), spacing_mm=spacing)
    array, geometry = oriented(ct.array[0], ct.geometry, codes)
    ct = image_from_array(np.ascontiguousarray(array), affine=geometry.matrix)
    whole, spared = segment(ct, ready, EVERYTHING), segment(ct, ready, EXACT)
    assert whole.labels.any()
    np.testing.assert_array_equal(spared.labels, whole.labels)
    assert whole.statistics.patches_skipped == 0
    assert 0 < spared.statistics.patches < whole.statistics.patches
    assert spared.statistics.patches + spared.statistics.patches_skipped == whole.statistics.patches


def test_a_body_that_one_patch_holds_takes_one(by_value):
    ready, ct = by_value(patch_shape=(64, 64, 76)), image_from_array(body_in_air(), spacing_mm=(3, 3, 3))
    whole, spared = segment(ct, ready, EVERYTHING), segment(ct, ready, EXACT)
    assert (whole.statistics.patches, spared.statistics.patches) == (8, 1)
    assert whole.labels.any()
    np.testing.assert_array_equal(spared.labels, whole.labels)


def test_what_is_counted_is_what_was_run(by_value):
    ready = by_value()
    calls = []
    counting = Network(
        lambda patches: calls.append(len(patches)) or ready.network.run(patches), None, ready.network.is_out_of_memory
    )
    events = []
    ct = image_from_array(body_in_air(), spacing_mm=(3, 3, 3))
    statistics = segment(ct, dataclasses.replace(ready, network=counting), EXACT, Monitor(events.append)).statistics
    assert statistics.patches == sum(calls)
    assert statistics.patches_skipped > 0
    assert statistics.macs_per_volume == statistics.macs_per_patch * statistics.patches
    progress = [event for event in events if event["event"] == "progress"]
    assert [event["done"] for event in progress if event["stage"] == "network"] == list(range(1, len(calls) + 1))
    assert {event["total"] for event in progress if event["stage"] == "network"} == {len(calls)}
    planes = [event for event in progress if event["stage"] == "finish"]
    assert planes[-1]["done"] == planes[-1]["total"]
    assert f"({statistics.patches_skipped} skipped)" in as_table(statistics)
    assert ("patches skipped", str(statistics.patches_skipped)) in run_rows(statistics)
    assert from_json(RunStatistics, to_json(statistics)) == statistics
    older = {name: value for name, value in to_json(statistics).items() if name != "patches_skipped"}
    assert from_json(RunStatistics, older).patches_skipped == 0


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (body_in_air() + 1024, "Hounsfield"),
        (np.random.default_rng(0).integers(-1000, -500, (70, 90, 110)).astype(np.int16), "no body was found"),
    ],
)
def test_where_there_is_doubt_everything_is_run_and_told(by_value, values, note):
    statistics = segment(image_from_array(values, spacing_mm=(3, 3, 3)), by_value(), EXACT).statistics
    assert statistics.patches_skipped == 0
    (told,) = [each for each in statistics.notes if each.startswith("No patch was skipped as air")]
    assert note in told


@pytest.mark.parametrize(("name", "border"), [("Dataset001_Small", 0), ("Dataset297_TotalSegmentator_small", -1024)])
def test_with_its_voxels_at_hand_an_estimate_counts_what_will_be_run(by_value, name, border):
    ready, job = by_value(name=name), resolve(Job((), inference=EXACT))
    values = np.pad(body_in_air(), ((0, 0), (6, 0), (0, 9)), constant_values=border)  # zeros are cropped by nnU-Net
    ct = image_from_array(values, spacing_mm=(2.5, 3.5, 3.0))
    ran = segment(ct, ready, EXACT).statistics
    estimator = Estimator(ready.model, Measurements(Cache()))
    counted, bound = estimator.estimate(ct, job), estimator.estimate(ct.geometry, job)
    assert ran.patches_skipped > 0
    assert (counted.patches, counted.patches_skipped) == (ran.patches, ran.patches_skipped)
    assert counted.macs_per_volume == ran.macs_per_volume
    assert bound.patches_skipped is None
    assert bound.patches >= ran.patches + ran.patches_skipped
    assert "up to" in estimate_table(bound)
    assert "up to" not in estimate_table(counted)
    everything = estimator.estimate(ct.geometry, resolve(Job((), inference=EVERYTHING)))
    assert (everything.patches, everything.patches_skipped) == (bound.patches, 0)


def test_only_ct_is_looked_at(by_value):
    ct = image_from_array(body_in_air(), spacing_mm=(3, 3, 3))
    assert segment(ct, by_value(normalization="ZScoreNormalization"), EXACT).statistics.patches_skipped == 0


def test_air_around_a_real_ct_changes_its_labels_less_where_it_is_skipped(shared_data, coarse_demo):
    """A grid over the body lies nearly where that of the CT without the air does; one over all of it lies elsewhere."""
    bare, border = read_image(shared_data / "data" / "cip_chest_64.nii.gz"), 15
    wide = image_from_array(np.pad(bare.array[0], border, constant_values=-1024), affine=bare.geometry.matrix)
    ready = prepare(load_model(coarse_demo))
    alone = segment(bare, ready)
    whole, spared = (segment(wide, ready, InferenceSpec(skip_empty=skip)) for skip in (False, True))
    assert alone.statistics.patches_skipped == 0
    assert (whole.statistics.patches, spared.statistics.patches) == (12, 4)
    inside = (slice(border, -border),) * 3
    found = alone.labels > 0
    same = {name: (run.labels[inside] == alone.labels)[found].mean() for name, run in (("all", whole), ("few", spared))}
    assert same["few"] > same["all"] > 0


@pytest.mark.parametrize("name", ["cip_chest_64", "elastix_lung_small", "example_ct", "ts_s0002", "ts_s0003"])
def test_real_cts_that_fill_their_field_of_view_keep_every_patch(shared_data, demo_folder, name):
    from TuckerSegLib.preprocessing.preprocess import grid_shape
    from TuckerSegLib.preprocessing.roi_finder import RoiFinder
    from TuckerSegLib.sliding_window import select_patches

    plans, ct = load_model(str(demo_folder)).plans, read_image(shared_data / "data" / f"{name}.nii.gz")
    shape = grid_shape(ct.geometry, plans, "nnunet")
    roi, notes = RoiFinder(InferenceSpec(step_fraction=0.5)).find(ct, shape, plans, "nnunet")
    assert not notes
    assert select_patches(shape, plans.patch_shape, 0.5, roi.mask).skipped == 0
