"""Agreement over factor and policy, as ``tuckerseg explore`` measures it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from TuckerSegLib import Cache, InferenceSpec, load_model, read_image, segment
from TuckerSegLib.analysis import accuracy_curve
from TuckerSegLib.analysis.accuracy_curve import Case, CurvePoint, measure_curve
from TuckerSegLib.analysis.accuracy_plot import draw_curve
from TuckerSegLib.compression.policies import policy_spec
from TuckerSegLib.errors import SpecError
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.models.allocation_making import ModelMaker
from TuckerSegLib.models.calibration import calibrate_model, stored_calibration
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.refit import refit_model
from TuckerSegLib.training.distillation.settings import RepairSettings

PATCH = (16, 16, 16)
SETTINGS = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture
def volumes(hand_over, tmp_path):
    paths = []
    for name in ("first", "second"):
        volume = hand_over((24, 20, 28))
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), np.asarray(volume.file.affine)), path)
        paths.append(path)
    return paths


def test_every_point_is_a_plain_run_of_that_network(make_model_folder, volumes):
    model, cases = load_model(make_model_folder(patch_shape=PATCH)), [Case(read_image(path)) for path in volumes]
    points = list(measure_curve(model, cases, [0.6], ["paper", "weights", "auto"], SETTINGS, Cache()))
    assert [(point.policy, point.volume) for point in points] == [
        (policy, path.name) for policy in ("original", "paper", "weights", "auto") for path in volumes
    ]
    assert all(point.agreement == 1 for point in points[:2])
    assert [point.calibrated for point in points] == [False] * 6 + [True, False]
    assert stored_calibration(model, Cache()) is None, "exploring does not change what runs use"
    original, found = (
        segment(cases[1].volume, each, SETTINGS).labels
        for each in (model, compress(model, policy_spec("paper", 0.6, comparable=True)[1]))
    )
    assert points[3].agreement == mean_dice(found, original)


def test_a_policy_is_calibrated_and_fitted_on_all_volumes_that_are_given(make_model_folder, volumes):
    model, cases = load_model(make_model_folder(patch_shape=PATCH)), [Case(read_image(path)) for path in volumes]
    seen = [case.volume for case in cases]
    points = list(measure_curve(model, cases, [0.6], ["auto+refit"], SETTINGS, Cache(), calibrate_on=seen))
    assert [point.calibrated for point in points] == [False, False, True, True]
    calibration = calibrate_model(model, seen[1], calibrate_model(model, seen[0]))
    smaller = compress(model, policy_spec("auto", 0.6, comparable=True)[1], calibration=calibration)
    fitted = refit_model(smaller, model, seen, calibration, Cache())
    original, found = (segment(seen[1], each, SETTINGS).labels for each in (model, fitted))
    assert points[3].agreement == mean_dice(found, original)


def test_a_reference_adds_its_dice(make_model_folder, volumes):
    model, volume = load_model(make_model_folder(patch_shape=PATCH)), read_image(volumes[0])
    labels = segment(volume, model, SETTINGS).labels
    first, second = measure_curve(model, [Case(volume, labels)], [0.6], ["uniform"], SETTINGS, Cache())
    assert (first.dice, second.dice) == (1.0, second.agreement)


def test_the_command_writes_table_document_and_picture(tuckerseg, make_model_folder, volumes, tmp_path):
    out = tmp_path / "out"
    options = ("--factors", "0.6,0.4", "--policies", "paper,auto", "--out", out, "--device", "torch:cpu")
    text = tuckerseg("explore", *volumes, "--model", make_model_folder(patch_shape=PATCH), *options).stdout
    assert "calibrated on" in text
    rows = list(csv.DictReader((out / "curve.csv").open()))
    assert len(rows) == 2 * (1 + 2 * 2)
    assert len(json.loads((out / "curve.json").read_text())) == len(rows)
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_model_is_a_row_of_its_own(tuckerseg, make_model_folder, volumes, tmp_path):
    folder, out, small = make_model_folder(patch_shape=PATCH), tmp_path / "out", tmp_path / "small.tuckerseg"
    model, other = load_model(folder), make_model_folder("Dataset002_Learned", patch_shape=PATCH, seed=1)
    smaller = compress(model, policy_spec("paper", 0.5)[1])
    smaller.save(small)
    place = ("--device", "torch:cpu", "--precision", "fp32", "--threads", "1")
    options = ("--model", folder, "--models", small, other, "--out", out)
    text = tuckerseg("explore", volumes[0], *options, *place).stdout
    rows = list(csv.DictReader((out / "curve.csv").open()))
    assert [row["policy"] for row in rows] == ["original", "small", str(other)]
    assert [int(row["model_bytes"]) for row in rows] == [model.weight_bytes, small.stat().st_size, model.weight_bytes]
    volume = read_image(volumes[0])
    original, *found = (segment(volume, each, SETTINGS).labels for each in (model, smaller, load_model(other)))
    expected = [mean_dice(labels, original) for labels in found]
    assert [float(row["agreement"]) for row in rows[1:]] == pytest.approx(expected, rel=1e-4)
    assert float(rows[1]["factor"]) == pytest.approx(smaller.cost.macs / model.cost.macs, rel=1e-4)
    assert f"{small.stat().st_size / 1e6:.3f}" in text


def test_a_finished_model_with_other_labels_is_refused(tuckerseg, make_model_folder, volumes, tmp_path):
    others = make_model_folder("Dataset002_Other", patch_shape=PATCH, labels={"background": 0, "stone": 1})
    options = ("--model", make_model_folder(patch_shape=PATCH), "--models", others, "--out", tmp_path / "out")
    done = tuckerseg("explore", volumes[0], *options, "--device", "torch:cpu", check=1)
    assert "label 1 is 'structure_1'; found 'stone'" in done.stderr


def test_a_line_goes_from_few_operations_to_many_in_whatever_order_they_were_measured(tmp_path):
    points = [CurvePoint("ct", False, "auto", f, f, "", None, int(f * 1e9), 1, 1.0, 1.0) for f in (0.3, 0.5, 0.7)]
    for name, order in (("sorted", [0, 1, 2]), ("shuffled", [1, 0, 2])):
        draw_curve([points[index] for index in order], tmp_path / name)
    assert (tmp_path / "sorted").read_bytes() == (tmp_path / "shuffled").read_bytes()


def test_unknown_policies_are_refused_with_the_known_ones(make_model_folder, volumes):
    model = load_model(make_model_folder(patch_shape=PATCH))
    with pytest.raises(SpecError, match="magic; known: paper"):
        next(measure_curve(model, [Case(read_image(volumes[0]))], [0.5], ["magic"], SETTINGS, Cache()))


def test_an_exploration_that_was_stopped_does_not_repair_anew(make_model_folder, volumes, monkeypatch):
    model, cases, cache = load_model(make_model_folder(patch_shape=PATCH)), [Case(read_image(volumes[0]))], Cache()
    arguments = (model, cases, [0.5], ["auto+repair"], SETTINGS, cache)
    repair = RepairSettings(steps=4, check_every=2, voxels=500)
    first = list(measure_curve(*arguments, repair=repair))[-1]
    repaired_again = []
    plain = accuracy_curve.repair_model

    def counted(*given, **named):
        repaired_again.append(given)
        return plain(*given, **named)

    monkeypatch.setattr(accuracy_curve, "repair_model", counted)
    assert list(measure_curve(*arguments, repair=repair))[-1].agreement == first.agreement
    assert not repaired_again
    list(measure_curve(*arguments, repair=replace(repair, steps=6)))
    assert len(repaired_again) == 1


def test_all_means_together_are_a_policy_with_the_fit_in_it(make_model_folder, volumes, monkeypatch):
    times = {"kernel.gmacs": 0.1, "strided.gmacs": 0.1, "transposed.gmacs": 0.1, "pointwise.gmacs": 0.1}
    monkeypatch.setattr("TuckerSegLib.layer_times.measured.measure", lambda *_: times)
    monkeypatch.setattr(ModelMaker, "_measured", ModelMaker._predicted)
    model, cases = load_model(make_model_folder(patch_shape=PATCH)), [Case(read_image(volumes[0]))]
    original, point = measure_curve(model, cases, [0.95], ["joint"], SETTINGS, Cache())
    assert (point.policy, point.calibrated) == ("joint", True)
    assert point.macs_per_patch < original.macs_per_patch
    assert point.predicted_share == point.measured_share <= 0.95
    with pytest.raises(SpecError, match="A refit is part of joint"):
        list(measure_curve(model, cases, [0.95], ["joint+refit"], SETTINGS, Cache()))
