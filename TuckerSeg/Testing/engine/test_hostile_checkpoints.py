"""Checkpoints and zips of models that make no sense: each is refused in words, before it takes memory or runs code."""

from __future__ import annotations

import io
import json
import pathlib
import shutil
import struct
import zipfile
from pathlib import Path

import numpy
import pytest
import torch

from TuckerSegLib import load_model
from TuckerSegLib.errors import (
    ModelFolderError,
)
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.models.loading import load_facts
from TuckerSegLib.nnunet import archives
from TuckerSegLib.nnunet.folder import ModelFolder

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
