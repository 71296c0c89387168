"""The preview is the ordinary path on the one patch around a point."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, catalog, compress, image_from_array, load_model, prepare, segment
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import Cancelled, ImageError
from TuckerSegLib.image import Geometry
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.segmentation.predictor import predict
from TuckerSegLib.segmentation.preview import patch_box, preview

STRAIGHT = ((2.0, 0, 0, -80), (0, 2.5, 0, 40), (0, 0, 4.0, 5), (0, 0, 0, 1))
FLIPPED = ((-1.5, 0, 0, 30), (0, -2.0, 0, -40), (0, 0, -3.5, 5), (0, 0, 0, 1))
SAGITTAL = ((0, 0, 3.0, -20), (-2.0, 0, 0, 60), (0, 1.5, 0, 10), (0, 0, 0, 1))
TILT = math.cos(0.3), math.sin(0.3)
OBLIQUE = ((2 * TILT[0], -2 * TILT[1], 0, 7), (2 * TILT[1], 2 * TILT[0], 0, -9), (0, 0, 3.0, 11), (0, 0, 0, 1))
AFFINES = {"straight": STRAIGHT, "flipped": FLIPPED, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def position(affine, index_zyx) -> list[float]:
    """RAS mm of a voxel (Z, Y, X)."""
    return (np.asarray(affine, dtype=float) @ [*index_zyx[::-1], 1.0])[:3].tolist()


def image_of(volume):
    return image_from_array(volume.voxels, affine=np.asarray(volume.file.affine))


@pytest.fixture
def ready(make_model_folder):
    model = compress(load_model(make_model_folder()), Spec(rank_ratio=0.5))
    with contextlib.closing(prepare(model)) as prepared:
        yield prepared


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("where", [(0.5, 0.5, 0.5), (0.1, 0.9, 0.4), (0.0, 0.0, 1.0)])
def test_it_gives_what_the_ordinary_path_gives_on_the_same_part(hand_over, ready, name, where):
    affine = AFFINES[name]
    volume = hand_over((70, 80, 90), affine)
    point = position(affine, [fraction * (size - 1) for fraction, size in zip(where, volume.voxels.shape)])
    found, box = preview(image_of(volume), ready, InferenceSpec(), point)

    moved = np.array(affine, dtype=float)
    moved[:3, 3] = position(affine, [part.start for part in box])
    crop = image_from_array(volume.voxels[box].copy(), affine=moved)
    plans = ready.model.plans
    prepared = preprocess(crop, plans, plans.resampling_convention)
    expected = predict(prepared, ready.model, ready.network, InferenceSpec())
    assert expected.patches == 1
    assert expected.labels.any()
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("dataset", ["Dataset001_Small", "Dataset298_TotalSegmentator"])
def test_its_part_is_one_whole_patch_around_the_point(hand_over, make_model_folder, name, transpose, dataset):
    """Of a network whose patch and spacing differ from axis to axis."""
    folder = make_model_folder(dataset, patch_shape=(16, 32, 48), spacing=(5.0, 3.0, 2.0), transpose=transpose)
    plans, affine = load_model(folder).plans, AFFINES[name]
    volume = hand_over((110, 120, 130), affine)
    center = (55.0, 60.0, 65.0)
    box = patch_box(image_of(volume).geometry, plans, position(affine, center))
    middle = [(part.start + part.stop - 1) / 2 for part in box]
    assert np.abs(np.subtract(middle, center)).max() <= 1
    part = image_from_array(volume.voxels[box], affine=np.asarray(affine, dtype=float))
    shape = preprocess(part, plans, catalog.resampling_convention(dataset)).data.shape[1:]
    missing = [patch - size for patch, size in zip(plans.patch_shape, shape)]
    assert 0 <= min(missing) <= max(missing) <= 2  # a whole voxel of the image may be more than one of the model's


def test_a_volume_smaller_than_a_patch_is_previewed_whole(hand_over, ready):
    volume = hand_over((12, 10, 14), STRAIGHT)
    found, box = preview(image_of(volume), ready, InferenceSpec(), position(STRAIGHT, (3, 4, 5)))
    assert box == (slice(0, 12), slice(0, 10), slice(0, 14))
    np.testing.assert_array_equal(found.labels, segment(image_of(volume), ready).labels)


def test_it_is_quick_where_a_run_would_mirror(hand_over, make_model_folder):
    with contextlib.closing(prepare(load_model(make_model_folder("Dataset002_M", mirror_axes=(0, 1, 2))))) as ready:
        point = position(STRAIGHT, (20, 20, 20))
        found, _ = preview(image_of(hand_over((70, 80, 90), STRAIGHT)), ready, InferenceSpec(mirroring=True), point)
    assert found.statistics.macs_per_volume == found.statistics.macs_per_patch


def test_a_patch_at_the_edge_stays_inside_and_is_whole(ready):
    geometry = Geometry((200, 200, 200), np.diag([3.0, 3.0, 3.0, 1.0]))
    box = patch_box(geometry, ready.model.plans, (3.0, 300.0, 597.0))
    assert [(part.start, part.stop) for part in box] == [(168, 200), (84, 116), (0, 32)]


@pytest.mark.parametrize("outside", [(-0.6, 3, 3), (3, 3, 14.6), (3, 300, 3)])
def test_a_point_outside_is_an_error_that_says_what_to_do(outside, ready):
    geometry = Geometry((12, 10, 14), np.asarray(OBLIQUE, dtype=float))
    with pytest.raises(ImageError, match="outside the volume; move the crosshair"):
        patch_box(geometry, ready.model.plans, position(OBLIQUE, outside))
    patch_box(geometry, ready.model.plans, position(OBLIQUE, (-0.4, 3, 13.4)))


def test_it_can_be_cancelled(hand_over, ready):
    with pytest.raises(Cancelled):
        preview(image_of(hand_over()), ready, InferenceSpec(), (0, 0, 60), monitor=Monitor(cancelled=lambda: True))


def test_the_worker_writes_the_part_where_it_belongs(
    start_worker, hand_over, make_model_folder, job_for, tmp_path, ready
):
    volume = hand_over((70, 80, 90), FLIPPED)
    point = position(FLIPPED, (20, 60, 45))
    request = {"job": job_for(make_model_folder("Dataset002_Again"), 0.5), "volume": volume.document, "point": point}
    answer = start_worker().ask("preview", **request, labels=str(tmp_path / "labels.npy"))
    expected, box = preview(image_of(volume), ready, InferenceSpec(), point)
    whole, told = (np.zeros(volume.voxels.shape, np.uint8) for _ in range(2))
    whole[box] = expected.labels
    written = tuple(slice(*ends) for ends in zip(answer["labels"]["lower"], answer["labels"]["upper"]))
    told[written] = np.load(answer["labels"]["path"])
    np.testing.assert_array_equal(told, whole)
    assert {int(value) for value in answer["label_names"]} == set(np.unique(whole).tolist()) - {0}
    assert answer["seconds"] > 0
