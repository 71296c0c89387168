"""Runs of a part of a volume: the box that was asked for, and the box that a fast network finds."""

from __future__ import annotations

import dataclasses
import functools
import json

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, Job, image_from_array, load_model, load_task, run_job, segment
from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import SpecError
from TuckerSegLib.image import Geometry, cropped, oriented
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.models.resolved_job import RoiSearch, resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.preprocessing.preprocess import box_on_network_axes
from TuckerSegLib.preprocessing.roi import Crop
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.records.statistics import RunStatistics
from TuckerSegLib.segmentation.localization import find_box, find_crop, grown
from TuckerSegLib.segmentation.predictor import Network

EXACT = InferenceSpec(precision="fp32", device="torch:cpu", threads=1)
CLASSES = 20
BOX = (slice(10, 27), slice(0, 20), slice(30, 65))


@pytest.fixture
def ct():
    """Smooth values, so that labels by value fill the volume in patches."""
    coarse = torch.randn((1, 1, 6, 7, 8), generator=torch.Generator().manual_seed(2)) * 600
    values = torch.nn.functional.interpolate(coarse, (50, 48, 70), mode="trilinear")[0, 0].numpy()
    return image_from_array(values.clip(-1000, 900).astype(np.int16), spacing_mm=(3.0, 3.0, 3.0))


@pytest.fixture
def by_value(ready_with):
    """A model with a network that knows voxels only: 5 in what is dense, 2 in what is thin; no grid matters to it."""

    def run(patches):
        logits = torch.zeros((len(patches), CLASSES, *patches.shape[2:]))
        logits[:, 5], logits[:, 2] = patches[:, 0] * 1000 - 500, -patches[:, 0] * 1000 - 500
        return logits

    return functools.partial(ready_with, run)


def only(labels: np.ndarray, box) -> np.ndarray:
    kept = np.zeros_like(labels)
    kept[box] = labels[box]
    return kept


@pytest.mark.parametrize("output_grid", ["native", "nearest"])
@pytest.mark.parametrize("name", ["Dataset001_Small", "Dataset297_TotalSegmentator_small"])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.0, 3.5, 2.8)])
def test_a_box_gets_the_labels_of_the_whole_volume_from_fewer_patches(by_value, ct, name, output_grid, spacing):
    ready = by_value(name=name, transpose=(2, 0, 1))
    array, geometry = oriented(ct.array[0], image_from_array(ct.array[0], spacing_mm=spacing).geometry, "AIL")
    turned = image_from_array(np.ascontiguousarray(array), affine=geometry.matrix)
    settings = dataclasses.replace(EXACT, output_grid=output_grid)
    box = tuple(slice(part.start, min(part.stop, size)) for part, size in zip(BOX, array.shape))
    whole, part = segment(turned, ready, settings), segment(turned, ready, settings, crop=Crop(box, note="A part."))
    assert set(np.unique(only(whole.labels, box))) == {0, 2, 5}
    np.testing.assert_array_equal(part.labels, only(whole.labels, box))
    record = part.statistics
    assert record.patches < whole.statistics.patches
    assert record.patches + record.patches_skipped == whole.statistics.patches + whole.statistics.patches_skipped
    assert record.computed_shape == tuple(side.stop - side.start for side in box)
    assert record.volume_shape == whole.statistics.volume_shape
    assert "A part." in record.notes
    assert from_json(RunStatistics, to_json(record)) == record
    assert whole.statistics.computed_shape is None


def test_where_nothing_lies_beside_it_a_box_is_seen_with_its_surroundings(by_value, ct):
    ready = by_value()
    seen = []
    looking = Network(lambda patches: seen.append(patches) or ready.network.run(patches), None, lambda error: False)
    small = (slice(20, 24), slice(40, 44), slice(15, 20))
    result = segment(ct, dataclasses.replace(ready, network=looking), EXACT, crop=Crop(small))
    assert result.labels[small].any()
    (patch,) = seen
    assert (patch == 0).float().mean() < 0.01, "zeros were padded"


