"""``.tuckerseg`` files that were damaged or made to do harm: one clear message each."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from TuckerSegLib import load_model, tensor_file
from TuckerSegLib.compression.tucker import Spec
from TuckerSegLib.errors import (
    ModelFileError,
    TuckerSegError,
    UnsupportedModelError,
)
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.loading import load_facts
from TuckerSegLib.models.model import SegmentationModel

NAN, INFINITY, MANY = float("nan"), float("inf"), 10**9
MADE: list[SegmentationModel] = []


@pytest.fixture
def compressed(make_model_folder) -> SegmentationModel:
    """Made once."""
    if not MADE:
        MADE.append(compress(load_model(make_model_folder()), Spec(0.5)))
    return MADE[0]


@pytest.fixture
def changed(compressed, tmp_path):
    """A function that writes a ``.tuckerseg`` file, its document changed and its checksum right."""

    def write(change=lambda document: document, weights=lambda tensors: tensors) -> Path:
        path = tmp_path / "model.tuckerseg"
        compressed.save(path)
        tensors, document = tensor_file.read_tensors(path)
        document = {key: value for key, value in document.items() if key not in ("format", "sha256")}
        tensor_file.write_tensors(path, weights(tensors), change(document) or document)
        return path

    return write


def refused_file(path: Path, words: str, error: type = TuckerSegError) -> None:
    for take in (load_model, load_facts):
        with pytest.raises(error, match=words) as caught:
            take(path)
        assert str(path) in str(caught.value) and len(str(caught.value)) < 1200


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(document):
        place = document
        for key in keys:
            place = place[key]
        place[last] = value

    return change


ARGUMENTS = ("plans", "architecture", "kwargs")
CHANGE = ("recipes", 0, "changes", 4)


def test_a_file_that_was_written_anew_is_whole(changed, compressed):
    assert load_model(changed()) == compressed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(*ARGUMENTS, "nonlin", "torch.os.system"), "nonlin"),
        (put(*ARGUMENTS, "norm_op", "torch.load"), "norm_op"),
        (put(*ARGUMENTS, "nonlin", "torch.nn.NoSuchActivation"), "NoSuchActivation"),
        (put(*ARGUMENTS, "nonlin_kwargs", {"command": "true"}), "command"),
        (put("plans", "architecture", "class_name", "torch.hub.load"), "torch.hub.load"),
        (put(*ARGUMENTS, "features_per_stage", [8, 16, 8000]), "tensors are not those|planned for"),
        (put(*ARGUMENTS, "n_conv_per_stage", MANY), "n_conv_per_stage"),
        (put("plans", "logit_channels", MANY), "outputs"),
        (put("plans", "logit_channels", 21), "labels"),
        (put("plans", "patch_shape", [MANY] * 3), "patch_size"),
        (put("plans", "patch_shape", "abc"), "patch_shape"),
        (put("plans", "spacing_mm", [NAN, 3, 3]), "spacing"),
        (put("plans", "spacing_mm", [3, 3]), "spacing_mm"),
        (put("plans", "mirror_axes", [5]), "mirroring"),
        (put("plans", "labels", 0, "value", 10**6), "label"),
        (put("plans", "labels", 0, "name", ""), "label"),
        (put("plans", "labels", 0, None), "Label"),
        (put("plans", "normalization", 0, "scheme", "os.system"), "os.system"),
        (put("plans", "orientation", "LPS"), "orientation"),
        (put("plans", "image_resampling", "order", 10**6), "order"),
        (put("plans", None), "ModelPlans"),
        (put("plans", []), "ModelPlans"),
        (put("plans", "documents", "plans", "plans_name", "../../x"), "plans_name"),
        (put("plans", "documents", "plans", []), "documents"),
        (put("plans", "documents", "plans", "label_manager", "Own"), "label_manager"),
        (put("plans", "configuration", "../../x"), "configuration"),
        (put("folds", ["../../x"]), "folds"),
        (put("folds", ["0", "0"]), "folds"),
        (put("folds", []), "folds"),
        (put("folds", "0"), "folds"),
        (put("folds", ["1"]), "tensors are not those"),
        (put("name", ""), "name"),
        (put("name", 7), "name"),
        (put("cost", "macs", -1), "macs"),
        (put("cost", "macs", "many"), "macs"),
        (put("cost", None), "Cost"),
        (put("head_path", "encoder"), "head_path"),
        (put("head_path", 3), "head_path"),
        (put("source_sha256", None), "source_sha256"),
        (put("recipes", 0, "method", "torch.os.system"), "method"),
        (put("recipes", 0, "method", ["tucker"]), "method"),
        (put("recipes", 0, "spec", "rank_ratio", NAN), "rank_ratio"),
        (put("recipes", 0, "spec", "rank_ratio", "x"), "rank_ratio"),
        (put("recipes", 0, "changes", []), "tensors are not those"),
        (put("recipes", None), "recipes"),
        (put("recipes", []), "tensors are not those"),
        (put(*CHANGE, "path", "encoder"), "no such layer"),
        (put(*CHANGE, "path", "../.."), "no such layer"),
        (put(*CHANGE, "path", 3), "path"),
        (put(*CHANGE, "details", "ranks", [0, 8]), "ranks"),
        (put(*CHANGE, "details", "ranks", [MANY, MANY]), "ranks"),
        (put(*CHANGE, "details", "ranks", [8, 8, 8]), "ranks"),
        (put(*CHANGE, "details", "ranks", [8.5, 8]), "ranks"),
        (put(*CHANGE, "details", "ranks", "88"), "ranks"),
        (put(*CHANGE, "shape", [1, 2]), "planned for"),
        (put(*CHANGE, "before", None), "Cost"),
        (put(*CHANGE, "version", "x"), "version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_header_that_makes_no_sense_is_named(changed, change, words, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    refused_file(changed(change), words)
    assert called == []


@pytest.mark.parametrize("missing", ["name", "plans", "folds", "recipes", "cost", "head_path", "source_sha256"])
def test_a_header_that_is_incomplete_is_named(changed, missing):
    refused_file(changed(lambda document: document.pop(missing) and None), missing, ModelFileError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: {**tensors, "0/more": torch.ones(2)}, "0/more"),
        (lambda tensors: {name: each for name, each in tensors.items() if "seg_layers" not in name}, "seg_layers"),
        (lambda tensors: {name: each[..., :1].contiguous() for name, each in tensors.items()}, "expected"),
        (lambda tensors: {name: each.to(torch.int32) for name, each in tensors.items()}, "int32"),
    ],
    ids=["more", "fewer", "smaller", "of another type"],
)
def test_tensors_that_are_not_the_networks_are_named(changed, change, words):
    refused_file(changed(weights=change), words, ModelFileError)


def test_a_files_weights_that_are_no_numbers_are_named(changed):
    path = changed(weights=lambda tensors: {name: each * NAN for name, each in tensors.items()})
    with pytest.raises(ModelFileError, match="its training diverged"):
        load_model(path)


def safetensors_with(metadata: str | None) -> bytes:
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps({**header, **({} if metadata is None else {"__metadata__": {"tuckerseg": metadata}})}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        bytes(8),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", MANY) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        safetensors_with(None),
        safetensors_with("[]"),
        safetensors_with("null"),
        safetensors_with("1"),
        safetensors_with("{"),
        safetensors_with("[" * 100_000),
        safetensors_with('{"a":' * 100_000),
        safetensors_with('{"format": null}'),
        safetensors_with('{"format": "1"}'),
        safetensors_with('{"format": true}'),
        safetensors_with('{"format": 1e400}'),
        safetensors_with('{"format": 1, "sha256": []}'),
        safetensors_with('{"format": 99}'),
        safetensors_with('{"format": ' + "9" * 6000 + "}"),
        safetensors_with('{"format": 1, "a": [' + "[]," * 6_000_000 + "[]]}"),
    ],
    ids=range(22),
)
def test_what_is_no_tuckerseg_file_is_named(tmp_path, content):
    path = tmp_path / "model.tuckerseg"
    path.write_bytes(content)
    refused_file(path, "model.tuckerseg", ModelFileError)
    assert tensor_file.checksum_of(path) is None


def test_a_model_of_the_version_before_is_called_one(tmp_path):
    folder = tmp_path / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(b"x")
    with pytest.raises(UnsupportedModelError, match="nnU-Net v1"):
        load_model(tmp_path)
