"""Specifications, details and evidence of a pruning: checked, refused by name, and told."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from Testing.unit.prunable_networks import PATCH, keep, made, patches_of
from TuckerSegLib.compression.calibration import calibrate
from TuckerSegLib.compression.pruning.evidence import PruningEvidence
from TuckerSegLib.compression.pruning.material import Material, prepare
from TuckerSegLib.compression.pruning.method import apply, plan
from TuckerSegLib.compression.pruning.spec import Spec, describe
from TuckerSegLib.errors import ModelFileError, SpecError
from TuckerSegLib.records.serialization import from_json, to_json


@pytest.fixture(scope="module")
def network():
    return made()


@pytest.fixture(scope="module")
def patches():
    return patches_of(2)


@pytest.fixture(scope="module")
def calibration(network, patches):
    return calibrate(network, patches)


@pytest.fixture(scope="module")
def material(network, calibration):
    return prepare(network, Spec(), calibration, keep)


def test_evidence_survives_its_tensors_and_damaged_evidence_is_refused(material):
    tensors = material.evidence.to_tensors()
    again = PruningEvidence.from_tensors(tensors)
    assert all((again.orders[path] == order).all() for path, order in material.evidence.orders.items())
    doubled = again.plus(again)
    assert all((doubled.errors[path] == 2 * row).all() for path, row in again.errors.items())
    with pytest.raises(ValueError, match="does not fit"):
        PruningEvidence.from_tensors({**tensors, "up/order": torch.zeros(8, dtype=torch.long)})
    with pytest.raises(KeyError):
        PruningEvidence.from_tensors({name: each for name, each in tensors.items() if name != "up/order"})


@pytest.mark.parametrize(
    "setting",
    [
        {"keep_ratio": 0},
        {"keep_ratio": 1.5},
        {"keep_ratio": float("nan")},
        {"keep_ratio": True},
        {"policy": "magic"},
        {"budget": "time"},
        {"calibration": 7},
        {"multiple": 0},
        {"minimum": 2.5},
        {"channels": ["up"]},
        {"channels": {"up": 0}},
        {"channels": {"up": True}},
        {"agreement": 1.5},
        {"agreement": "all"},
        {"volumes": [5]},
    ],
)
def test_a_setting_out_of_range_is_named(setting):
    with pytest.raises(SpecError, match=next(iter(setting))):
        Spec(**setting)


def test_a_specification_survives_json_and_says_what_it_means():
    spec = Spec(0.5, channels={"up": 4})
    assert from_json(Spec, json.loads(json.dumps(to_json(spec)))) == spec
    assert spec.with_strength(0.7) == Spec(0.7)
    assert [Spec(0.7).rounded(size) for size in (4, 8, 16, 32, 320)] == [4, 8, 8, 24, 224]
    assert Spec().steps(20) == [20, 16, 8] and Spec().steps(4) == [4]
    assert not Spec(0.5).bound().needs_weights
    assert Spec(1.0).keeps_network and not Spec(0.9).keeps_network and not Spec(1.0, channels={"up": 4}).keeps_network


@pytest.mark.parametrize(
    ("channels", "words"),
    [({"head": 3}, "output of the network"), ({"nowhere": 3}, "no such convolution"), ({"up": 9}, "8 channels")],
)
def test_a_layer_that_cannot_be_pruned_so_is_told(network, channels, words):
    with pytest.raises(SpecError, match=words):
        plan(network, Spec(channels=channels), PATCH)


@pytest.mark.parametrize(
    ("details", "error"),
    [
        ({"kept": 0}, ModelFileError),
        ({"kept": True}, ModelFileError),
        ({"kept": "4"}, ModelFileError),
        ({"kept": 4.0}, ModelFileError),
        ({"kept": 4, "of": 8}, ModelFileError),
        ({"ranks": [4, 4]}, ModelFileError),
        ({"kept": 8}, SpecError),
        ({"kept": 10**12}, SpecError),
    ],
)
def test_details_that_are_not_a_prunings_change_nothing(network, details, error):
    changes = plan(network, Spec(channels={"up": 4}), PATCH)
    changed = [replace(each, details=details) if each.path == "up" else each for each in changes]
    copied = copy.deepcopy(network)
    with pytest.raises(error, match="up"):
        apply(copied, changed)
    assert copied.up.out_channels == 8


def test_changes_of_another_network_or_of_what_is_not_pruned_are_refused(network, material):
    changes = plan(network, Spec(channels={"up": 4}), PATCH)
    of_up = next(change for change in changes if change.path == "up")
    wrong = [
        [replace(of_up, shape=(16, 9, 2, 2, 2))],
        [replace(of_up, path="down.9")],
        [replace(of_up, kind="Conv3d")],
        [replace(each, details={"kept": 2}) for each in changes if each.path == "head"],
        [replace(each, details={"kept": 2}) for each in changes if each.path == "stem.1"],
    ]
    for each in wrong:
        with pytest.raises(SpecError):
            apply(copy.deepcopy(network), each)
    with pytest.raises(ModelFileError, match="once"):
        apply(copy.deepcopy(network), [of_up, of_up])
    other = Material(PruningEvidence({}, {}), material.moments)
    with pytest.raises(SpecError, match="another network"):
        apply(copy.deepcopy(network), changes, other)


def test_what_was_done_is_told(network):
    changes = plan(network, Spec(0.5, "uniform", multiple=4, minimum=4), PATCH)
    assert (
        describe(Spec(0.5, "uniform"), changes)
        == "pruned to 0.50 of the channels, uniform, by weights alone, 5 of 6 layers"
    )
    assert describe(Spec(0.5, calibration="ab"), changes).startswith("pruned to 0.50 of the channels, calibrated, 5 of")
    assert describe(Spec(channels={"up": 4}, calibration="ab"), changes[:1]).startswith("pruned, as told, ")
