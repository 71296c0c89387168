"""Whole predictions: orientation, memory that runs out, cancelling, features against logits, what is told."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, as_table, image_from_array, load_model, prepare, segment
from TuckerSegLib.errors import Cancelled, OutOfMemoryError
from TuckerSegLib.image import oriented
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.statistics import structure_table
from TuckerSegLib.segmentation.predictor import Network

EXACT = InferenceSpec(precision="fp32", device="torch:cpu")


@pytest.fixture
def ct():
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(1, 1, 7, 6, 8, generator=generator) * 500
    values = torch.nn.functional.interpolate(coarse, (50, 44, 61), mode="trilinear")[0, 0]
    return image_from_array(values.numpy().astype(np.int16), spacing_mm=(2.0, 2.5, 3.0))


def failing(network: Network, fails) -> Network:
    def run(patches):
        if fails(patches):
            raise MemoryError("no memory left")
        return network.run(patches)

    return Network(run, network.head, network.is_out_of_memory)


def with_network(ready, network):
    return dataclasses.replace(ready, network=network)


def test_the_same_ct_stored_along_other_axes_gets_the_same_labels(make_model_folder, ct):
    ready = prepare(load_model(make_model_folder()), EXACT)
    expected = segment(ct, ready, EXACT).labels
    for codes in ("LPS", "SRA", "AIL", "PLI", "IPR"):
        array, geometry = oriented(ct.array[0], ct.geometry, codes)
        result = segment(image_from_array(np.ascontiguousarray(array), affine=geometry.matrix), ready, EXACT)
        assert result.labels.shape == array.shape, codes
        back, _ = oriented(result.labels, result.geometry, "RAS")
        np.testing.assert_array_equal(back, expected, codes)


def test_features_and_logits_give_the_same_labels(make_model_folder, ct):
    model = load_model(make_model_folder())
    by_features = segment(ct, model, EXACT).labels
    by_logits = segment(ct, dataclasses.replace(model, head_path=None), EXACT).labels
    assert len(np.unique(by_features)) > 2
    np.testing.assert_array_equal(by_features, by_logits)


def test_the_batch_size_changes_nothing(make_model_folder, ct):
    model = load_model(make_model_folder())
    alone, *others = (segment(ct, model, dataclasses.replace(EXACT, batch_size=size)).labels for size in (1, 2, 3))
    for labels in others:
        np.testing.assert_array_equal(labels, alone)


def test_memory_that_runs_out_is_met_with_smaller_batches_and_told(make_model_folder, ct):
    batched = dataclasses.replace(EXACT, batch_size=4)
    ready = prepare(load_model(make_model_folder()), batched)
    expected = segment(ct, ready, batched).labels
    result = segment(ct, with_network(ready, failing(ready.network, lambda patches: len(patches) > 1)), batched)
    np.testing.assert_array_equal(result.labels, expected)
    assert any("one patch at a time" in note for note in result.statistics.notes)


def test_memory_that_runs_out_altogether_is_an_error_that_says_what_to_do(make_model_folder, ct):
    ready = prepare(load_model(make_model_folder()), EXACT)
    with pytest.raises(OutOfMemoryError, match="another device"):
        segment(ct, with_network(ready, failing(ready.network, lambda patches: True)), EXACT)


def test_other_errors_go_up_as_they_are(make_model_folder, ct):
    ready = prepare(load_model(make_model_folder()), EXACT)

    def broken(patches):
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        segment(ct, with_network(ready, Network(broken, None, ready.network.is_out_of_memory)), EXACT)


def test_a_cancelled_run_stops_before_the_next_patch(make_model_folder, ct):
    ready = prepare(load_model(make_model_folder()), EXACT)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        segment(ct, ready, EXACT, Monitor(cancelled=lambda: next(asked) == 2))
    assert next(asked) == 3


def test_threads_are_put_back(make_model_folder, ct):
    before = torch.get_num_threads()
    result = segment(ct, load_model(make_model_folder()), dataclasses.replace(EXACT, threads=1))
    assert result.statistics.threads == 1
    assert torch.get_num_threads() == before


def test_a_damaged_compiled_network_is_made_again_and_told(make_model_folder, ct, own_cache):
    model = load_model(make_model_folder())
    settings = InferenceSpec(precision="fp32", device="openvino:cpu")
    expected = segment(ct, model, settings).labels
    (compiled,) = own_cache.rglob("*.compiled")
    compiled.write_bytes(compiled.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match="made again"):
        np.testing.assert_array_equal(segment(ct, model, settings).labels, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment(ct, model, settings)


def test_nothing_found_is_told_with_a_reason(make_model_folder):
    model = load_model(make_model_folder())
    for name in list(model.weights):  # a head that always says background
        if name.endswith("seg_layers.1.bias"):
            model.weights[name] = torch.tensor([1e4] + [0.0] * 19)
    noise = np.random.default_rng(0).integers(70, 90, (40, 40, 40)).astype(np.int16)
    empty = image_from_array(noise, spacing_mm=(3, 3, 3))
    result = segment(empty, model, EXACT)
    assert not result.labels.any()
    assert any(note.startswith("No structures were found") for note in result.statistics.notes)


def test_what_the_model_cannot_do_is_told(make_model_folder):
    noise = np.random.default_rng(0).integers(-900, 900, (10, 40, 40)).astype(np.int16)
    mirrored = dataclasses.replace(EXACT, mirroring=True)
    notes = segment(image_from_array(noise, spacing_mm=(3, 3, 3)), load_model(make_model_folder()), mirrored)
    text = " ".join(notes.statistics.notes)
    assert "no mirroring" in text
    assert "less than half the network's patch" in text


def test_the_table_holds_what_was_counted(make_model_folder, ct):
    statistics = segment(ct, load_model(make_model_folder()), EXACT).statistics
    text = as_table(statistics)
    assert f"{statistics.parameters / 1e6:.2f}" in text
    assert "network" in text
    assert len(structure_table(statistics).splitlines()) == len(statistics.structures)
    volume_ml = sum(structure.volume_ml for structure in statistics.structures)
    assert 0 < volume_ml <= 50 * 44 * 61 * 2.0 * 2.5 * 3.0 / 1000
