"""What lies in the cache is used for the model that it was made of, and for no other, whatever files claim."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

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
from TuckerSegLib.cache import Cache, entry_name
from TuckerSegLib.cli.commands.cache import age_in_words
from TuckerSegLib.cli.main import main
from TuckerSegLib.compression.calibration import Calibration
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.estimation.shipped_agreement import shipped_agreement
from TuckerSegLib.jobs.warm_models import WarmModels
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.models.calibration import (
    ModelCalibration,
    calibrate_model,
    calibration_stamp,
    store_calibration,
    stored_calibration,
    volume_id,
)
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.loading import load_facts
from TuckerSegLib.models.material import prepare_fold


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def honest(folder):
    return load_model(folder)


def test_a_file_with_other_weights_and_the_same_claims_leaves_the_honest_model_alone(honest, small_image, tmp_path):
    other_weights(honest).save(tmp_path / "poison.tuckerseg")
    poison = load_model(tmp_path / "poison.tuckerseg")
    assert (poison.source_sha256, poison.recipes, poison.plans) == (honest.source_sha256, (), honest.plans)
    false = segment(small_image, poison, COMPILED).labels
    expected = segment(small_image, honest, COMPILED, cache=Cache(tmp_path / "clean")).labels
    assert (false != expected).any()
    np.testing.assert_array_equal(segment(small_image, honest, COMPILED).labels, expected)
    np.testing.assert_array_equal(segment(small_image, poison, COMPILED).labels, false)


def test_everything_that_is_made_of_such_a_file_is_its_own(honest, small_image, tmp_path):
    other_weights(honest).save(tmp_path / "poison.tuckerseg")
    poison, cache = load_model(tmp_path / "poison.tuckerseg"), Cache()
    store_calibration(poison, calibrate_model(poison, small_image, threads=1), cache)
    false = compress(poison, HALF)
    assert stored_calibration(honest, cache) is None and calibration_stamp(honest, cache) is None
    smaller = compress(honest, HALF)
    assert same_weights(smaller, compress(honest, HALF, cache=Cache(tmp_path / "clean")))
    assert not same_weights(smaller, false)


def network_basis(model, fold, cache):
    """The decomposition of one fold's network."""
    return prepare_fold(model, fold, HALF, "tucker", cache, None).basis()


