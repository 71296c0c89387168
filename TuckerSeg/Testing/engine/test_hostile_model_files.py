"""Checkpoints, zips and ``.tuckerseg`` files that were damaged or made to do harm: one clear message each."""

from __future__ import annotations

import io
import json
import pathlib
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from TuckerSegLib import InferenceSpec, Job, load_model, tensor_file
from TuckerSegLib.compression.tucker import Spec
from TuckerSegLib.errors import (
    ImageError,
    ModelFileError,
    ModelFolderError,
    SpecError,
    TuckerSegError,
    UnsupportedModelError,
)
from TuckerSegLib.hardware import torch_threads
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.loading import load_facts
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.nnunet import archives
from TuckerSegLib.nnunet.folder import ModelFolder
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.records.serialization import from_json, to_json

NAN, INFINITY, MANY = float("nan"), float("inf"), 10**9
FIRST = "encoder.stages.0.0.convs.0.conv.weight"


def checkpoint_of(folder: Path) -> Path:
    return folder / "fold_0" / "checkpoint_final.pth"


def save_weights(folder: Path, change) -> Path:
    """Write a model's checkpoint anew, its weights changed."""
    checkpoint = torch.load(checkpoint_of(folder), weights_only=False)
    checkpoint["network_weights"] = change(checkpoint["network_weights"])
    torch.save(checkpoint, checkpoint_of(folder))
    return folder


def refused(folder: Path, words: str, error: type = ModelFolderError) -> None:
    """Neither loaded nor imported."""
    for take in (load_model, lambda path: import_model(path, "hostile")):
        with pytest.raises(error, match=words):
            take(folder)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_weights_of_a_training_that_diverged_are_refused(make_model_folder, value):
    folder = save_weights(make_model_folder(), lambda weights: {**weights, FIRST: weights[FIRST] * value})
    refused(folder, r"fold_0 holds (NaN|infinity) .*its training diverged")


def test_weights_that_make_nan_are_refused(make_model_folder):
    folder = save_weights(make_model_folder(), lambda weights: {name: each + 1e38 for name, each in weights.items()})
    with pytest.raises(ModelFolderError, match="diverged"):
        load_model(folder)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (None, "tensors by name"),
        ([], "tensors by name"),
        ({}, "tensors by name"),
        ({FIRST: 3}, "should be a tensor"),
        ({FIRST: None}, "should be a tensor"),
        ({7: torch.ones(2)}, "names should be text"),
        ({"x" * 1000: torch.ones(2)}, "names should be text"),
        ({FIRST: torch.ones(8, 1, 3, 3, 3).to_sparse()}, "dense tensor"),
        ({FIRST: torch.ones(1).expand(MANY)}, "repeats values"),
        ({FIRST: torch.ones(8, 1, 3, 3, 3)}, "do not fit the network in plans.json"),
    ],
)
def test_what_is_no_set_of_weights_is_named(make_model_folder, weights, words):
    refused(save_weights(make_model_folder(), lambda _: weights), words)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64, torch.bool])
def test_weights_of_another_type_are_named(make_model_folder, kind):
    folder = save_weights(make_model_folder(), lambda weights: {**weights, FIRST: weights[FIRST].to(kind)})
    refused(folder, f"expected torch.float32, found {kind}")


def test_weights_that_share_their_values_are_refused(make_model_folder):
    """A file of one layer's size would otherwise become a network of any size."""

    def shared(weights):
        values = torch.zeros(max(each.numel() for each in weights.values()))
        return {name: values[: each.numel()].view(each.shape) for name, each in weights.items()}

    refused(save_weights(make_model_folder(), shared), "of which the file has fewer")


def test_a_checkpoint_without_weights_is_named(make_model_folder):
    for found in ({"state_dict": {}}, [1, 2], "text"):
        folder = make_model_folder(f"Dataset00{len(found)}_X")
        torch.save(found, checkpoint_of(folder))
        refused(folder, "network_weights")


def test_what_is_beside_the_weights_is_not_rebuilt(make_model_folder):
    folder = make_model_folder()
    expected = load_model(folder).weights
    checkpoint = torch.load(checkpoint_of(folder), weights_only=False)
    checkpoint["init_args"]["output_folder"] = pathlib.Path("/somewhere")
    checkpoint["logging"]["curve"] = numpy.arange(5.0)
    torch.save(checkpoint, checkpoint_of(folder))
    found = load_model(folder).weights
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Called:
    """Stands for a call that a pickle asks for."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_a_checkpoint_makes_nothing_large_of_nothing(make_model_folder, monkeypatch):
    """Numbers of bytes in a pickle are not those of the file: 9 GB here, and 2 GB for one scalar of numpy's."""
    scalar = getattr(numpy, "_core", None) or numpy.core
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("is read"))
    folder = make_model_folder()
    torch.save({"network_weights": {}, "extra": Called(bytearray, 9 * 10**9)}, checkpoint_of(folder))
    refused(folder, "bytearray")
    monkeypatch.undo()
    folder = make_model_folder("Dataset002_X")
    checkpoint = torch.load(checkpoint_of(folder), weights_only=False)
    checkpoint["extra"] = Called(scalar.multiarray.scalar, Called(numpy.dtype, "V2000000000"))
    torch.save(checkpoint, checkpoint_of(folder))
    found = ModelFolder(folder, folder, ("0",), checkpoint_of(folder).name).read_checkpoint("0")
    assert type(found["extra"]).__module__.startswith("TuckerSegLib")


