"""All means of compression together: from what is asked to a compressed model, and to the labels."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.small_models import write_model_folder
from TuckerSegLib import InferenceSpec, hardware, image_from_array, load_model
from TuckerSegLib.cache import Cache
from TuckerSegLib.compression.allocation import Spec
from TuckerSegLib.compression.allocation.policies import policy_spec
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.methods import method
from TuckerSegLib.errors import SpecError
from TuckerSegLib.layer_times import measured
from TuckerSegLib.models import allocated, allocation_making
from TuckerSegLib.models.agreement import HeldBackAgreement
from TuckerSegLib.models.allocated import compress_by_allocation, known_answer, known_shares, linear_share
from TuckerSegLib.models.allocation_making import ModelMaker
from TuckerSegLib.models.allocation_question import Question
from TuckerSegLib.models.calibration import calibrate_model, store_calibration, stored_calibration
from TuckerSegLib.models.job_compression import compress_for_job
from TuckerSegLib.models.model import accumulated_channels
from TuckerSegLib.models.model_file import read_model_facts, read_model_file
from TuckerSegLib.models.patch_timing import PatchTimer, Place, planned
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import Job, Step, at_strength
from TuckerSegLib.records.layer_times import LayerTimes

PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
SECONDS = {"kernel.gmacs": 0.1, "strided.gmacs": 0.1, "transposed.gmacs": 0.1, "pointwise.gmacs": 0.1}


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(4)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6))), size=(32, 32, 32))
    return image_from_array((300 * smooth[0, 0].numpy()).astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small network of no CTs, so that the built-in volume has no part in it."""
    folder = write_model_folder(tmp_path_factory.mktemp("original"), patch_shape=(16, 16, 16))
    model = load_model(folder)
    channels = tuple(replace(channel, scheme="ZScoreNormalization") for channel in model.plans.normalization)
    return replace(model, plans=replace(model.plans, normalization=channels))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all tests here, so that the model is calibrated once."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def measured_once(monkeypatch):
    """Times of layers without measuring; the list of what was measured."""
    measurements = []

    def measure(device, precision, threads, monitor=None):
        measurements.append((device.id, precision, threads))
        return SECONDS

    monkeypatch.setattr(measured, "measure", measure)
    monkeypatch.setattr(ModelMaker, "_measured", ModelMaker._predicted)
    return measurements


def compressed(model, volume, cache, calibrate="auto", **fields):
    return compress_by_allocation(model, Spec(**fields), PLAIN, calibrate, cache, Monitor(), lambda: volume)


def test_what_lies_in_linear_layers_is_said_and_not_shared_out(original, volume, cache, tmp_path):
    transformer = load_model(write_model_folder(tmp_path, patch_shape=(16, 16, 16), transformer="Primus"))
    transformer = replace(transformer, plans=replace(transformer.plans, normalization=original.plans.normalization))
    assert linear_share(original) == 0
    structure = transformer.structure()
    layers = count(structure, (16, 16, 16), 1).layers
    outside = {path for path in layers if not isinstance(structure.get_submodule(path), torch.nn.modules.conv._ConvNd)}
    macs = sum(layers[path].macs for path in outside)
    assert 0 < linear_share(transformer) == pytest.approx(macs / transformer.cost.macs)
    with pytest.warns(UserWarning, match=f"{linear_share(transformer):.0%} of this network's operations are in linear"):
        compressed(transformer, volume, cache, share=0.5, budget="macs")


def test_half_the_operations_are_left_by_steps_of_the_methods(original, volume, cache, tmp_path):
    smaller = compressed(original, volume, cache, share=0.5, budget="macs")
    assert {recipe.method for recipe in smaller.recipes} <= {"prune", "tucker", "refit", "int8"}
    assert len(smaller.recipes) > 1
    assert smaller.cost.macs <= 0.5 * original.cost.macs
    network = smaller.network(smaller.folds[0])
    assert count(network, smaller.plans.patch_shape, 1).total.macs == smaller.cost.macs
    smaller.save(tmp_path / "smaller.tuckerseg")
    assert read_model_file(tmp_path / "smaller.tuckerseg").recipes == smaller.recipes


def test_the_policy_that_counts_operations_keeps_their_share_and_measures_nothing(original, volume, cache, monkeypatch):
    monkeypatch.setattr(measured, "measure", lambda *_: pytest.fail("layers were measured"))
    resolved = resolve(Job((), steps=(Step("auto", vars(policy_spec("joint-macs", 0.5))),)))
    smaller = compress_for_job(original, resolved, cache, Monitor(), lambda: volume)
    assert 0.4 * original.cost.macs < smaller.cost.macs <= 0.5 * original.cost.macs
    assert smaller.key == compressed(original, volume, cache, share=0.5, budget="macs").key


