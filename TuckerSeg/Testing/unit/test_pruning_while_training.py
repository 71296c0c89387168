"""Pruning while training, piece by piece: regularizer, ladder, and which epoch is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from Testing.unit.prunable_networks import Skipping
from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.errors import ModelFileError, SpecError
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.pruning.history import history_csv
from TuckerSegLib.training.pruning.likeness import GroupMaps, distances, regularizer, staying
from TuckerSegLib.training.pruning.schedule import optimizer_of, set_learning_rate
from TuckerSegLib.training.pruning.settings import PruningEpoch, PruningRecord, SauronSettings
from TuckerSegLib.training.pruning.state import PruningState, read_state, write_state
from TuckerSegLib.training.pruning.thresholds import may_rise, risen_after


def epoch(dice, channels, loss=1.0, validation_loss=1.0, risen=0, waited=0):
    return PruningEpoch(loss, validation_loss, dice, {"a": channels}, {"a": risen}, {"a": waited})


def record(*epochs, **settings):
    return PruningRecord(SauronSettings(**settings), ("x",), ("y",), epochs)


def test_the_defaults_are_saurons():
    settings = SauronSettings()
    assert (settings.regularization, settings.highest_threshold, settings.rises) == (0.5, 0.3, 15)
    assert (settings.patience, settings.hardly_any) == (5, 0.02)
    assert [settings.threshold(risen) for risen in (0, 15, 99)] == pytest.approx([0.001, 0.3, 0.3])
    assert settings.threshold(1) - settings.threshold(0) == pytest.approx(0.299 / 15)
    high = SauronSettings(lowest_threshold=0.1, rises=2)
    assert [high.threshold(risen) for risen in (0, 1, 2)] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "cosine"},
        {"regularization": -0.25},
        {"highest_threshold": 1.5},
        {"rises": 0},
        {"patience": 1},
        {"hardly_any": 2.0},
        {"dice_loss": -1.0},
        {"round_loss": 1.25},
        {"settling": 50},
        {"round_tries": 0},
        {"lowest_threshold": 0.4},
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_was_found(wrong):
    with pytest.raises(SpecError, match=str(next(iter(wrong.values())))):
        SauronSettings(**wrong)


def test_the_regularizer_is_the_mean_distance_from_the_first_map_by_hand():
    # Of 1 x 1 x 4 voxels; pooled by 2 along the only axis that can be.
    first = torch.tensor([0.0, 4.0, 4.0, 4.0])  # scaled 0 1 1 1, pooled 0.5 1
    same = 10 * first - 3  # the same when it is scaled
    other = torch.tensor([2.0, 1.0, 1.0, 1.0])  # scaled 1 0 0 0, pooled 0.5 0
    maps = torch.stack([first, same, other]).reshape(1, 3, 1, 1, 4)
    expected = (0 + (1 / 2) ** 0.5) / 2
    assert float(regularizer({"a": maps})) == pytest.approx(expected, abs=1e-5)
    assert float(regularizer({"a": maps, "b": maps[:, :2], "one channel": maps[:, :1]})) == pytest.approx(
        expected / 2, abs=1e-5
    )
    assert float(regularizer({"one channel": maps[:, :1]})) == 0


def test_the_regularizer_has_finite_gradients_where_maps_are_equal_or_flat():
    maps = torch.stack([torch.arange(8.0), torch.arange(8.0), torch.ones(8)]).reshape(1, 3, 2, 2, 2).requires_grad_()
    regularizer({"a": maps}).backward()
    assert maps.grad.isfinite().all()


def test_regularized_maps_come_nearer():
    maps = torch.rand(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer, values = torch.optim.SGD([maps], lr=5.0), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = regularizer({"a": maps})
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.9 * values[0]


def test_distances_are_means_over_samples_from_the_reference():
    network = Skipping().eval()
    graph = channel_graph(network)
    with torch.no_grad():
        network.first.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
    images = [torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    found = distances(network, graph, images, {"first": 1, "up": 0})
    assert found["first"].tolist() == pytest.approx([1, 0])
    assert found["up"][0] == 0 and len(found["up"]) == 2
    maps = GroupMaps(network, graph)
    network(images[0])
    assert {path: each.shape[1] for path, each in maps.take().items()} == {"first": 2, "up": 2}
    maps.close()
    network(images[0])
    assert maps.take() == {}


def test_the_reference_and_what_is_far_stay():
    assert staying(torch.tensor([0.2, 0.0, 0.05, 1.0]), reference=1, threshold=0.1) == [0, 1, 3]
    assert staying(torch.zeros(3), reference=2, threshold=0.1) == [2]
    assert staying(torch.tensor([0.0, 0.1]), reference=0, threshold=0.1) == [0, 1]  # not below it


SETTLED, IMPROVED = [5.0, 4.0, 3.0, 4.5], [5.0, 4.0, 3.0, 2.9]


@pytest.mark.parametrize(
    ("rises", "changed"),
    [
        (True, {}),
        (False, {"waited": 2}),
        (True, {"waited": 30}),
        (False, {"training_losses": [5.0, 4.0, 3.0, 2.9]}),  # below the least of those before
        (False, {"training_losses": [5.0, 4.0, 3.0, 5.1]}),  # above the greatest
        (True, {"training_losses": [1.0, 5.0, 4.0, 3.0, 3.0]}),  # only the last three before count
        (False, {"training_losses": [5.0, 4.0, 4.5]}),  # too few to compare with
        (False, {"validation_losses": IMPROVED}),
        (True, {"validation_losses": [5.0, 4.0, 3.0, 3.0]}),
        (True, {"validation_losses": [1.0, 5.0, 4.0, 3.0, 3.5]}),
        (False, {"gone": 1}),  # 2 % of 50 is not fewer
        (True, {"gone": 1, "channels": 51}),
    ],
)
def test_a_threshold_rises_where_training_has_settled_and_hardly_any_channels_go(rises, changed):
    usual = {"training_losses": SETTLED, "validation_losses": SETTLED, "waited": 3, "gone": 0, "channels": 50}
    assert may_rise(**{**usual, **changed}, patience=3, hardly_any=0.02) is rises


def test_thresholds_rise_layer_by_layer_and_wait_anew():
    start = PruningEpoch(None, 9.0, 0.0, {"a": 8, "b": 8}, {"a": 0, "b": 0}, {"a": 0, "b": 0})
    settings, epochs, channels = SauronSettings(patience=2, rises=2), [start], [{"a": 8, "b": 8 - n} for n in range(9)]
    for number in range(1, 9):
        loss = 1.0 + number % 2
        risen, waited = risen_after(epochs, loss, loss, channels[number], settings)
        epochs.append(PruningEpoch(loss, loss, 0.0, channels[number], risen, waited))
    assert [each.risen["a"] for each in epochs] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert [each.waited["a"] for each in epochs][:6] == [0, 1, 2, 0, 1, 0]
    assert epochs[-1].risen["b"] == 0


def test_the_learning_rate_falls_as_saurons_or_stays():
    network = nn.Conv3d(1, 1, 1)
    for schedule, expected in (("polynomial", 1e-3 * 0.5**0.9), ("constant", 1e-3)):
        settings = SauronSettings(FineTuningSettings(epochs=10, learning_rate=1e-3), schedule)
        optimizer = optimizer_of(network, settings)
        set_learning_rate(optimizer, settings, 6)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        assert optimizer.param_groups[0]["weight_decay"] == (1e-5 if schedule == "polynomial" else 1e-2)


@pytest.mark.parametrize(
    ("kept", "epochs"),
    [
        (0, [(0.9, 8), (0.5, 4)]),  # too much was lost
        (2, [(0.9, 8), (0.95, 6), (0.945, 4), (0.9, 2)]),  # the smallest within the allowance of the best
        (1, [(0.9, 8), (0.95, 8), (0.95, 8)]),
        (3, [(0.1, 8), (0.2, 4), (0.9, 4), (0.9, 3)]),
    ],
)
def test_the_smallest_network_is_kept_whose_dice_is_near_the_best(kept, epochs):
    assert record(*(epoch(*each) for each in epochs)).kept_epoch == kept


def test_a_record_goes_through_json():
    done = record(epoch(0.5, 8, loss=None), epoch(0.5, 4))
    assert from_json(PruningRecord, json.loads(json.dumps(to_json(done)))) == done
    assert (done.epochs_done, done.kept.total_channels) == (1, 4)


def test_the_history_has_a_row_per_epoch_and_layer():
    start = PruningEpoch(None, 1.0, 0.5, {"first": 2, "up": 2}, {"first": 0, "up": 0}, {"first": 0, "up": 0})
    later = replace(start, channels={"first": 1, "up": 2}, risen={"first": 15, "up": 0})
    rows = history_csv(Skipping(), record(start, later), (4, 4, 4), 1).splitlines()
    assert rows == [
        "epoch,layer,input_channels,output_channels,threshold",
        "0,first,1,2,0.001",
        "0,up,2,2,0.001",
        "1,first,1,1,0.3",
        "1,up,1,2,0.001",
    ]


def test_the_history_tells_the_lowest_threshold_that_layers_begin_with():
    start = PruningEpoch(None, 1.0, 0.5, {"first": 2, "up": 2}, {"first": 0, "up": 1}, {"first": 0, "up": 0})
    rows = history_csv(Skipping(), record(start, lowest_threshold=0.1, rises=2), (4, 4, 4), 1).splitlines()
    assert rows[1:] == ["0,first,1,2,0.1", "0,up,2,2,0.2"]


def test_a_state_is_read_as_it_was_written_and_one_of_other_settings_is_refused(tmp_path):
    path, done = tmp_path / "run.state", record(epoch(0.5, 8))
    state = PruningState("0", done, 3, 1.5, {"a": torch.zeros(2)}, {"a": torch.ones(1)}, {}, {})
    write_state(path, state)
    again = read_state(path, "0", done)
    assert (again.record, again.batches, again.loss_sum) == (done, 3, 1.5)
    assert again.kept_weights["a"].tolist() == [1]
    longer = replace(done, settings=replace(done.settings, training=FineTuningSettings(epochs=60)))
    assert read_state(path, "0", longer).record.settings.training.epochs == 60
    settled = replace(done, settings=replace(done.settings, settling=2))
    write_state(path, replace(state, record=settled))
    longer = replace(settled, settings=replace(settled.settings, training=FineTuningSettings(epochs=60)))
    with pytest.raises(ModelFileError, match="epochs: expected 60, found 50"):
        read_state(path, "0", longer)
    write_state(path, state)
    for other, words in (
        (record(patience=9), "patience: expected 9, found 5"),
        (record(schedule="polynomial"), "schedule: expected polynomial, found constant"),
        (replace(done, training_cases=()), "cases"),
    ):
        with pytest.raises(ModelFileError, match=words):
            read_state(path, "0", other)
    with pytest.raises(ModelFileError, match="network"):
        read_state(path, "1", done)