@pytest.mark.parametrize("name", [torch.ones(3), ["3d_fullres"], 3, ""])
def test_a_configuration_that_is_no_name_is_named(make_model_folder, name):
    folder = make_model_folder()
    checkpoint = torch.load(checkpoint_of(folder), weights_only=False)
    checkpoint["init_args"]["configuration"] = name
    torch.save(checkpoint, checkpoint_of(folder))
    refused(folder, "configuration")


def test_weights_are_judged_as_they_are_used(make_model_folder):
    folder = save_weights(make_model_folder(), lambda weights: {**weights, FIRST: weights[FIRST].double() * 1e300})
    refused(folder, "holds infinity")
    folder = save_weights(
        make_model_folder("Dataset002_X"),
        lambda weights: {
            name: each.to(torch.float8_e4m3fn) if name == FIRST else each for name, each in weights.items()
        },
    )
    assert load_model(folder).weights[f"0/{FIRST}"].dtype == torch.float32


def test_a_class_in_a_checkpoint_is_named_without_the_advice_to_trust_it(make_model_folder):
    folder = make_model_folder()
    torch.save({"network_weights": {}, "extra": zipfile.ZipInfo("x")}, checkpoint_of(folder))
    with pytest.raises(ModelFolderError, match=r"holds a zipfile\.ZipInfo") as caught:
        load_model(folder)
    assert "option" not in str(caught.value) and "\x1b" not in str(caught.value)


def packed(content: bytes, method: int = zipfile.ZIP_DEFLATED, names=None) -> bytes:
    """The same zip with its entries packed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w", method) as archive:
        for entry in names or source.namelist():
            archive.writestr(entry, source.read(entry))
    return target.getvalue()


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(make_model_folder):
    folder = save_weights(make_model_folder(), lambda weights: {**weights, "zeros": torch.zeros(10_000_000)})
    checkpoint_of(folder).write_bytes(packed(checkpoint_of(folder).read_bytes()))
    assert checkpoint_of(folder).stat().st_size < 2_000_000
    refused(folder, "entries are packed")


def test_a_checkpoint_of_the_format_before_zips_is_refused(make_model_folder):
    """Its storages are allocated as large as the pickle says, before they are read."""
    folder = make_model_folder()
    checkpoint = torch.load(checkpoint_of(folder), weights_only=False)
    torch.save(checkpoint, checkpoint_of(folder), _use_new_zipfile_serialization=False)
    refused(folder, "PyTorch 1.6")


def zipped(folder: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target / "model"), "zip", folder.parent.parent, folder.parent.name))


@pytest.mark.parametrize("kind", ["bomb", "link", "parent", "crc", "claim", "nested", "many", "empty", "method"])
def test_a_zip_is_looked_at_wherever_it_is_given(make_model_folder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "FREE_BYTES", 2_000_000)
    monkeypatch.setattr(archives, "MOST_ENTRIES", 50)
    folder = make_model_folder()
    if kind == "nested":
        (folder / "plans.json").write_text("[" * 100_000)
    if kind == "bomb":
        (folder / "dataset.json").write_text(json.dumps({"labels": {}, "x": " " * 30_000_000}))
    archive = zipped(folder, tmp_path)
    with zipfile.ZipFile(archive, "a") as more:
        if kind == "link":
            entry = zipfile.ZipInfo("link")
            entry.create_system, entry.external_attr = 3, 0o120777 << 16
            more.writestr(entry, "/etc")
        elif kind == "parent":
            more.writestr("../outside", "x")
        elif kind == "many":
            for number in range(60):
                more.writestr(str(number), "")
        elif kind == "method":
            more.writestr("packed", "x" * 100, zipfile.ZIP_LZMA)
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as known:
        plans = next(entry for entry in known.infolist() if entry.filename.endswith("plans.json"))
    record = content.rfind(b"PK\x01\x02", 0, content.rfind(plans.filename.encode()))
    if kind == "crc":
        content[record + 16] ^= 0xFF
    elif kind == "claim":  # less than there is
        struct.pack_into("<I", content, record + 24, 100)
    elif kind == "empty":
        content = bytearray(b"PK\x05\x06" + bytes(18))
    archive.write_bytes(content)
    refused(archive, "model.zip")
    with pytest.raises(ModelFolderError):
        load_facts(archive)


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


def test_a_model_of_the_version_before_is_called_one(tmp_path):
    folder = tmp_path / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(b"x")
    with pytest.raises(UnsupportedModelError, match="nnU-Net v1"):
        load_model(tmp_path)