def test_a_cut_box_is_all_that_the_networks_see(by_value, ct):
    ready = by_value()
    result = segment(ct, ready, EXACT, crop=Crop(BOX, cut=True))
    alone = segment(cropped(ct, BOX), ready, EXACT)
    np.testing.assert_array_equal(result.labels[BOX], alone.labels)
    np.testing.assert_array_equal(result.labels, only(result.labels, BOX))
    assert result.geometry == ct.geometry
    assert result.statistics.structures == alone.statistics.structures
    assert result.statistics.volume_shape == ct.geometry.shape


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("codes", ["RAS", "PIL", "SLA"])
@pytest.mark.parametrize("crop", [(slice(None),) * 3, (slice(3, 9), slice(0, 4), slice(2, 8))])
def test_a_box_follows_the_axes_of_the_network(make_model_folder, transpose, codes, crop):
    plans = load_model(make_model_folder(transpose=transpose)).plans
    shape, box = (9, 11, 10), (slice(2, 7), slice(0, 5), slice(3, 9))
    mask = np.zeros(shape, dtype=np.uint8)
    mask[box] = 1
    start = Geometry(shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    array, geometry = oriented(mask, start, codes)
    filled = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    stored = tuple(slice(int(hits[0]), int(hits[-1]) + 1) for hits in filled)
    network_box = box_on_network_axes(stored, geometry, plans, crop)
    expected = oriented(array, geometry, plans.orientation)[0].transpose(plans.transpose_forward)[crop]
    there = np.zeros(expected.shape, dtype=np.uint8)
    there[network_box] = 1
    np.testing.assert_array_equal(there, expected)


def test_the_box_of_some_labels_is_the_smallest_that_holds_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = np.where(rng.random((9, 12, 10)) < 0.01, rng.integers(1, 6, (9, 12, 10)), 0).astype(np.uint8)
        places = np.argwhere(np.isin(labels, (2, 5)))
        box = find_box(labels, (2, 5, 77))
        if not len(places):
            assert box is None
            continue
        assert [part.start for part in box] == places.min(axis=0).tolist()
        assert [part.stop for part in box] == (places.max(axis=0) + 1).tolist()
    assert find_box(np.zeros((4, 4, 4), dtype=np.uint8), (1,)) is None


def test_a_margin_ends_at_the_edges_and_holds_what_is_asked_for():
    geometry = Geometry((50, 60, 70), np.diag([2.0, 3.0, 7.0, 1.0]))
    box = grown((slice(1, 20), slice(20, 30), slice(60, 70)), geometry, 20.0)
    assert box == (slice(0, 23), slice(13, 37), slice(50, 70))


def search(structures, cut=False):
    return RoiSearch(resolve(Job((), inference=EXACT)), structures, 9.0, cut)


def test_a_fast_network_finds_the_box_and_its_margin(by_value, ct):
    ready = by_value()
    dense = np.argwhere(segment(ct, ready, EXACT).labels == 5)
    crop = find_crop(ct, ready, search(("structure_5",)))
    assert [part.start for part in crop.box] == (dense.min(axis=0) - 3).clip(0).tolist()
    assert [part.stop for part in crop.box] == np.minimum(dense.max(axis=0) + 4, ct.geometry.shape).tolist()
    assert "9 mm around structure_5" in crop.note


@pytest.mark.parametrize("cut", [False, True])
def test_a_structure_that_is_not_found_means_the_whole_volume(by_value, ct, cut):
    ready = by_value()
    crop = find_crop(ct, ready, search(("structure_5", "structure_7", "no such"), cut))
    if cut:  # what its networks are made for is the box of what there is
        assert crop.box is not None
        crop = find_crop(ct, ready, search(("structure_7",), cut))
    assert crop.box is None
    assert "structure_7" in crop.note


def test_what_is_looked_for_follows_the_catalog():
    assert resolve(Job((), model="total", structures=("liver",))).roi_search is None
    sought = resolve(Job((), model="total", structures=("liver", "kidneys"), crop="auto")).roi_search
    assert (sought.fast.job.model, sought.margin_mm, sought.cut) == ("total_fastest", 20.0, False)
    assert set(sought.structures) == {"liver", "kidney_left", "kidney_right"}
    made_for = resolve(Job((), model="liver_segments")).roi_search
    assert (made_for.fast.job.model, made_for.structures, made_for.cut) == ("total_fastest", ("liver",), True)
    assert resolve(Job((), model="liver_segments", crop="none")).roi_search is None


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (Job((), model="total", crop="auto"), "name them"),
        (Job((), model="demo", structures=("liver",), crop="auto"), "No fast network"),
        (Job((), model="total_fastest", structures=("liver",), crop="auto"), "No fast network"),
    ],
)
def test_a_box_that_cannot_be_looked_for_is_refused(job, why):
    with pytest.raises(SpecError, match=why):
        resolve(job)


