"""Body Part Regression's own network: files, slices and scores, with weights that are random."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import ImageError, ModelFolderError
from TuckerSegLib.image import Geometry, image_from_array, write_labels
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.quality.body_scores import as_document
from TuckerSegLib.quality.body_scores.bpr import read_bpr_model
from TuckerSegLib.quality.body_scores.bpr.network import BodyPartRegression
from TuckerSegLib.quality.body_scores.bpr.slices import network_slices
from TuckerSegLib.quality.body_scores.landmarks import usual_scores

START, END = -5.0, 3.0  # what a network gives at both ends of the scale
POOLED_AFTER = (1, 3, 6, 9, 12)  # of the convolutions of VGG-16


def settings():
    table = {name: {"mean": START + score * (END - START) / 100, "std": 0.1} for name, score in usual_scores().items()}
    del table["head_end"]  # which the published model does not have
    return {
        "lookuptable_train_val": {"original": table, "transformed": {}},
        "settings": {"start-landmark": "pelvis_start", "end-landmark": "eyes_end"},
        "slope_mean": 0.125,
        "lower_quantile_tangential_slope": -0.037,
        "upper_quantile_tangential_slope": 0.25,
    }


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(1)
    return BodyPartRegression().state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("bpr")
    torch.save({**weights, "loss.weight": torch.ones(1)}, folder / "model.pt")
    (folder / "inference-settings.json").write_text(json.dumps(settings()))
    return folder


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(-1200, 1700, (4, 30, 20)).astype(np.int16)


def reference_score(weights, slices):
    """VGG-16's features from one channel, a convolution 1x1, a mean, a linear layer."""
    names = sorted({int(name.split(".")[1]) for name in weights if name.startswith("model.")})
    for number, name in enumerate(names):
        slices = torch.relu(
            functional.conv2d(slices, weights[f"model.{name}.weight"], weights.get(f"model.{name}.bias"), padding=1)
        )
        if number in POOLED_AFTER:
            slices = functional.max_pool2d(slices, 2)
    slices = torch.relu(functional.conv2d(slices, weights["conv6.weight"], weights["conv6.bias"]))
    return functional.linear(slices.mean((2, 3)), weights["fc7.weight"], weights["fc7.bias"])[:, 0]


def test_names_and_shapes_are_those_of_the_published_files(weights):
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = {f"model.{n}.{kind}" for n in numbers for kind in ("weight", "bias")} - {"model.0.bias"}
    assert set(weights) == names | {"conv6.weight", "conv6.bias", "fc7.weight", "fc7.bias"}
    assert sum(each.numel() for each in weights.values()) == 14_976_641


def test_scores_are_mapped_from_pelvis_to_eyes_and_empty_slices_have_none(folder, weights, volume):
    volume[2] = -1000
    image = image_from_array(volume, spacing_mm=(4.0, 3.5, 3.5))
    scores = read_bpr_model(folder).scores_of(image, Monitor())
    raw = reference_score(weights, torch.from_numpy(network_slices(volume, (3.5, 3.5)))).numpy()
    expected = (raw - START) / (END - START) * 100
    np.testing.assert_allclose(scores.unprocessed[[0, 1, 3]], expected[[0, 1, 3]], atol=1e-3)
    assert np.isnan(scores.unprocessed[2])
    document = as_document(scores)
    assert document["expected slope"] == 0.125 and document["look-up table"]["eyes_end"]["mean"] == 100
    assert "HEAD" in document["settings"]["body part examined tag"]["distinct body parts"]


def test_slices_are_clipped_scaled_and_padded_around_the_middle():
    slices = network_slices(np.full((2, 30, 21), 2000, np.int16), (3.5, 3.5))
    assert slices.shape == (2, 1, 128, 128) and slices.dtype == np.float32
    assert (slices[:, 0, 53:74, 49:79] == 1).all()  # (X, Y)
    assert slices.min() == -1 and (slices == 1).sum() == 2 * 30 * 21
    middle = network_slices(np.full((1, 30, 20), 250, np.int16), (3.5, 3.5))[0, 0, 64, 64]
    assert middle == pytest.approx(0)


