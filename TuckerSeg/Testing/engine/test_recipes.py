"""What a recipe says is enough to make the same model again."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from Testing.small_models import write_model_folder
from TuckerSegLib import calibrate_model, compress, image_from_array, load_model
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.models.calibration import volume_id
from TuckerSegLib.models.distillation import repair_model
from TuckerSegLib.models.refit import refit_model
from TuckerSegLib.records.serialization import from_json
from TuckerSegLib.training.distillation.settings import RepairSettings

SMALL = {"minimum_rank": 4, "rank_multiple": 4}
POLICIES = {
    "paper": Spec.paper(0.4),
    "uniform": Spec(0.4, **SMALL),
    "energy": Spec(0.8, rank_mode="energy", **SMALL),
    "evbmf": Spec(0.4, rank_mode="evbmf", **SMALL),
    "fixed": Spec(0.4, rank_mode="fixed", **SMALL),
    "weights": Spec(0.4, rank_mode="auto", **SMALL),
    "auto": Spec(0.4, rank_mode="auto", **SMALL),
    "auto, parameters": Spec(0.4, rank_mode="auto", budget="parameters", **SMALL),
    "auto+refit": Spec(0.4, rank_mode="auto", **SMALL),
    "auto+repair": Spec(0.4, rank_mode="auto", **SMALL),
}


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(4)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6))), size=(40, 44, 36))
    return image_from_array((300 * smooth[0, 0].numpy()).astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return load_model(write_model_folder(tmp_path_factory.mktemp("original"), patch_shape=(16, 16, 16)))


@pytest.fixture(scope="module")
def calibration(original, volume):
    return calibrate_model(original, volume, threads=1)


@pytest.fixture(scope="module")
def made(original, volume, calibration, tmp_path_factory):
    """A function that gives the model of a policy, made when it is first asked for."""
    cache = Cache(tmp_path_factory.mktemp("first"))
    return functools.cache(lambda policy: make(original, policy, volume, calibration, cache))


def make(original, policy, volume, calibration, cache):
    """A model compressed as a policy says."""
    calibration = calibration if policy.startswith("auto") else None
    model = compress(original, POLICIES[policy], cache=cache, calibration=calibration)
    if policy == "auto+refit":
        model = refit_model(model, original, [volume], calibration, cache, threads=1)
    if policy == "auto+repair":
        settings = RepairSettings(steps=3, check_every=2, voxels=2000)
        model, _ = repair_model(model, original, [volume], settings, threads=1)
    return model


def made_again(original, recipes, volume, calibrate, cache):
    """The same from what the recipes say, the original and the volume alone."""
    first, *rest = recipes
    spec = from_json(Spec, first.spec)
    calibration = calibrate() if spec.calibration else None
    model = compress(original, spec, first.method, cache=cache, calibration=calibration)
    for recipe in rest:
        assert volume_id(volume) in recipe.spec["volumes"]
        if recipe.method == "refit":
            model = refit_model(model, original, [volume], calibration, cache, threads=1)
        else:
            model, _ = repair_model(model, original, [volume], from_json(RepairSettings, recipe.spec), threads=1)
    return model


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_is_made_again_from_its_recipes(original, volume, calibration, made, tmp_path, policy):
    first = made(policy)
    assert first.recipes

    def calibrate():  # anew for one policy: what it finds out is the same for all
        return calibrate_model(original, volume, threads=1) if policy == "auto" else calibration

    again = made_again(original, first.recipes, volume, calibrate, Cache(tmp_path / "second"))
    assert again.key == first.key
    assert again.recipes == first.recipes
    assert again.weights.keys() == first.weights.keys()
    for name, value in first.weights.items():
        torch.testing.assert_close(again.weights[name], value, atol=0, rtol=0, msg=name)


def test_policies_differ(made):
    keys = {made(policy).key for policy in POLICIES}
    assert len(keys) == len(POLICIES)