@pytest.fixture
def small(ct):
    return cropped(ct, (slice(10, 36), slice(8, 40), slice(20, 56)))


@pytest.fixture
def file(small, tmp_path):
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(small.array[0].transpose(2, 1, 0), small.geometry.matrix), path)
    return path


def found_by(task, ct, inference) -> list[str]:
    """Structures that a task finds, the smallest box first."""
    result = segment(ct, load_task(task), inference)
    values = {name: value for value, name in result.label_names.items()}
    boxes = {each.name: find_box(result.labels, [values[each.name]]) for each in result.statistics.structures}
    return sorted(boxes, key=lambda name: np.prod([part.stop - part.start for part in boxes[name]]))


def test_a_job_computes_the_box_that_the_fast_task_finds(installed_with_fast, small, file):
    fast = dataclasses.replace(EXACT, output_grid="nearest")
    name = found_by("total_v3_fastest", small, fast)[0]
    job = Job((str(file),), model="total_v3_fast", structures=(name,), inference=EXACT, crop="auto")
    result = run_job(job)
    crop = find_crop(small, load_task("total_v3_fastest"), resolve(job).roi_search)
    assert crop.box is not None
    expected = segment(small, load_task("total_v3_fast", [name]), EXACT, crop=crop)
    np.testing.assert_array_equal(result.labels, expected.labels)
    assert crop.note in result.statistics.notes
    assert result.statistics.computed_shape == tuple(part.stop - part.start for part in crop.box)
    assert result.statistics.seconds["locate"] > 0
    whole = run_job(dataclasses.replace(job, crop="none"))
    assert result.statistics.patches <= whole.statistics.patches


def test_networks_that_are_made_for_a_box_get_it_and_no_more(installed_with_fast, small, file, tmp_path):
    labels, record = tmp_path / "labels.nii.gz", tmp_path / "statistics.json"
    arguments = ["segment", str(file), str(labels), "--model", "lung_nodules", "--stats", str(record)]
    arguments += ["--device", "torch:cpu", "--precision", "fp32"]
    assert main(arguments) == 0
    statistics = json.loads(record.read_text())
    box = find_crop(small, load_task("total_fastest"), resolve(Job((), model="lung_nodules")).roi_search).box
    assert statistics["computed_shape"] == [part.stop - part.start for part in box]
    found = np.asarray(nibabel.load(labels).dataobj).T
    task = load_task("lung_nodules")
    assert task.resolved.roi_search.cut and task.resolved.roi_search.structures
    alone = segment(cropped(small, box), task, EXACT)
    np.testing.assert_array_equal(found[box], alone.labels)
    np.testing.assert_array_equal(found, only(found, box))


def test_the_worker_looks_once_for_the_box_of_a_volume(installed_with_fast, small):
    events = []
    runs, monitor = Runs(), Monitor(events.append)
    name = found_by("total_v3_fastest", small, EXACT)[0]
    job = Job((), model="total_v3_fast", structures=(name,), inference=EXACT, crop="auto")
    first, second = (runs.segment(resolve(job), small, monitor) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert [event.get("stage") for event in events].count("locate") == 1
    assert second.statistics.computed_shape == first.statistics.computed_shape is not None
    other = image_from_array(small.array[0] + np.int16(0), affine=small.geometry.matrix)
    runs.segment(resolve(job), other, monitor)
    assert [event.get("stage") for event in events].count("locate") == 2
    runs.close()