def test_slices_are_blurred_before_they_are_made_smaller():
    checks = (np.indices((1, 256, 256)).sum(0) % 2 * 2500 - 1000).astype(np.int16)
    small = network_slices(checks, (0.875, 0.875))[0, 0, 40:88, 40:88]
    assert abs(small).max() < 0.1  # every pixel alone would be -1 or 1


def test_slices_that_are_wider_than_any_scanner_are_refused():
    with pytest.raises(ImageError, match="slices are 51200 mm wide; .* 3000 mm at most"):
        network_slices(np.zeros((1, 4, 512), np.int16), (1.0, 100.0))


def test_slices_that_are_too_large_are_cut_around_the_middle():
    wide = np.zeros((1, 10, 140), np.int16)
    wide[:, :, 70] = 1500
    slices = network_slices(wide, (3.5, 3.5))
    assert slices[0, 0, :, 64].argmax() == 64  # of 6 and 6 columns that are cut


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda weights: weights.pop("conv6.bias"), "'conv6.bias' are missing"),
        (lambda weights: weights.update({"fc7.bias": torch.ones(2)}), r"'fc7.bias' should be \(1,\)"),
        (lambda weights: weights.update({"fc7.bias": torch.ones(1, dtype=torch.int32)}), "torch.int32"),
        (lambda weights: weights.update({"fc7.bias": torch.tensor([float("nan")])}), "not finite"),
        (lambda weights: weights.update({"fc7.bias": "text"}), "'fc7.bias' are missing"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, folder, weights, change, said):
    shutil.copy(folder / "inference-settings.json", tmp_path)
    other = {name: value for name, value in weights.items() if not name.startswith("model.")}  # which come last
    change(other)
    torch.save(other, tmp_path / "model.pt")
    with pytest.raises(ModelFolderError, match=said):
        read_bpr_model(tmp_path)


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("evil",)


@pytest.mark.parametrize("content", ["code", "text", "old", "list"])
def test_a_file_that_is_no_weights_is_refused_and_runs_nothing(tmp_path, folder, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "inference-settings.json", tmp_path)
    path = tmp_path / "model.pt"
    if content == "text":
        path.write_text("no weights")
    else:
        what = {"code": {"conv6.bias": Evil()}, "old": {"a": torch.ones(1)}, "list": [torch.ones(1)]}[content]
        torch.save(what, path, _use_new_zipfile_serialization=content != "old")
    with pytest.raises(ModelFolderError, match=r"model\.pt"):
        read_bpr_model(tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "names, value, said",
    [
        (("slope_mean",), 0, "slopes should be above 0"),
        (("slope_mean",), "0.1", "should be a number"),
        (("settings", "start-landmark"), "nose", "nose / mean' is missing"),
        (("settings", "start-landmark"), ["C1"], "is missing"),
        (("settings", "end-landmark"), "pelvis_start", "above that of the start"),
        (("lookuptable_train_val", "original", "Th9"), {}, "Th9 / mean' is missing"),
        (("lookuptable_train_val", "original"), [], "should hold landmarks"),
        (("upper_quantile_tangential_slope",), -1, "in order"),
    ],
)
def test_settings_that_are_damaged_are_refused(tmp_path, folder, names, value, said):
    document = settings()
    inner = document
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] = value
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "inference-settings.json").write_text(json.dumps(document))
    with pytest.raises(ModelFolderError, match=said):
        read_bpr_model(tmp_path)


def test_the_command_scores_a_ct_with_the_networks_of_a_folder(tmp_path, folder, volume, capsys):
    path = tmp_path / "CT.nii.gz"
    write_labels(path, (volume % 1500).astype(np.uint16), Geometry(volume.shape, np.diag([3.5, 3.5, 4, 1])), ())
    assert main(["bodyparts", str(path), "--bpr-model", str(folder), "--json", str(tmp_path / "b.json")]) == 0
    assert len(json.loads((tmp_path / "b.json").read_text())["cleaned slice scores"]) == 4
    assert main(["bodyparts", str(path), "--bpr-model", str(tmp_path)]) == 1
    assert "model.pt is missing" in capsys.readouterr().err