def test_the_same_question_is_answered_from_the_cache(original, volume, cache, monkeypatch):
    first = compressed(original, volume, cache, share=0.5, budget="macs")
    monkeypatch.setattr(allocation_making, "allocation_of", None)
    again = compressed(original, volume, cache, share=0.5, budget="macs")
    assert again.key == first.key
    assert all(torch.equal(again.weights[name], weight) for name, weight in first.weights.items())
    facts = known_answer(
        original.without_weights(), Spec(0.5, "macs"), PLAIN, "auto", cache, lambda: volume, read_model_facts
    )
    assert facts.key == first.key
    assert known_answer(original, Spec(0.4, "macs"), PLAIN, "auto", cache, lambda: volume) is None


def test_one_means_may_be_asked_for_alone(original, volume, cache):
    methods = {
        means: {
            recipe.method
            for recipe in compressed(original, volume, cache, share=0.6, means=[means], budget="macs").recipes
        }
        for means in ("tucker", "prune")
    }
    assert methods == {"tucker": {"tucker", "refit"}, "prune": {"prune"}}


def test_a_budget_of_time_counts_the_seconds_of_the_device(original, volume, cache, measured_once):
    smaller = compressed(original, volume, cache, share=0.5)
    compressed(original, volume, cache, share=0.6)
    assert measured_once == [("torch:cpu", "fp32", 1)]
    assert smaller.recipes


