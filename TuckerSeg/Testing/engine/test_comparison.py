"""Several ranks against the original network: rows, differences, a box, and what is remembered of it."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib import Cache, Job, image_from_array, load_model, segment
from TuckerSegLib.evaluation.dice import dice_per_label, mean_dice
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.comparison import ComparisonRow
from TuckerSegLib.records.serialization import from_json

SHAPE = (40, 36, 44)
RANKS = [0.75, 0.25]


def on_grid(box, shape=SHAPE) -> np.ndarray:
    """The labels of a box file on the whole volume's grid."""
    whole = np.zeros(shape, dtype=np.uint8)
    if box is not None:
        whole[tuple(slice(first, last) for first, last in zip(box.lower, box.upper))] = np.load(box.path)
    return whole


@pytest.fixture
def compare(start_worker, hand_over, make_model_folder, job_for, tmp_path):
    """A function that compares; gives the rows, the worker, the volume and the original model."""
    model, volume, worker = make_model_folder(patch_shape=(16, 16, 16)), hand_over(SHAPE), start_worker()
    folder = tmp_path / "comparison"
    folder.mkdir()

    def ask(rank_ratios=RANKS, center=None, box_mm=None):
        request = {"job": job_for(model), "volume": volume.document, "folder": str(folder)}
        answer = worker.ask("compare", **request, rank_ratios=rank_ratios, center=center, box_mm=box_mm)
        assert answer["event"] == "result", answer
        rows = [from_json(ComparisonRow, event["row"]) for event in worker.said if event["event"] == "row"]
        return rows, worker, volume, load_model(model)

    return ask


def as_asked(model: SegmentationModel, strength: float) -> SegmentationModel:
    """What a job at this rank compresses a model to, by the calibration that is there."""
    resolved = resolve(Job(())).at_strength(strength)
    return compress_for_job(model, resolved, Cache(), Monitor(), None)


def test_the_original_comes_first_and_every_row_is_a_plain_run(compare):
    rows, _, volume, model = compare()
    assert [row.strength for row in rows] == [1.0, *RANKS]
    image = image_from_array(volume.voxels, affine=np.asarray(volume.file.affine))
    original = segment(image, model)
    names = original.label_names
    assert rows[0].agreement is None
    assert rows[0].structures == ()
    assert rows[0].differences is None
    np.testing.assert_array_equal(on_grid(rows[0].labels), original.labels)
    for row in rows[1:]:
        plain = segment(image, as_asked(model, row.strength))
        np.testing.assert_array_equal(on_grid(row.labels), plain.labels)
        np.testing.assert_array_equal(on_grid(row.differences) > 0, plain.labels != original.labels)
        assert row.agreement == mean_dice(plain.labels, original.labels)
        expected = {names[value]: dice for value, dice in dice_per_label(plain.labels, original.labels).items()}
        assert {each.name: each.dice for each in row.structures} == expected
        scores = [each.dice for each in row.structures]
        assert scores == sorted(scores), "the worst come first"
        assert row.statistics.macs_per_volume == plain.statistics.macs_per_volume < original.statistics.macs_per_volume
        assert 0 < row.seconds <= row.statistics.seconds["total"]
    assert rows[1].agreement > rows[2].agreement


def test_rows_come_one_by_one_and_progress_spans_all_of_them(compare):
    _, worker, _, _ = compare(rank_ratios=[0.5])
    fractions = [event["fraction"] for event in worker.said if "fraction" in event]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    positions = [index for index, event in enumerate(worker.said) if event["event"] == "row"]
    assert all(
        any(event["event"] == "progress" for event in worker.said[first:last])
        for first, last in zip(positions, positions[1:])
    )
    remaining = [event["remaining_s"] for event in worker.said if event["event"] == "progress"]
    assert remaining[0] > remaining[-1] == 0


def test_a_box_is_compared_alone_and_lies_where_it_was_asked_for(compare):
    center = (-10.0, 5.0, 60.0)
    rows, _, volume, model = compare(center=center, box_mm=40.0)
    # By hand, with the fixture's affine: x = 30 - 2 i, y = 2.5 j - 40, z = 3 k + 5; the box is 40 mm wide.
    index = np.array([(60 - 5) / 3, (5 + 40) / 2.5, (30 + 10) / 2])
    half = np.array([20 / 3, 20 / 2.5, 20 / 2])
    box = tuple(slice(int(low), int(high) + 1) for low, high in zip(np.floor(index - half), np.ceil(index + half)))
    affine = np.asarray(volume.file.affine)
    moved = affine.copy()
    moved[:3, 3] = (affine @ [box[2].start, box[1].start, box[0].start, 1])[:3]
    part = segment(image_from_array(volume.voxels[box], affine=moved), model)
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[box] = part.labels
    np.testing.assert_array_equal(on_grid(rows[0].labels), expected)
    assert rows[0].statistics.volume_shape == part.labels.shape


def test_agreement_is_remembered_of_whole_volumes_only(compare):
    def known(model):
        return Measurements(Cache()).agreement(as_asked(model, 0.25).key)

    rows, _, _, model = compare(center=(-10.0, 5.0, 60.0), box_mm=40.0)
    assert known(model) is None
    rows, _, volume, model = compare(rank_ratios=[0.25])
    assert known(model) == (rows[-1].agreement, volume.file.name)


def test_a_cancelled_comparison_keeps_the_rows_that_have_come(
    start_worker, hand_over, make_model_folder, job_for, tmp_path
):
    worker, volume = start_worker(), hand_over((72, 72, 72))
    job = job_for(make_model_folder(), step_fraction=0.25)
    request = {"volume": volume.document, "rank_ratios": RANKS, "center": None, "box_mm": None}
    number = worker.send("compare", job=job, folder=str(tmp_path), **request)
    row = worker.until(number, "row")["row"]
    worker.until(number, "progress")
    worker.send("cancel", target=number)
    assert worker.answer(number)["event"] == "cancelled"
    assert on_grid(from_json(ComparisonRow, row).labels, (72, 72, 72)).any()
