"""Models with shared weights go through everything that others go through: files, exports, runs, other methods."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from TuckerSegLib import Cache, TuckerSpec, compress, load_model, tensor_file
from TuckerSegLib.cli.main import main
from TuckerSegLib.compression.sharing import Spec
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.loading import load_facts

SETTINGS = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def original(folder):
    return load_model(folder)


@torch.inference_mode()
def logits(model):
    patch = torch.randn(1, 1, *model.plans.patch_shape, generator=torch.Generator().manual_seed(1))
    return model.network(model.folds[0])(patch)


@pytest.mark.parametrize("codebook", ["tensor", "global"])
def test_a_model_is_shared_written_and_read(original, codebook, tmp_path):
    smaller = compress(original, Spec(32, codebook=codebook), "sharing")
    smaller.save(tmp_path / "shared.tuckerseg")
    read = load_model(tmp_path / "shared.tuckerseg")
    assert read.recipes == smaller.recipes
    torch.testing.assert_close(logits(read), logits(smaller), atol=0, rtol=0)
    error = float((logits(read) - logits(original)).square().sum() / logits(original).square().sum())
    assert 0 < error < 0.2
    assert read.cost.weight_bytes == read.weight_bytes < original.weight_bytes / 2.5
    assert read.cost.macs == original.cost.macs
    assert {value.dtype for value in read.weights.values()} == {torch.uint8, torch.float32}
    assert not any(parameter.dtype == torch.uint8 for parameter in read.network(read.folds[0]).parameters())
    head = read.head(read.folds[0])
    assert head.weight.shape == original.head(original.folds[0]).weight.shape
    assert float((head.weight - original.head(original.folds[0]).weight).abs().max()) < 0.1
    assert describe(read).startswith("32 shared weights")
    assert compress(original, Spec.at(1.0), "sharing") is original


def test_it_follows_a_tucker_step(original, tmp_path):
    tucker = compress(original, TuckerSpec(0.5, rank_multiple=1, minimum_rank=2))
    smaller = compress(tucker, Spec(16, "uq", scale="channel"), "sharing")
    smaller.save(tmp_path / "both.tuckerseg")
    read = load_model(tmp_path / "both.tuckerseg")
    assert [recipe.method for recipe in read.recipes] == ["tucker", "sharing"]
    assert read.cost.weight_bytes < tucker.cost.weight_bytes
    torch.testing.assert_close(logits(read), logits(smaller), atol=0, rtol=0)


@pytest.mark.parametrize(("kind", "name"), [("nnunet", ""), ("openvino", "small.xml"), ("onnx", "small.onnx")])
def test_exports_hold_decoded_weights(original, tmp_path, kind, name):
    if kind == "onnx":
        pytest.importorskip("onnx")
    smaller = compress(original, Spec(16, codebook="global"), "sharing")
    (tmp_path / "out").mkdir()
    written = exporter(kind).export(smaller, tmp_path / "out" / name, ExportSettings())
    assert written.difference is None or written.difference < 1e-3
    if kind == "nnunet":
        again = load_model(written.place)
        assert describe(again) == describe(smaller)
        assert all(value.is_floating_point() for value in again.weights.values())
        torch.testing.assert_close(logits(again), logits(smaller))


def test_a_nnunet_predictor_runs_the_exported_folder(original, tmp_path, nnunet_predictor):
    smaller = compress(original, Spec(16), "sharing")
    (tmp_path / "out").mkdir()
    written = exporter("nnunet").export(smaller, tmp_path / "out", ExportSettings())
    network = nnunet_predictor(written.place, folds=(0,)).network
    assert isinstance(network, torch.nn.Module)


def test_commands_take_it(run_here, folder, small_ct, tmp_path):
    small, labels = tmp_path / "small.tuckerseg", tmp_path / "labels.nii.gz"
    asked = ("--model", folder, "--method", "sharing", "--clusters", 16, "--quantizer", "ecsq", "--lambda", 1e-4)
    assert "8 bits" in run_here("inspect", *asked)
    assert "calibrated" in run_here("segment", small_ct, labels, *asked, *SETTINGS)
    assert "Written" in run_here("compress", small, *asked, "--ct", small_ct)
    assert "16 shared weights per kernel (ecsq, lambda 0.0001), calibrated" in run_here(
        "segment", small_ct, labels, "--model", small, *SETTINGS
    )
    listed = run_here("plan", small_ct, "--model", folder, "--method", "sharing:0.5", "--codebook", "global", *SETTINGS)
    assert "GFLOPs per patch" in listed


def test_what_was_quantized_is_kept_and_taken(original, monkeypatch):
    cache = Cache()
    first = compress(original, Spec(16), "sharing", cache)
    assert {entry.kind for entry in cache.entries()} >= {"bases", "models"}
    second = compress(original, Spec(16), "sharing", cache)
    assert second.key == first.key != compress(original, Spec(17), "sharing", cache).key
    np.testing.assert_array_equal(logits(first), logits(second))


def test_a_file_whose_indices_point_beyond_a_codebook_is_refused(original, tmp_path):
    smaller = compress(original, Spec(16), "sharing")
    name = next(name for name, value in smaller.weights.items() if value.dtype == torch.uint8)
    damaged = {**smaller.weights, name: smaller.weights[name] + 16}
    replace(smaller, weights=damaged).save(tmp_path / "damaged.tuckerseg")
    with pytest.raises(ModelFileError, match="beyond|points to value"):
        load_model(tmp_path / "damaged.tuckerseg")


@pytest.fixture
def coded_file(original, tmp_path):
    """A file with coded index maps; its tensors as they are stored, and its header."""
    compress(original, Spec(16), "sharing").save(tmp_path / "coded.tuckerseg")
    tensors, document = tensor_file.read_tensors(tmp_path / "coded.tuckerseg")
    return tmp_path / "coded.tuckerseg", tensors, document


def test_index_maps_are_coded_in_files_and_not_in_the_cache(original, coded_file):
    path, tensors, document = coded_file
    assert document["format"] == 2 and len(document["coded"]) > 3
    smaller = load_model(path)
    stored, raw = (sum(each[name].numel() for name in document["coded"]) for each in (tensors, smaller.weights))
    assert stored < 0.6 * raw, "16 values take half a byte"
    assert load_facts(path).cost == smaller.cost
    entries = [entry for entry in Cache().entries() if entry.kind == "models"]
    assert entries and all("coded" not in tensor_file.read_tensors(entry.path)[1] for entry in entries)
    original.save(path)
    assert tensor_file.read_tensors(path)[1]["format"] == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"shape": [16, 8, 3, 3, 4]}, "not those of its network"),
        ({"shape": [2**20, 2**20]}, "not those of its network"),
        ({"shape": [2**24] * 5}, "axes and"),
        ({"shape": [-1]}, "axes and"),
        ({"shape": [1] * 99999}, "axes and"),
        ({"shape": "all"}, "a list"),
        ({"kind": "uint16"}, "not those of its network"),
        ({"kind": "float32"}, "coded tensors are"),
        ({"codec": "pickle"}, "coded tensors are"),
        ({"codec": "another"}, "coded numbers"),
        ({"codec": "huffman"}, "Huffman"),
    ],
)
def test_what_a_header_says_of_coded_maps_is_not_believed(coded_file, damage, words):
    path, tensors, document = coded_file
    name = next(iter(document["coded"]))
    if damage == {"codec": "another"}:
        damage = {"codec": "deflate" if document["coded"][name]["codec"] == "lzma" else "lzma"}
    document["coded"][name] |= damage
    tensor_file.write_tensors(path, tensors, document)
    with pytest.raises(ModelFileError, match=words) as error:
        load_model(path)
    assert len(str(error.value)) < 1000


def test_streams_that_are_no_streams_are_refused(coded_file):
    path, tensors, document = coded_file
    name = next(iter(document["coded"]))
    for stream, words in (
        (tensors[name][:-40], "coded numbers"),
        (torch.cat([tensors[name], tensors[name]]), "coded numbers"),
        (tensors[name].float(), "list of bytes"),
        (tensors[name][None], "list of bytes"),
    ):
        tensor_file.write_tensors(path, {**tensors, name: stream}, document)
        with pytest.raises(ModelFileError, match=words):
            load_model(path)
    for coded in ([], {"nowhere": document["coded"][name]}, {name: 3}):
        tensor_file.write_tensors(path, tensors, {**document, "coded": coded})
        with pytest.raises(ModelFileError):
            load_model(path)


def test_ratios_are_told_by_layer_and_in_all_and_appended(run_here, original, folder, tmp_path):
    tucker = compress(original, TuckerSpec(0.5, rank_multiple=1, minimum_rank=2))
    smaller, file, table = compress(tucker, Spec(16), "sharing"), tmp_path / "small.tuckerseg", tmp_path / "ratios.csv"
    smaller.save(file)
    printed = run_here("ratios", file, "--csv", table, "--runs", 1, "--threads", 1)
    assert "encoder.stages.1.0.convs.0.conv" in printed and "Written" in printed
    rows = list(csv.DictReader(table.open(newline="")))
    total, layers = rows[-1], rows[:-1]
    assert total["layer"] == "all" and int(total["disk_bytes"]) == file.stat().st_size
    assert int(total["memory_bytes"]) == smaller.weight_bytes == sum(int(row["memory_bytes"]) for row in layers)
    assert int(total["original_bytes"]) == original.weight_bytes == sum(int(row["original_bytes"]) for row in layers)
    assert float(total["memory_ratio"]) == pytest.approx(original.weight_bytes / smaller.weight_bytes, rel=1e-4)
    assert all(float(row["time_ratio"]) > 0 for row in rows if row["layer"] != "all else")
    run_here("ratios", folder, "--csv", table, "--runs", 0)
    rows = list(csv.DictReader(table.open(newline="")))
    assert len(rows) == 2 * len(layers) + 2 and float(rows[-1]["memory_ratio"]) == 1.0
    assert rows[-1]["time_ratio"] == ""
    table.write_text("something,else\n")
    assert main(["ratios", str(file), "--csv", str(table), "--runs", "0"]) == 1
    assert table.read_text() == "something,else\n"