def test_where_nothing_saves_time_the_original_runs_and_it_is_said(original, volume, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(measured, "known_layer_times", None)
    monkeypatch.setattr(allocated, "layer_times", lambda *_: allocated.LayerTimes("fp32", {"layers": 1.0}))
    with pytest.warns(UserWarning, match="Nothing saves time here.*the original network runs"):
        assert compressed(original, volume, cache, share=0.5) is original


def test_an_agreement_that_is_asked_for_is_kept_on_patches_held_back(original, volume, cache):
    smaller = compressed(original, volume, cache, agreement=0.8, budget="macs")
    assert smaller.cost.macs < original.cost.macs
    assert HeldBackAgreement(original, [volume], Monitor()).of(smaller) >= 0.8


def test_an_agreement_that_no_network_keeps_leaves_the_original(original, volume, cache, monkeypatch):
    monkeypatch.setattr(HeldBackAgreement, "of", lambda self, model: 0.9)
    monkeypatch.setattr(allocation_making, "PLAIN", 1)
    monkeypatch.setattr(allocation_making, "FITTED", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert compressed(original, volume, cache, agreement=0.95, budget="macs") is original


def test_a_network_that_looked_better_than_it_is_gives_way_to_a_dearer_one(original, volume, cache, monkeypatch):
    rough_ones, carried_out = [], ModelMaker._carried_out

    def noting(self, steps, refit, rough=False):
        model = carried_out(self, steps, refit, rough)
        if rough:
            rough_ones.append(model)
        return model

    def of(self, model):
        looks_good = any(model is each for each in rough_ones)
        return 0.99 if looks_good or model.cost.macs > 0.3 * original.cost.macs else 0.9

    monkeypatch.setattr(ModelMaker, "_carried_out", noting)
    monkeypatch.setattr(HeldBackAgreement, "of", of)
    smaller = compressed(original, volume, cache, agreement=0.95, budget="macs")
    assert 0.3 * original.cost.macs < smaller.cost.macs < original.cost.macs


def test_the_original_agrees_with_itself(original, volume):
    assert HeldBackAgreement(original, [volume], Monitor()).of(original) == 1


def test_the_original_runs_where_what_was_chosen_is_measured_to_be_no_faster(
    original, volume, cache, measured_once, monkeypatch
):
    monkeypatch.setattr(ModelMaker, "_measured", lambda self, steps: 1.0)
    for asked in ({"share": 0.55}, {"agreement": 0.5}):
        with pytest.warns(UserWarning, match="Nothing saves time here.*the original network runs"):
            assert compressed(original, volume, cache, **asked) is original


def test_the_measured_share_is_kept_with_the_answer(original, volume, cache, measured_once, monkeypatch):
    monkeypatch.setattr(ModelMaker, "_measured", lambda self, steps: 1.02 * self._predicted(steps))
    smaller = compressed(original, volume, cache, share=0.92)
    predicted, share = known_shares(original, Spec(0.92), PLAIN, cache)
    assert smaller.recipes
    assert predicted <= 0.92
    assert share == pytest.approx(1.02 * predicted)
    assert known_shares(original, Spec(0.92), replace(PLAIN, threads=2), cache) is None
    assert known_shares(original, Spec(0.92, "macs"), PLAIN, cache) is None


def test_inspect_tells_what_was_asked_predicted_and_measured(
    make_model_folder, small_image, measured_once, monkeypatch, run_here
):
    monkeypatch.setattr(ModelMaker, "_measured", lambda self, steps: 1.02 * self._predicted(steps))
    folder = make_model_folder(patch_shape=(16, 16, 16), normalization="ZScoreNormalization")
    model = load_model(folder)
    store_calibration(model, calibrate_model(model, small_image, threads=1), Cache())
    said = run_here("inspect", "--model", folder, "--method", "auto:0.92")
    words = re.search(r"of the original's: asked 0.92, predicted (0\.\d\d), measured (0\.\d\d)$", said, re.MULTILINE)
    predicted, share = map(float, words.groups())
    assert 0.5 < predicted <= 0.92
    assert share == pytest.approx(1.02 * predicted, abs=0.011)
    assert "asked" not in run_here("inspect", "--model", folder, "--method", "auto:0.92", "--budget", "macs")


def test_prices_are_corrected_once_for_all_agreements(original, volume, cache, measured_once, monkeypatch):
    timed = []

    def share_of(self, steps):
        timed.append(steps)
        return 1.5 * self._predicted(steps)

    monkeypatch.setattr(ModelMaker, "_measured", share_of)
    place = Place(hardware.choose("torch:cpu", hardware.devices())[0], "fp32", 3)
    times = LayerTimes("fp32", SECONDS)
    calibration = stored_calibration(original, cache)
    question = Question(original, Spec(agreement=0.9, calibration=calibration.sha256), calibration, times, (), place)
    first = ModelMaker(question, cache, Monitor())._corrections()
    asked = len(timed)
    assert asked
    assert max(first.values()) > 1
    assert ModelMaker(question, cache, Monitor())._corrections() == pytest.approx(first)
    assert len(timed) == asked


def test_a_network_is_timed_beside_its_original_without_its_weights(original):
    place = Place(hardware.choose("torch:cpu", hardware.devices())[0], "fp32", 1)
    timer = PatchTimer(original, place, LayerTimes("fp32", {"gathered.values": 1e6}), Monitor())
    smaller = planned(original, (("prune", method("prune").Spec(0.5, policy="uniform")),))
    assert not smaller.weights
    assert timer.share(smaller) == pytest.approx(1, abs=0.01)  # nearly all of it is gathering, which stays
    before, after = timer.seconds(smaller)
    timer.close()
    assert min(before, after) > 16**3 * accumulated_channels(original)


def test_without_a_calibration_means_cannot_be_weighed(original, volume, cache):
    with pytest.raises(SpecError, match="calibration"):
        compressed(original, volume, Cache(cache.folder / "empty"), calibrate="none", share=0.5, budget="macs")


def test_a_job_that_names_an_agreement_is_one_step_of_the_allocator():
    job = Job(images=(), agreement=0.98)
    assert job.recipe == (Step("auto", {"agreement": 0.98}),)
    assert at_strength(job, 0.5).agreement is None
    assert at_strength(job, 1.0).recipe == ()
    for wrong in ({"agreement": 0.98, "method": "tucker"}, {"agreement": 1.2}, {"agreement": "much"}):
        with pytest.raises(SpecError, match="agreement"):
            Job(images=(), **wrong)


def test_a_fit_that_does_harm_is_left_out_where_an_agreement_is_to_be_kept(original, volume, cache, monkeypatch):
    plain = [recipe.method for recipe in compressed(original, volume, cache, agreement=0.8, budget="macs").recipes]
    monkeypatch.setattr(allocation_making, "PLAIN", 1)
    monkeypatch.setattr(allocation_making, "FITTED", 1)
    monkeypatch.setattr(
        HeldBackAgreement, "of", lambda self, model: 0.5 if model.recipes[-1].method == "refit" else 0.99
    )
    kept = compressed(original, volume, cache, agreement=0.81, budget="macs")
    assert "refit" in plain
    assert kept.recipes
    assert "refit" not in {recipe.method for recipe in kept.recipes}


def test_bytes_are_spared_by_whole_numbers_in_cores_too_and_the_network_runs(original, volume, cache):
    smaller = compressed(original, volume, cache, share=0.2, budget="bytes")
    methods = [recipe.method for recipe in smaller.recipes]
    assert methods[-1] == "int8"
    assert "tucker" in methods
    assert smaller.cost.weight_bytes <= 0.22 * original.cost.weight_bytes
    quantized = [change.path for change in smaller.recipes[-1].changes if change.skipped_because is None]
    assert any(path.endswith((".0", ".1")) for path in quantized)  # cores of decomposed layers
    assert 0 <= HeldBackAgreement(original, [volume], Monitor()).of(smaller) <= 1
