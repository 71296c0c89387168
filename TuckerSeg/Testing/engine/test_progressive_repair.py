"""A repair in stages of falling rank, each decomposed from what the one before has learned."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import TuckerSpec, compress, image_from_array, load_model
from TuckerSegLib.cache import Cache
from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import Cancelled, SpecError
from TuckerSegLib.models.dense_form import dense_form
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.models.progressive_repair import repair_progressively
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import Job, Step
from TuckerSegLib.training.distillation.settings import RepairSettings

SETTINGS = RepairSettings(steps=4, check_every=2, voxels=500, learning_rate=2e-3)
SPEC = {"rank_mode": "auto", "rank_multiple": 4}


@pytest.fixture(scope="module")
def volume():
    values = np.random.default_rng(4).normal(size=(24, 24, 24))
    return image_from_array((300 * values).astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture
def original(make_model_folder):
    return load_model(make_model_folder(patch_shape=(16, 16, 16)))


def repaired(original, volume, cache, *, higher=(0.7,), step=None, calibrate="auto", **options):
    job = Job(images=(), model="demo", calibrate=calibrate, steps=(step or Step("tucker", SPEC, 0.4),))
    return repair_progressively(original, resolve(job), higher, [volume], SETTINGS, cache=cache, threads=1, **options)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_every_stage_decomposes_what_the_one_before_has_learned(original, volume, cache, tmp_path):
    model, records = repaired(original, volume, cache, state_folder=tmp_path)
    tucker, repair = model.recipes
    (stage,) = repair.spec["stages"]
    assert (tucker.method, tucker.spec["rank_ratio"], stage["rank"]) == ("tucker", 0.4, 0.7)
    assert stage["spec"]["calibration"] != tucker.spec["calibration"], "what the layers see has changed"
    assert set(stage["agreement"]) == set(records) == set(original.folds)
    assert "repair of 4 steps after one at each of 1 higher ranks" in describe(model)
    model.save(tmp_path / "model.tuckerseg")
    assert read_model_file(tmp_path / "model.tuckerseg").recipes == model.recipes
    kept = list((cache.folder / "calibrations").iterdir())
    again, _ = repaired(original, volume, cache, state_folder=tmp_path)
    assert all(torch.equal(value, again.weights[name]) for name, value in model.weights.items())
    assert again.key == model.key
    assert len(kept) == 2 and kept == list((cache.folder / "calibrations").iterdir())


@pytest.mark.filterwarnings("ignore:The compression goes by the weights alone")
def test_an_interrupted_stage_goes_on_and_finished_ones_are_not_trained_again(original, volume, cache, tmp_path):
    whole, records = repaired(original, volume, cache, calibrate="none")

    def interrupted() -> bool:
        return len(list(tmp_path.glob("repair-*"))) == 2  # in the second stage, after its first check

    monitor = Monitor(cancelled=interrupted)
    with pytest.raises(Cancelled):
        repaired(original, volume, cache, calibrate="none", state_folder=tmp_path, monitor=monitor)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("repair-*")}
    model, again = repaired(original, volume, cache, calibrate="none", state_folder=tmp_path)
    assert again == records and model.key == whole.key
    assert sum(path.stat().st_mtime_ns == before for path, before in finished.items()) == 1


@pytest.mark.parametrize("kind", [{}, {"transformer": "Primus"}], ids=["convolutions", "linear layers"])
def test_the_dense_form_gives_the_same_outputs_and_is_another_model(make_model_folder, cache, kind):
    original = load_model(make_model_folder(patch_shape=(16, 16, 16), **kind))
    everywhere = {"rank_multiple": 1, "minimum_rank": 2, "keep_if_not_cheaper": False}
    model = compress(original, TuckerSpec(0.5, **everywhere), cache=cache)
    decomposed = {change.kind for change in model.recipes[0].changes if change.skipped_because is None}
    assert len(decomposed) == 2, "convolutions, and transposed ones or linear layers"
    dense = dense_form(model, original)
    assert dense.recipes == original.recipes and dense.cost == original.cost
    assert len({dense.key, original.key, model.key}) == 3
    assert {name: each.shape for name, each in dense.weights.items()} == {
        name: each.shape for name, each in original.weights.items()
    }
    patch, fold = torch.randn(1, 1, 16, 16, 16), original.folds[0]
    with torch.no_grad():
        torch.testing.assert_close(dense.network(fold)(patch), model.network(fold)(patch), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("step", "higher", "words"),
    [
        (Step("prune", strength=0.5), (0.7,), "method tucker alone, as tucker:0.3; found prune"),
        (Step("tucker", {"rank_mode": "fixed"}), (0.7,), "follow a rank ratio; found fixed"),
        (Step("tucker", SPEC, 0.4), (0.3,), "as 0.7 0.5 0.3; found 0.3 0.4"),
        (Step("tucker", SPEC, 0.4), (0.7, 0.7), "found 0.7 0.7 0.4"),
        (Step("tucker", SPEC, 0.4), (1.0,), "found 1"),
    ],
)
def test_stages_that_cannot_be_are_refused(original, volume, cache, step, higher, words):
    with pytest.raises(SpecError, match=words):
        repaired(original, volume, cache, step=step, higher=higher)


def test_the_command_line_asks_for_stages(make_model_folder, volume, tmp_path, capsys):
    folder, ct = make_model_folder(patch_shape=(16, 16, 16)), tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.array[0].T, np.diag([3, 3, 3, 1])), ct)
    command = ["repair", tmp_path / "out.tuckerseg", "--ct", ct, "--model", folder, "--rank", "0.4", "--progressive"]
    assert main([*map(str, command), "0.7", "0.3"]) == 1
    assert "as 0.7 0.5 0.3; found 0.7 0.3 0.4" in capsys.readouterr().err


def test_what_was_not_decomposed_is_not_multiplied_out(original):
    with pytest.raises(SpecError, match="not compressed"):
        dense_form(original, original)
