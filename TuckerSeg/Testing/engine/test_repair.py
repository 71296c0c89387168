"""Label-free repair: a compressed network learns its original's outputs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, compress, image_from_array, load_model, segment
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import Cancelled, ModelFileError, SpecError
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.distillation import repair_model
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.training.distillation.averaging import AveragedWeights
from TuckerSegLib.training.distillation.loss import (
    CANDIDATES,
    balanced_voxels,
    candidate_voxels,
    distillation_loss,
    margin_weights,
)
from TuckerSegLib.training.distillation.repair_run import RepairRun
from TuckerSegLib.training.distillation.settings import OPTIMIZERS, RepairSettings
from TuckerSegLib.training.distillation.stage_ends import StageEnds, stage_loss

SETTINGS = RepairSettings(steps=12, check_every=4, voxels=2000, learning_rate=2e-3)
PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture
def volume():
    rng = np.random.default_rng(4)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6))), size=(40, 44, 36))
    return image_from_array((300 * smooth[0, 0].numpy()).astype(np.int16), spacing_mm=(3, 3, 3))


@pytest.fixture
def models(make_model_folder):
    original = load_model(make_model_folder(patch_shape=(16, 16, 16)))
    return original, compress(original, Spec(0.4, minimum_rank=4, rank_multiple=4))


def repaired(models, volume, settings=SETTINGS, **options):
    original, smaller = models
    return repair_model(smaller, original, [volume], settings, threads=1, **options)


def test_a_repaired_network_is_nearer_to_its_original(models, volume):
    original, smaller = models
    model, records = repaired(models, volume, replace(SETTINGS, steps=40, check_every=10))
    (record,) = records.values()
    assert record.steps_done == 40
    assert max(record.agreement) > record.agreement[0]
    assert record.losses[-1] < record.losses[0]
    expected, before, after = (segment(volume, each, PLAIN).labels for each in (original, smaller, model))
    assert mean_dice(after, expected) > mean_dice(before, expected)
    assert (model.cost, model.head_path) == (smaller.cost, smaller.head_path)


def test_the_models_that_went_in_stay_as_they_are(models, volume):
    before = [{name: value.clone() for name, value in model.weights.items()} for model in models]
    repaired(models, volume)
    for model, weights in zip(models, before):
        assert all(torch.equal(value, weights[name]) for name, value in model.weights.items())


def test_a_recipe_says_what_was_done_and_a_file_keeps_it(models, volume, tmp_path):
    model, _ = repaired(models, volume)
    assert model.key != models[1].key
    assert "repair of 12 steps" in describe(model)
    model.save(tmp_path / "repaired.tuckerseg")
    again = read_model_file(tmp_path / "repaired.tuckerseg")
    assert again.recipes == model.recipes
    np.testing.assert_array_equal(segment(volume, again, PLAIN).labels, segment(volume, model, PLAIN).labels)


def test_an_interrupted_repair_goes_on_as_if_it_had_not_been(models, volume, tmp_path):
    whole, records = repaired(models, volume)
    steps = []

    def interrupted() -> bool:
        steps.append(0)
        return len(steps) > 6  # between the first check and the second

    with pytest.raises(Cancelled):
        repaired(models, volume, state_folder=tmp_path, monitor=Monitor(cancelled=interrupted))
    resumed, again = repaired(models, volume, state_folder=tmp_path)
    assert again == records
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
    with pytest.raises(ModelFileError, match="seed: expected 1, found 0. Give the same as then"):
        repaired(models, volume, replace(SETTINGS, seed=1), state_folder=tmp_path)


def test_where_nothing_gets_better_the_start_is_kept(models, volume):
    model, records = repaired(models, volume, replace(SETTINGS, learning_rate=0.9, steps=4, check_every=2))
    (record,) = records.values()
    if record.best_check == 0:
        assert all(torch.equal(value, models[1].weights[name]) for name, value in model.weights.items())
    assert max(record.agreement) >= record.agreement[0]


@pytest.mark.parametrize(("harmless", "taken"), [(0, 1e-3), (2, 1e-4), (9, 3e-5)])
def test_the_highest_learning_rate_that_does_no_harm_is_found_and_trials_leave_nothing(
    models, volume, monkeypatch, harmless, taken
):
    number, measured = itertools.count(), RepairRun._averaged_agreement

    def agreement(run):
        trial = next(number)
        harms = not hasattr(run, "record") and trial < harmless
        return -1.0 if harms else measured(run) + 1

    monkeypatch.setattr(RepairRun, "_averaged_agreement", agreement)
    found, records = repaired(models, volume, replace(SETTINGS, learning_rate=None, steps=24, check_every=12))
    assert records["0"].learning_rate == taken
    asked, _ = repaired(models, volume, replace(SETTINGS, learning_rate=taken, steps=24, check_every=12))
    assert all(torch.equal(value, asked.weights[name]) for name, value in found.weights.items())
    assert any(not torch.equal(value, models[1].weights[name]) for name, value in found.weights.items())


def test_what_cannot_be_repaired_is_refused(models, volume, make_model_folder):
    original, smaller = models
    with pytest.raises(SpecError, match="nothing to gain"):
        repair_model(original, original, [volume], SETTINGS)
    with pytest.raises(SpecError, match="give the original that it was made of"):
        repair_model(smaller, smaller, [volume], SETTINGS)
    with pytest.raises(SpecError, match="at least one volume"):
        repair_model(smaller, original, [], SETTINGS)
    with pytest.raises(SpecError, match="steps"):
        RepairSettings(steps=0)


def test_small_structures_are_drawn_as_often_as_their_rarity_asks():
    logits = torch.zeros(3, 10_000)
    logits[0, :9000], logits[1, 9000:9900], logits[2, 9900:] = 1, 1, 1
    drawn = balanced_voxels(logits, 60_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(logits[:, drawn].argmax(dim=0), minlength=3).double()
    expected = torch.tensor([9000.0, 900, 100]).sqrt().double()
    torch.testing.assert_close(counts / counts.sum(), expected / expected.sum(), atol=0.01, rtol=0)


def test_the_original_labels_a_sample_of_a_large_crop_and_all_of_a_small_one():
    generator = torch.Generator().manual_seed(0)
    large = candidate_voxels(10_000, 100, generator)
    assert len(large) == CANDIDATES * 100 and int(large.min()) >= 0 and int(large.max()) < 10_000
    assert torch.equal(candidate_voxels(CANDIDATES * 100, 100, generator), torch.arange(CANDIDATES * 100))


def test_an_unknown_optimizer_is_refused_and_both_known_ones_learn(models, volume):
    with pytest.raises(SpecError, match="muon, adam; found 'sgd'"):
        RepairSettings(optimizer="sgd")
    found = [repaired(models, volume, replace(SETTINGS, optimizer=each))[0] for each in OPTIMIZERS]
    weights = [next(iter(model.weights.values())) for model in (models[1], *found)]
    assert not any(torch.equal(first, second) for first, second in itertools.combinations(weights, 2))


def test_the_loss_is_zero_for_equal_logits_and_blind_to_constants():
    logits = torch.randn(5, 100)
    assert float(distillation_loss(logits, logits)) == pytest.approx(0, abs=1e-6)
    assert float(distillation_loss(logits + torch.randn(100), logits)) == pytest.approx(0, abs=1e-5)
    assert float(distillation_loss(torch.randn(5, 100), logits)) > 0.5


def test_voxels_count_by_the_margin_of_the_original():
    probabilities = torch.tensor([[0.9, 0.5], [0.1, 0.4], [0.0, 0.1]])  # margins of 0.8 and 0.1
    torch.testing.assert_close(margin_weights(probabilities, 1), torch.tensor([0.8, 0.1]) / 0.45)
    torch.testing.assert_close(margin_weights(probabilities, -2), torch.tensor([0.04, 0.81]) / 0.425)
    assert margin_weights(probabilities, 0).tolist() == margin_weights(probabilities[:1], 1).tolist() == [1, 1]
    expected, logits = probabilities.log().clamp(min=-9), torch.zeros(3, 2)
    single = [float(distillation_loss(logits[:, [n]], expected[:, [n]])) for n in (0, 1)]
    sure, unsure = (float(distillation_loss(logits, expected, exponent)) for exponent in (2, -2))
    assert single[0] > single[1] and sure > float(distillation_loss(logits, expected)) > unsure
    with pytest.raises(SpecError, match="margins"):
        RepairSettings(margin_exponent=9)


def test_averaged_weights_forget_the_start_and_then_follow_slowly():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 8.0)
    averaged = AveragedWeights(network, decay=0.5)
    for step, value in enumerate((1.0, 3.0)):
        torch.nn.init.constant_(network.weight, value)
        averaged.add(network, step)
    first = 0.1 * 8 + 0.9 * 1  # decays 1/10 and 2/11, below the 0.5 that was asked for
    assert float(averaged.tensors()["weight"]) == pytest.approx(2 / 11 * first + 9 / 11 * 3)
    followed = AveragedWeights(network, decay=0.0)
    torch.nn.init.constant_(network.weight, 5.0)
    followed.add(network, 100)
    assert float(followed.tensors()["weight"]) == 5


def test_what_is_measured_and_kept_is_the_average(models, volume):
    settings = replace(SETTINGS, averaging=0.9)
    averaged, records = repaired(models, volume, settings)
    plain, plain_records = repaired(models, volume, replace(settings, averaging=0.0))
    fold = models[0].folds[0]
    assert records[fold].losses == plain_records[fold].losses, "the training itself is the same"
    assert any(not torch.equal(value, plain.weights[name]) for name, value in averaged.weights.items())


def test_stages_are_matched_where_they_can_be(models):
    original, smaller = (model.network(model.folds[0]) for model in models)
    patch, taken = torch.randn(1, 1, 16, 16, 16), []
    for network in (original, smaller):
        ends = StageEnds(network)
        network(patch)
        taken.append(ends.take())
        ends.close()
        network(patch)
        assert not ends.outputs
    assert [len(stages) for stages in taken] == [5, 5], "three of the encoder and two of the decoder"
    assert float(stage_loss(taken[0], taken[0])) == 0
    assert float(stage_loss(taken[1], taken[0])) > 0
    twice = [2 * stage for stage in taken[0]]
    pruned = [stage[:, :1] for stage in taken[0]]
    assert float(stage_loss([*twice[:1], *pruned[1:]], taken[0])) == float(stage_loss(twice[:1], taken[0][:1]))
    assert float(stage_loss(pruned, taken[0])) == 0
