"""Files of an earlier version: models, cache entries and exported folders of commit 270e57c give what they gave."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from TuckerSegLib import Cache, InferenceSpec, TuckerSpec, compress, image_from_array, load_model, segment
from TuckerSegLib.nnunet.folder import find_model_folder
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.reading import read_plans

FORMER = Path(__file__).resolve().parents[1] / "data" / "written_before"
INNER = "Dataset001_Former/nnUNetTrainer__nnUNetPlans__3d_fullres"
EXACT = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
SMALL = {"rank_multiple": 1, "minimum_rank": 2}


@pytest.fixture(scope="module")
def expected():
    with np.load(FORMER / "expected.npz") as file:
        return dict(file)


@pytest.fixture
def former_cache():
    """A cache that holds what the earlier version kept of models."""
    cache = Cache()
    shutil.copytree(FORMER / "models", cache.folder / "models")
    return cache


def patch():
    return torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_gives(model, expected, name):
    """The model's logits on the patch, and its labels on the volume, are those that were given before."""
    with torch.inference_mode():
        logits = model.network(model.folds[0])(patch()).numpy()[..., ::2, ::2, ::2]
    np.testing.assert_allclose(logits, expected[f"{name}_logits"], atol=1e-4)
    volume = image_from_array(expected["volume"], spacing_mm=(3, 3, 3))
    np.testing.assert_array_equal(segment(volume, model, EXACT).labels, expected[f"{name}_labels"])


def test_a_compressed_and_refitted_file_is_read(expected):
    model = load_model(FORMER / "refitted.tuckerseg")
    assert [recipe.method for recipe in model.recipes] == ["tucker", "refit"]
    assert_gives(model, expected, "refitted")


def test_an_exported_folder_is_read_by_us_and_built_as_nnunet_builds_it(expected):
    folder = FORMER / "exported" / INNER
    assert_gives(load_model(folder), expected, "plain")
    found = find_model_folder(folder)
    checkpoint = found.read_checkpoint("0")
    plans = read_plans(found.read_json("plans.json"), found.read_json("dataset.json"), checkpoint, str(folder))
    network = build_network(plans.architecture, plans.input_channels, plans.logit_channels).eval()
    network.load_state_dict(checkpoint["network_weights"])
    with torch.inference_mode():
        logits = network(patch()).numpy()[..., ::2, ::2, ::2]
    np.testing.assert_allclose(logits, expected["plain_logits"], atol=1e-4)


@pytest.mark.filterwarnings("ignore:A cached file could not be used")
def test_the_cache_s_entries_are_read_and_do_no_harm_where_keys_have_changed(expected, former_cache):
    """Their keys told a model by what its file claims; today's tell it by its weights, and pass them over."""
    assert_gives(load_model(former_entry("2bcd")), expected, "original")
    assert_gives(load_model(former_entry("f3c3")), expected, "weights")
    assert_gives(load_model(FORMER / INNER, cache=former_cache), expected, "original")


def former_entry(beginning):
    """An entry of the earlier version's cache."""
    (path,) = (FORMER / "models").glob(f"{beginning}*.tuckerseg")
    return path


@pytest.mark.filterwarnings("ignore:A cached file could not be used")
def test_the_same_spec_still_gives_the_same_ranks_and_weights(expected, former_cache):
    original = load_model(FORMER / INNER, cache=former_cache)
    spec = TuckerSpec(0.6, rank_mode="auto", **SMALL)
    kept, anew = (
        compress(original, spec, cache=former_cache),
        compress(original, spec, cache=Cache(former_cache.folder / "new")),
    )
    assert anew.key == kept.key
    assert anew.recipes == kept.recipes
    assert (anew.cost, anew.original_cost, anew.head_path) == (kept.cost, kept.original_cost, kept.head_path)
    for name, value in kept.weights.items():
        torch.testing.assert_close(anew.weights[name], value, atol=1e-5, rtol=1e-5)


def test_the_paper_s_ranks_of_a_spec_are_those_of_the_exported_folder(expected):
    original = load_model(FORMER / INNER)
    spec = TuckerSpec(0.6, sweeps=2, keep_if_not_cheaper=False, **SMALL)
    assert_gives(compress(original, spec), expected, "plain")
