"""The calibration that comes with a built-in model: used where the user has none, and for that very model alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from TuckerSegLib import calibrate_model, catalog, image_from_array, load_model
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression import compact_calibration
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.models import calibration, shipped_calibration
from TuckerSegLib.models.calibration import calibration_stamp, store_calibration, stored_calibration
from TuckerSegLib.models.compression_step import is_due
from TuckerSegLib.models.shipped_calibration import read_shipped_calibration, write_shipped_calibration


@pytest.fixture
def built_in(make_model_folder, small_image, own_folder, monkeypatch):
    """A model that counts as built in, calibrated on ``small_image`` before it shipped."""
    model = load_model(make_model_folder(patch_shape=(16, 16, 16)))
    monkeypatch.setattr(shipped_calibration, "PATH", own_folder / "calibration.safetensors")
    assert stored_calibration(model, Cache()) is None
    monkeypatch.setattr(compact_calibration, "PROJECTIONS", 1)
    monkeypatch.setattr(calibration, "has_built_in_volumes", lambda model: False)
    write_shipped_calibration(model, calibrate_model(model, small_image, threads=1), shipped_calibration.PATH)
    shipped_calibration._source.cache_clear()
    shipped_calibration._calibration.cache_clear()
    return model


def test_it_is_used_where_the_user_has_none_and_the_users_own_wins(built_in, small_image, hand_over):
    cache = Cache()
    shipped = stored_calibration(built_in, cache)
    assert len(shipped.volumes) == 1 and shipped.has_ranges
    assert calibration_stamp(built_in, cache) is not None
    another = image_from_array(hand_over((26, 28, 24)).voxels, spacing_mm=(2.0, 1.5, 1.8))
    assert not is_due(built_in, shipped, "auto", lambda: another)
    own = calibrate_model(built_in, another, shipped, threads=1)
    assert own.patches > shipped.patches
    store_calibration(built_in, own, cache)
    assert stored_calibration(built_in, cache).sha256 == own.sha256
    assert stored_calibration(built_in, cache, "another") is None
    assert calibration_stamp(built_in, cache) != calibration_stamp(built_in, Cache(cache.folder / "elsewhere"))


def test_another_model_that_claims_to_be_the_built_in_one_gets_none(built_in, tmp_path):
    weights = {name: value + 0.1 for name, value in built_in.weights.items()}
    replace(built_in, weights=weights).save(tmp_path / "claims.tuckerseg")
    claims = load_model(tmp_path / "claims.tuckerseg")
    assert claims.source_sha256 == built_in.source_sha256
    assert stored_calibration(claims, Cache()) is None and calibration_stamp(claims, Cache()) is None


def test_a_damaged_one_counts_as_none(built_in):
    path = shipped_calibration.PATH
    content = bytearray(path.read_bytes())
    content[-7] ^= 255
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_shipped_calibration(path)
    shipped_calibration._calibration.cache_clear()
    assert stored_calibration(built_in, Cache()) is None


def test_the_one_that_ships_belongs_to_the_demonstration_and_fits_it():
    model = load_model("demo")
    shipped = stored_calibration(model, Cache())
    assert catalog.DEMO_VOLUME.name in shipped.volumes and len(shipped.volumes) > 3
    assert shipped.has_ranges
    for moments in shipped.folds[model.folds[0]].layers.values():
        torch.linalg.cholesky(moments.inputs + 1e-3 * moments.inputs.diagonal().mean() * torch.eye(len(moments.inputs)))
    assert shipped_calibration.PATH.stat().st_size < 10e6
