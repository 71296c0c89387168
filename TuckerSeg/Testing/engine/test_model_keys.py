"""Keys of models, compressions and compiled forms cover all that decides the output."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from Testing.engine.foreign_models import (
    COMPILED,
    HALF,
    compiled_files,
    models_in,
    other_weights,
    same_weights,
    with_spacing,
)
from TuckerSegLib import load_model, segment, tensor_file
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.models.compress import compress, planned_model
from TuckerSegLib.models.distillation import planned_repair
from TuckerSegLib.models.loading import load_facts
from TuckerSegLib.models.material import material_key
from TuckerSegLib.models.model_file import read_model_facts, read_model_file
from TuckerSegLib.nnunet.plans import ChannelNormalization
from TuckerSegLib.training.distillation.settings import RepairSettings


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def honest(folder):
    return load_model(folder)


WHOLE_IMAGE = ChannelNormalization("ZScoreNormalization", False)


def renamed(weights):
    """Those of fold 0, as those of a training on all."""
    return {f"all/{name.removeprefix('0/')}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        lambda model: with_spacing(model, 1.0),
        lambda model: replace(model, folds=("all",), weights=renamed(model.weights)),
        lambda model: replace(model, plans=replace(model.plans, dataset_name="Dataset291_TotalSegmentator_part1")),
        lambda model: replace(model, plans=replace(model.plans, labels=model.plans.labels[::-1])),
        lambda model: replace(model, plans=replace(model.plans, normalization=(WHOLE_IMAGE,))),
        lambda model: compress(model, HALF),
    ],
)
def test_the_key_covers_all_that_decides_the_output(honest, tmp_path, change):
    changed = change(honest)
    assert changed.key != honest.key
    assert changed.without_weights().key == changed.key
    honest.save(tmp_path / "honest.tuckerseg")
    changed.save(tmp_path / "changed.tuckerseg")
    files = [tmp_path / "honest.tuckerseg", tmp_path / "changed.tuckerseg"]
    assert len({read_model_file(file).key for file in files}) == 2


def test_the_name_and_the_documents_are_no_part_of_the_key(honest):
    assert replace(honest, name="another", plans=replace(honest.plans, documents=None)).key == honest.key


def test_a_newer_engine_has_other_keys(honest, monkeypatch):
    before = replace(honest).key, planned_model(honest, HALF, "tucker").key
    monkeypatch.setattr("TuckerSegLib.models.model.ENGINE_VERSION", 99)
    again = replace(honest)
    assert again.key != before[0] and planned_model(again, HALF, "tucker").key != before[1]


def test_a_newer_engine_converts_anew(folder, honest, monkeypatch):
    monkeypatch.setattr("TuckerSegLib.models.loading.ENGINE_VERSION", 99)
    load_model(folder)
    assert len(models_in(Cache())) == 2


def test_folds_of_equal_checkpoints_are_models_of_their_own(make_model_folder, recwarn):
    folder = make_model_folder(folds=("0", "1"))
    shutil.copy(folder / "fold_0" / "checkpoint_final.pth", folder / "fold_1" / "checkpoint_final.pth")
    for _ in range(2):
        models = [load_model(folder, folds) for folds in (("0",), ("1",), ("0", "1"))]
        assert [model.folds for model in models] == [("0",), ("1",), ("0", "1")]
    assert len({model.key for model in models}) == 3
    assert not [warning for warning in recwarn if "made again" in str(warning.message)]


def test_folds_that_are_left_out_or_exchanged_change_the_key_though_the_weights_are_the_same(make_model_folder):
    model = load_model(make_model_folder(folds=("0", "1")))
    others = [replace(model, folds=folds) for folds in (("0",), ("1",), ("1", "0"))]
    assert {other.weights.identity for other in others} == {model.weights.identity}
    assert len({model.key, *(other.key for other in others)}) == 4


def test_every_fold_has_a_compiled_form_of_its_own(make_model_folder, small_image):
    model = load_model(make_model_folder(folds=("0", "1")))
    labels = segment(small_image, model, COMPILED).labels
    assert len(compiled_files(Cache(), model)) == 2
    np.testing.assert_array_equal(segment(small_image, model, COMPILED).labels, labels)


def test_what_a_method_has_found_out_belongs_to_a_model_a_fold_a_method_and_its_facts(honest, monkeypatch):
    facts = {"of": "evidence", "calibration": "a", "rank_multiple": 8}
    asked = [
        (honest, "0", "tucker", facts),
        (honest, "1", "tucker", facts),
        (other_weights(honest), "0", "tucker", facts),
    ]
    asked += [(honest, "0", "tucker", facts | changed) for changed in ({"calibration": "b"}, {"rank_multiple": 4})]
    keys = {material_key(*each) for each in asked}
    monkeypatch.setattr("TuckerSegLib.compression.tucker.VERSION", 99)
    assert len(keys | {material_key(*asked[0])}) == len(asked) + 1


def test_a_refit_and_a_repair_belong_to_their_original_and_volumes(honest, small_image):
    smaller, settings = compress(honest, HALF), RepairSettings(steps=2)
    moved = replace(small_image, array=small_image.array + 1)
    asked = [(smaller, honest, [small_image], settings), (smaller, other_weights(honest), [small_image], settings)]
    asked += [(smaller, honest, [moved], settings), (other_weights(smaller), honest, [small_image], settings)]
    asked.append((smaller, honest, [small_image], RepairSettings(steps=3)))
    assert len({planned_repair(*each).key for each in asked}) == len(asked)


def test_compressions_of_different_models_have_different_keys(honest):
    for changed in (other_weights(honest), with_spacing(honest, 1.0), replace(honest, folds=("all",))):
        assert planned_model(changed, HALF, "tucker").key != planned_model(honest, HALF, "tucker").key
    assert planned_model(honest, Spec(0.4), "tucker").key != planned_model(honest, HALF, "tucker").key


def test_facts_have_the_key_of_the_whole_model_and_are_checked(folder, honest, tmp_path):
    assert load_facts(folder).key == honest.key
    path = tmp_path / "small.tuckerseg"
    compress(honest, HALF).save(path)
    assert load_facts(path).key == load_model(path).key
    assert read_model_facts(path).key != load_model(path).key, "nobody has looked at the weights"
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="checksum"):
        load_facts(path)


def test_a_changed_header_is_found_where_the_weights_are_not_read(honest, tmp_path):
    path = tmp_path / "model.tuckerseg"
    honest.save(path)
    spacing = rb"spacing_mm\": [3.0, 3.0, 3.0]"
    path.write_bytes(path.read_bytes().replace(spacing, spacing.replace(b"3.0]", b"1.0]")))
    with pytest.raises(ModelFileError, match="header"):
        read_model_facts(path)


def test_a_file_of_an_earlier_version_without_a_checksum_of_its_header_is_read(honest, tmp_path, monkeypatch):
    path = tmp_path / "early.tuckerseg"
    with monkeypatch.context() as earlier:
        earlier.setattr(tensor_file, "_header_sha256", lambda tensors, document: None)
        honest.save(path)
    text = path.read_bytes()
    tensors, document = tensor_file.read_tensors(path)
    del document["header_sha256"]
    document["sha256"] = tensor_file._sha256(sorted(tensors.items()), document)
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={tensor_file.HEADER_KEY: json.dumps(document)})
    assert path.read_bytes() != text
    assert load_facts(path).key == load_model(path).key
    assert same_weights(load_model(path), honest)
