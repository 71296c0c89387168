"""Loading and compressing models through the cache and through .tuckerseg files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from TuckerSegLib import tensor_file as model_file
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import ModelFileError, ModelFolderError, OutputError, SpecError
from TuckerSegLib.models import loading
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.loading import load_model
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import Architecture

LOW_RANK = Spec(rank_ratio=0.5)


def output_of(model, features=False):
    torch.manual_seed(0)
    patch = torch.randn(1, model.plans.input_channels, 32, 32, 32)
    with torch.no_grad():
        return model.network(model.folds[0], features)(patch)


@pytest.mark.parametrize("residual", [False, True])
def test_the_loaded_network_computes_what_nnunet_computes(make_model_folder, residual):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    folder = make_model_folder(residual=residual)
    model = load_model(folder)
    facts = model.plans.architecture
    network = get_network_from_plans(
        facts.class_name, dict(facts.kwargs), facts.requires_import, 1, 20, deep_supervision=False
    ).eval()
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    network.load_state_dict(checkpoint["network_weights"])
    torch.manual_seed(0)
    with torch.no_grad():
        expected = network(torch.randn(1, 1, 32, 32, 32))
    assert torch.equal(output_of(model), expected)


@pytest.mark.parametrize("spec", [None, LOW_RANK])
def test_a_model_from_the_cache_equals_the_one_that_went_in(make_model_folder, monkeypatch, spec):
    folder = make_model_folder()

    def load():
        model = load_model(folder)
        return compress(model, spec) if spec else model

    first = load()
    monkeypatch.setattr(loading, "_convert", None)  # calling it again would fail
    monkeypatch.setattr("TuckerSegLib.models.compress.prepare_fold", None)
    second = load()
    assert first == second
    assert first.weights.keys() == second.weights.keys()
    assert torch.equal(output_of(first), output_of(second))


def test_compression_changes_the_output_and_the_costs(make_model_folder):
    model = load_model(make_model_folder())
    smaller = compress(model, LOW_RANK)
    assert smaller.cost.parameters < model.cost.parameters
    assert smaller.cost.macs < model.cost.macs
    assert smaller.original_cost == model.cost
    assert not torch.allclose(output_of(model), output_of(smaller))


def test_rank_ratio_one_is_the_original(make_model_folder):
    model = load_model(make_model_folder())
    assert compress(model, Spec(rank_ratio=1.0)) is model


def test_changing_the_rank_does_not_decompose_again(make_model_folder, monkeypatch):
    model = load_model(make_model_folder())
    compress(model, LOW_RANK)
    monkeypatch.setattr("TuckerSegLib.compression.tucker.material.decompose", None)
    assert compress(model, Spec(rank_ratio=0.3)).cost.macs < compress(model, LOW_RANK).cost.macs


@pytest.mark.parametrize("spec", [Spec(rank_ratio=1.0), LOW_RANK, Spec.paper(0.5)])
def test_features_and_head_give_the_logits(make_model_folder, spec):
    model = compress(load_model(make_model_folder()), spec)
    weight, bias = model.head("0")
    logits = torch.einsum("lf,bfzyx->blzyx", weight, output_of(model, features=True)) + bias[:, None, None, None]
    assert torch.allclose(logits, output_of(model), atol=1e-5)


def test_every_fold_has_its_own_weights(make_model_folder):
    model = compress(load_model(make_model_folder(folds=("0", "1"))), LOW_RANK)
    first, second = (torch.cat([tensor.flatten() for tensor in model.network(fold).parameters()]) for fold in "01")
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_other_weights_in_the_same_place_are_not_taken_from_the_cache(make_model_folder):
    folder = make_model_folder()
    first = load_model(folder)
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    for tensor in checkpoint["network_weights"].values():
        tensor.mul_(0.5)
    torch.save(checkpoint, file)
    second = load_model(folder)
    assert first.source_sha256 != second.source_sha256
    assert not torch.equal(output_of(first), output_of(second))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "newer"])
@pytest.mark.parametrize("kind", ["models", "bases"])
def test_a_damaged_cache_entry_is_made_again_with_a_warning(make_model_folder, damage, kind):
    folder = make_model_folder()
    compressed = compress(load_model(folder), LOW_RANK)
    expected = output_of(compressed)
    for entry in Cache().entries():
        if entry.kind == kind:
            spoil(entry.path, damage)
    if kind == "bases":
        Cache().discard("models", compressed.key)  # so that the basis is needed
    with pytest.warns(UserWarning, match="made again"):
        again = compress(load_model(folder), LOW_RANK)
    assert torch.equal(output_of(again), expected)
    assert torch.equal(output_of(compress(load_model(folder), LOW_RANK)), expected)  # and is whole now


def spoil(path, damage):
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[-100] ^= 0xFF
    elif damage == "empty":
        content = b""
    elif damage == "newer":
        tensors, document = model_file.read_tensors(path)
        original = model_file.FORMAT_VERSION
        model_file.FORMAT_VERSION = 99
        model_file.write_tensors(path, tensors, {**document, "format": 99})
        model_file.FORMAT_VERSION = original
        return
    path.write_bytes(content)


def test_a_saved_model_loads_and_computes_the_same(make_model_folder, tmp_path):
    model = compress(load_model(make_model_folder()), LOW_RANK)
    model.save(tmp_path / "small.tuckerseg")
    loaded = load_model(tmp_path / "small.tuckerseg")
    assert loaded == model
    assert torch.equal(output_of(loaded), output_of(model))


def test_bad_model_files_are_refused_with_their_name(make_model_folder, tmp_path):
    foreign = tmp_path / "foreign.tuckerseg"
    save_file({"a": torch.ones(2)}, foreign)
    text = tmp_path / "text.tuckerseg"
    text.write_text("not safetensors")
    missing = tmp_path / "missing.tuckerseg"
    for path, kind, words in (
        (foreign, ModelFileError, "header is missing"),
        (text, ModelFileError, "damaged"),
        (missing, ModelFolderError, "nor an existing file"),
    ):
        with pytest.raises(kind, match=words) as caught:
            load_model(path)
        assert path.name in str(caught.value)
    with pytest.raises(OutputError, match="absent"):
        load_model(make_model_folder()).save(tmp_path / "absent" / "model.tuckerseg")
    assert list(tmp_path.glob(".*")) == []


def test_weights_that_do_not_fit_the_plans_are_refused(make_model_folder):
    folder = make_model_folder()
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"].popitem()
    torch.save(checkpoint, file)
    with pytest.raises(ModelFolderError, match="do not fit the network in plans.json"):
        load_model(folder)


def test_folds_that_a_model_file_does_not_hold_are_refused(make_model_folder, tmp_path):
    path = tmp_path / "model.tuckerseg"
    load_model(make_model_folder(folds=("0", "1"))).save(path)
    assert load_model(path, ("0", "1")).folds == ("0", "1")
    with pytest.raises(SpecError, match="folds 0, 1"):
        load_model(path, ("1",))


def test_a_network_with_batch_normalization_computes_what_nnunet_computes(make_model_folder):
    folder = make_model_folder()
    plans = json.loads((folder / "plans.json").read_text())
    facts = plans["configurations"]["3d_fullres"]["architecture"]
    facts["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    (folder / "plans.json").write_text(json.dumps(plans))
    names = (facts["network_class_name"], facts["arch_kwargs"], tuple(facts["_kw_requires_import"]))
    network = build_network(Architecture(*names), 1, 20)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"network_weights": network.state_dict()}, file)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = network(torch.randn(1, 1, 32, 32, 32))
    model = load_model(folder)
    assert torch.equal(output_of(model), expected)
    assert torch.equal(output_of(load_model(folder)), expected)  # from the cache
    full = compress(model, Spec.paper(1.0))
    assert torch.allclose(output_of(full), expected, atol=1e-4 * float(expected.abs().max()))


def test_two_processes_may_fill_the_cache_at_once(make_model_folder):
    code = (
        "import sys; from TuckerSegLib.models.loading import load_model\n"
        "from TuckerSegLib.models.compress import compress\n"
        "from TuckerSegLib.compression.tucker import Spec\n"
        "print(compress(load_model(sys.argv[1]), Spec(rank_ratio=0.5)).key)"
    )
    command = [sys.executable, "-c", code, str(make_model_folder())]
    root = __import__("pathlib").Path(loading.__file__).resolve().parents[2]
    processes = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert len({output for output, _ in answers}) == 1


def test_a_compressed_model_is_not_compressed_again(make_model_folder):
    with pytest.raises(SpecError, match="compressed already"):
        compress(compress(load_model(make_model_folder()), LOW_RANK), LOW_RANK)