def test_a_file_edited_in_place_with_its_size_and_time_kept_is_another_model(folder, honest, tmp_path):
    path = tmp_path / "model.tuckerseg"
    honest.save(path)
    first, stat = load_facts(path).key, path.stat()
    beside = tmp_path / "beside.tuckerseg"
    other_weights(honest).save(beside)
    assert beside.stat().st_size == stat.st_size
    path.write_bytes(beside.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_facts(path).key != first


def test_a_checkpoint_swapped_with_its_time_kept_is_another_model(folder, honest):
    file = folder / "fold_0" / "checkpoint_final.pth"
    stat = file.stat()
    checkpoint = torch.load(file, weights_only=False)
    for tensor in checkpoint["network_weights"].values():
        tensor.mul_(0.5)
    torch.save(checkpoint, file)
    assert file.stat().st_size == stat.st_size
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = load_model(folder)
    assert again.key != honest.key and not same_weights(again, honest)
    warm = WarmModels()
    assert same_weights(warm.original(str(folder)), again)


def test_an_entry_under_another_entry_s_name_is_discarded(honest):
    cache = Cache()
    half, third = compress(honest, HALF), compress(honest, Spec(rank_ratio=0.3))
    shutil.copy(cache.path("models", half.key), cache.path("models", third.key))
    with pytest.warns(UserWarning, match="made again"):
        again = compress(honest, Spec(rank_ratio=0.3))
    assert same_weights(again, third) and again.recipes == third.recipes


@pytest.mark.parametrize("through", ["the model", "the file"])
@pytest.mark.parametrize("read", [load_model, load_facts])
def test_a_whole_file_that_was_not_stored_by_the_cache_is_discarded(folder, honest, through, read):
    (entry,) = models_in(Cache())
    if through == "the model":
        other_weights(honest).save(entry.path)
    else:
        tensors, document = tensor_file.read_tensors(entry.path)
        tensor_file.write_tensors(entry.path, {name: each.flip(0) for name, each in tensors.items()}, document)
    with pytest.warns(UserWarning, match="made again"):
        read(folder)
    assert same_weights(load_model(folder), honest)


def test_an_entry_with_another_model_s_plans_is_discarded(honest):
    smaller, cache = compress(honest, HALF), Cache()
    path = cache.path("models", smaller.key)
    with_spacing(smaller, 1.0).save(path, entry_name("models", smaller.key))
    with pytest.warns(UserWarning, match="another model"):
        assert compress(honest, HALF).plans == smaller.plans


def test_a_basis_of_another_network_is_not_used(honest):
    false, cache = other_weights(honest), Cache()
    bases = [network_basis(model, "0", cache) for model in (false, honest)]
    ours, theirs = sorted(entry.path for entry in cache.entries() if entry.kind == "bases")
    name = next(iter(bases[0].layers))
    shutil.copy(ours, theirs)
    with pytest.warns(UserWarning, match="made again"):
        again = [network_basis(model, "0", cache) for model in (false, honest)]
    for before, after in zip(bases, again, strict=True):
        assert torch.equal(before.layers[name].core, after.layers[name].core)


def test_folds_have_bases_of_their_own(make_model_folder):
    model, cache = load_model(make_model_folder(folds=("0", "1"))), Cache()
    first, second = (network_basis(model, fold, cache) for fold in model.folds)
    name = next(iter(first.layers))
    assert not torch.equal(first.layers[name].core, second.layers[name].core)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_calibration_that_is_no_number_is_made_again(honest, small_image, value):
    cache, calibration = Cache(), calibrate_model(honest, small_image, threads=1)
    store_calibration(honest, calibration, cache)
    assert stored_calibration(honest, cache).sha256 == calibration.sha256
    tensors = calibration.folds["0"].to_tensors()
    tensors[next(name for name in tensors if "/" in name)].flatten()[0] = value
    false = ModelCalibration({"0": Calibration.from_tensors(tensors)}, calibration.volumes, calibration.volume_ids)
    store_calibration(honest, false, cache)
    with pytest.warns(UserWarning, match="made again"):
        assert stored_calibration(honest, cache) is None
    assert calibration_stamp(honest, cache) is None


def test_volumes_that_differ_in_one_voxel_or_in_their_place_are_told_apart(small_image):
    array = small_image.array.copy()
    array[0, 1, 2, 3] += 1  # no corner of a coarse grid
    moved = small_image.geometry.matrix.copy()
    moved[0, 3] += 0.5
    others = [replace(small_image, array=array)]
    others.append(replace(small_image, geometry=replace(small_image.geometry, affine=tuple(map(tuple, moved)))))
    assert len({volume_id(image) for image in (small_image, *others)}) == 3
    assert volume_id(replace(small_image, source="elsewhere")) == volume_id(small_image)


def test_a_compiled_network_in_another_s_place_or_changed_is_made_again(honest, small_image):
    cache, false = Cache(), other_weights(honest)
    expected = segment(small_image, honest, COMPILED).labels
    segment(small_image, false, COMPILED)
    (ours,), (theirs,) = (compiled_files(cache, model) for model in (honest, false))
    assert ours.name != theirs.name
    shutil.copy(theirs, ours)
    with pytest.warns(UserWarning, match="made again"):
        np.testing.assert_array_equal(segment(small_image, honest, COMPILED).labels, expected)
    content = bytearray(ours.read_bytes())
    content[-50] ^= 0xFF
    ours.write_bytes(content)
    with pytest.warns(UserWarning, match="made again"):
        np.testing.assert_array_equal(segment(small_image, honest, COMPILED).labels, expected)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", 3, None])
def test_a_fold_s_name_is_no_path(honest, tmp_path, name):
    weights = {key.replace("0/", f"{name}/", 1): tensor for key, tensor in honest.weights.items()}
    replace(honest, folds=(name,), weights=weights).save(tmp_path / "model.tuckerseg")
    with pytest.raises(ModelFileError, match="fold"):
        load_model(tmp_path / "model.tuckerseg")


def test_an_agreement_is_its_own_model_s(honest, tmp_path):
    smaller = compress(honest, HALF)
    other_weights(smaller).save(tmp_path / "poison.tuckerseg")
    known = Measurements(Cache())
    known.add_agreement(smaller.key, "my CT", 0.99)
    assert known.agreement(load_model(tmp_path / "poison.tuckerseg").key) is None


def test_a_file_that_claims_to_be_the_built_in_model_gets_none_of_its_agreement(tmp_path):
    demo, cache = load_model("demo"), Cache()
    small = compress(demo, Spec(0.85))
    for name, model in (("original", demo), ("small", small)):
        other_weights(model).save(tmp_path / f"{name}.tuckerseg")
        claiming = load_facts(tmp_path / f"{name}.tuckerseg")
        assert claiming.source_sha256 == demo.source_sha256
        assert shipped_agreement(claiming, "tucker", 0.85, cache) is None
    small.save(tmp_path / "honest.tuckerseg")
    for honest in (demo, load_facts(tmp_path / "honest.tuckerseg")):
        assert shipped_agreement(honest, "tucker", 0.85, cache)[0] > 0.9


def test_what_lies_about_is_told_with_what_it_belongs_to(honest, small_image, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other processes leave things in the common one
    cache, smaller = Cache(), compress(honest, HALF)
    segment(small_image, smaller, COMPILED)
    store_calibration(honest, calibrate_model(honest, small_image, threads=1), cache)
    left, nonsense = cache.folder / "models" / ".left", cache.path("models", "f" * 32)
    left.write_bytes(b"x" * 10)
    nonsense.write_bytes(b"nonsense")
    os.utime(nonsense, (time.time() - 5 * 86400,) * 2)
    assert main(["cache", "list"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf" 5 d +models +{nonsense.stem} .*damaged", printed)
    assert re.search(rf" s +compiled +{smaller.key}  {honest.name}, tucker at rank 0.50", printed)
    assert re.search(r"models +.left .*left by a process that was killed", printed)
    assert main(["cache", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    words = {(entry["kind"], entry["key"]): entry["belongs_to"] for entry in told if not entry["leftover"]}
    assert {kind for kind, _ in words} == {"models", "bases", "calibrations", "compiled"}
    assert f"{honest.name}, tucker at rank 0.50" in words["models", smaller.key]
    assert all(honest.name in text or "damaged" in text for text in words.values())
    (rest,) = [entry for entry in told if entry["leftover"]]
    assert (rest["size_bytes"], rest["path"]) == (10, str(left))


AGES = [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (864000, "10 d")]


@pytest.mark.parametrize(("seconds", "words"), AGES)
def test_ages_are_told_in_their_largest_unit(seconds, words):
    assert age_in_words(seconds) == words
