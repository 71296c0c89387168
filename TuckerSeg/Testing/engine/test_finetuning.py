"""Fine-tuning of a network on labeled cases: it helps, keeps the best, and goes on after an interruption."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from TuckerSegLib import compress
from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.errors import BackendError, Cancelled, DatasetError, ModelFileError, SpecError
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.loop import fine_tune
from TuckerSegLib.training.finetuning.patches import PatchSampler
from TuckerSegLib.training.finetuning.preparation import TrainingSet, prepare_dataset
from TuckerSegLib.training.finetuning.settings import FineTuningRecord, FineTuningSettings
from TuckerSegLib.training.finetuning.validation import mean_patch_dice

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = {"background": 0, "ball": 1, "cube": 2}
QUICK = FineTuningSettings(epochs=2, iterations=100, learning_rate=1e-2, validation_iterations=6, seed=3)


@pytest.fixture
def network(shapes_model):
    return shapes_model.network("0")


def weights(network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_defaults_are_the_papers():
    settings = FineTuningSettings()
    assert (settings.epochs, settings.iterations, settings.learning_rate, settings.batch_size) == (50, 250, 1e-5, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"validation_fraction": 1.0},
        {"validation_iterations": 0},
        {"seed": -1},
        {"patch_shape": (16, 0, 16)},
        {"precision": "fp8"},
        {"optimizer": "sgd"},
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_was_found(wrong):
    with pytest.raises(SpecError, match=re.escape(str(next(iter(wrong.values()))))):
        FineTuningSettings(**wrong)


def test_settings_that_leave_patch_precision_and_optimizer_alone_are_written_as_before():
    assert not {"patch_shape", "precision", "optimizer"} & to_json(FineTuningSettings()).keys()
    told = FineTuningSettings(patch_shape=(8, 8, 16), precision="bf16")
    assert from_json(FineTuningSettings, json.loads(json.dumps(to_json(told)))) == told


def test_a_record_goes_through_json():
    record = FineTuningRecord(QUICK, ("a", "b"), ("c",), (0.25, 0.75, 0.5), (1.0, 0.5))
    assert from_json(FineTuningRecord, json.loads(json.dumps(to_json(record)))) == record
    assert (record.epochs_done, record.best_epoch, record.dice_before, record.dice_after) == (2, 1, 0.25, 0.75)


def test_training_lowers_the_loss_and_raises_the_dice_of_held_back_cases(network, shapes_model, shapes_set):
    events = []
    before = weights(network).clone()
    result = fine_tune(network, shapes_model.plans, shapes_set, QUICK, monitor=Monitor(events.append))
    record = result.record
    assert record.losses[1] < record.losses[0]
    assert record.dice_after > record.dice_before + 0.2
    assert record.best_epoch > 0 and record.epochs_done == 2
    assert len(record.training_cases) == 2 and len(record.validation_cases) == 1
    assert torch.equal(weights(network), before)  # a copy was trained
    assert not torch.equal(weights(result.network), before)
    assert not any(parameter.requires_grad for parameter in result.network.parameters())
    assert not result.network.training
    progress = [event for event in events if event["event"] == "progress"]
    assert [event["done"] for event in progress] == list(range(1, 201)) and progress[-1]["remaining_s"] == 0
    assert sum(event["event"] == "log" for event in events) == 3


def test_every_layer_of_a_compressed_network_is_trained(shapes_model, shapes_set):
    compressed = compress(shapes_model, tucker.Spec(rank_ratio=0.5, minimum_rank=2, rank_multiple=1), "tucker")
    network = compressed.network("0")
    assert any(change.details["ranks"] for change in compressed.recipes[0].changes)
    result = fine_tune(network, compressed.plans, shapes_set, replace(QUICK, epochs=1, iterations=20))
    assert result.record.best_epoch == 1
    trained = dict(result.network.named_parameters())
    same = [name for name, parameter in network.named_parameters() if torch.equal(parameter, trained[name])]
    assert same == []


def test_the_kept_weights_have_the_dice_that_the_record_tells(network, shapes_model, shapes_set):
    result = fine_tune(network, shapes_model.plans, shapes_set, replace(QUICK, epochs=1, iterations=10))
    validation = shapes_set.split(QUICK.validation_fraction, QUICK.seed)[1]
    sampler = PatchSampler(validation, shapes_model.plans.patch_shape, QUICK.batch_size, QUICK.seed)
    drawn = map(sampler.batch, range(QUICK.validation_iterations))
    assert mean_patch_dice(result.network, drawn, None) == result.record.dice_after


def test_weights_that_only_get_worse_are_given_back_as_they_were(network, shapes_model, shapes_set):
    good = fine_tune(network, shapes_model.plans, shapes_set, QUICK).network
    result = fine_tune(good, shapes_model.plans, shapes_set, replace(QUICK, epochs=1, iterations=2, learning_rate=0.5))
    assert result.record.best_epoch == 0 and result.record.validation_dice[1] < result.record.validation_dice[0]
    assert torch.equal(weights(result.network), weights(good))


def test_an_interrupted_run_goes_on_to_the_same_result(network, shapes_model, shapes_set, tmp_path):
    settings = replace(QUICK, epochs=3, iterations=6)
    whole = fine_tune(network, shapes_model.plans, shapes_set, settings)
    state_file = tmp_path / "state.tuckerseg"
    seen = []
    with pytest.raises(Cancelled):
        fine_tune(
            network, shapes_model.plans, shapes_set, settings,
            state_file=state_file, monitor=Monitor(seen.append, lambda: seen[-1].get("done") == 9),
        )  # fmt: skip
    assert state_file.is_file()
    later = []
    resumed = fine_tune(
        network, shapes_model.plans, shapes_set, settings, state_file=state_file, monitor=Monitor(later.append)
    )
    assert [event["done"] for event in later if event["event"] == "progress"] == list(range(7, 19))
    assert resumed.record == whole.record
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert [path.name for path in tmp_path.glob("*state*")] == ["state.tuckerseg"]


def test_a_finished_run_gives_its_result_again_at_once(network, shapes_model, shapes_set, tmp_path):
    settings, state_file, events = replace(QUICK, iterations=20), tmp_path / "state.tuckerseg", []
    first = fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)
    second = fine_tune(
        network, shapes_model.plans, shapes_set, settings, state_file=state_file, monitor=Monitor(events.append)
    )
    assert first.record.best_epoch > 0 and second.record == first.record
    assert torch.equal(weights(second.network), weights(first.network))
    assert not [event for event in events if event["event"] == "progress"]


def test_every_epoch_draws_other_patches(network, shapes_model, shapes_set):
    still = replace(QUICK, iterations=2, learning_rate=1e-12)
    losses = fine_tune(network, shapes_model.plans, shapes_set, still).record.losses
    assert abs(losses[0] - losses[1]) > 1e-3


def test_a_finished_run_can_be_given_more_epochs(network, shapes_model, shapes_set, tmp_path):
    settings, state_file = replace(QUICK, epochs=1, iterations=4), tmp_path / "state.tuckerseg"
    fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)
    more = replace(settings, epochs=2)
    further = fine_tune(network, shapes_model.plans, shapes_set, more, state_file=state_file)
    assert further.record == fine_tune(network, shapes_model.plans, shapes_set, more).record
    with pytest.raises(ModelFileError, match="epochs: expected up to 1, found 2 done"):
        fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)


def test_a_state_of_another_run_is_refused(network, shapes_model, shapes_set, tmp_path):
    settings, state_file = replace(QUICK, epochs=1, iterations=1), tmp_path / "state.tuckerseg"
    fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)
    with pytest.raises(ModelFileError, match="learning_rate: expected 0.5, found 0.01"):
        other = replace(settings, learning_rate=0.5)
        fine_tune(network, shapes_model.plans, shapes_set, other, state_file=state_file)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    with pytest.raises(ModelFileError, match="network: expected the one given now"):
        fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)
    shapes_model.save(state_file)
    with pytest.raises(ModelFileError, match="not the state of a fine-tuning"):
        fine_tune(network, shapes_model.plans, shapes_set, settings, state_file=state_file)


def test_voxels_that_nobody_labeled_teach_nothing(make_shapes_dataset, network, shapes_model):
    raw = read_raw_dataset(make_shapes_dataset(labels={**LABELS, "ignore": 3}), shapes_model.plans)
    cases = prepare_dataset(raw, shapes_model.plans).cases
    ignoring = TrainingSet(tuple(_with_ignored_half(case) for case in cases), ignore_label=3)
    result = fine_tune(network, shapes_model.plans, ignoring, QUICK)
    assert result.record.dice_after > result.record.dice_before + 0.2


def _with_ignored_half(case):
    labels = case.labels.copy()
    labels[:, :, :12] = np.where(labels[:, :, :12] > 0, labels[:, :, :12], 3)
    annotated = np.argwhere(labels != 3)
    return replace(case, labels=labels, annotated=annotated)


def test_held_back_cases_that_show_nothing_are_refused(make_shapes_dataset, network, shapes_model):
    nothing = prepare_dataset(read_raw_dataset(make_shapes_dataset(blank=True), shapes_model.plans), shapes_model.plans)
    with pytest.raises(DatasetError, match="show none of the model's structures"):
        fine_tune(network, shapes_model.plans, nothing, QUICK)


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(network, shapes_model, shapes_set, device):
    with pytest.raises(BackendError, match=device):
        fine_tune(network, shapes_model.plans, shapes_set, QUICK, device=device)
