"""What a Tucker specification decides for each layer, and the table of methods."""

from __future__ import annotations

import json

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from TuckerSegLib import compression
from TuckerSegLib.compression.layers import convolutions
from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.errors import SpecError
from TuckerSegLib.records.compression import LayerChange
from TuckerSegLib.records.serialization import from_json, to_json

PATCH = (16, 16, 16)


def network_of(kind=PlainConvUNet, device="meta"):
    norm = {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}, "nonlin": nn.LeakyReLU}
    with torch.device(device):
        return kind(1, 3, (16, 32, 64), nn.Conv3d, 3, [1, 2, 2], 2, 5, 2, conv_bias=True, **norm)


def ranks_of(change):
    return TuckerDetails.from_change(change).ranks


def reasons(changes):
    return {change.path: change.skipped_because for change in changes}


def test_the_methods_of_the_table_have_the_protocols_names():
    for name in compression.METHODS:
        module = compression.method(name)
        assert all(hasattr(module, part) for part in ("Spec", "prepare", "plan", "apply", "describe"))


def test_an_unknown_method_is_an_error_that_lists_the_known():
    with pytest.raises(SpecError, match=r"'tuker'; known: \['auto', .*'tucker'"):
        compression.method("tuker")


@pytest.mark.parametrize(
    "setting",
    [
        {"rank_ratio": 0},
        {"rank_ratio": -0.1},
        {"rank_ratio": 1.01},
        {"rank_ratio": float("nan")},
        {"rank_ratio": "0.5"},
        {"rank_mode": "absolute"},
        {"minimum_rank": 0},
        {"minimum_rank": 2.5},
        {"rank_multiple": 0},
        {"sweeps": -1},
        {"sweeps": 101},
        {"calibration": 5},
        {"keep_pointwise": "yes"},
        {"keep_stem_and_head": 1},
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it_and_its_value(setting):
    ((name, value),) = setting.items()
    with pytest.raises(SpecError, match=f"{name} .*{value}"):
        Spec(**setting)


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        ("tucker", {"rank": 0.5}, r"no setting 'rank'; known: \['rank_ratio'"),
        ("tucker", {"\x1b[31m" * 50: 1}, r"no setting '\\x1b"),
        ("refit", {"steps": 5}, r"unknown compression method 'refit'"),
        ("tuker", {}, r"unknown compression method 'tuker'"),
    ],
)
def test_a_job_that_names_what_a_method_does_not_have_is_told_what_it_has(method, fields, words):
    with pytest.raises(SpecError, match=words):
        compression.spec_of(method, fields)
    assert compression.spec_of("tucker", {"rank_ratio": 0.25}) == Spec(0.25)


def test_a_specification_survives_json():
    spec = Spec.paper(0.3, minimum_rank=4)
    assert from_json(Spec, json.loads(json.dumps(to_json(spec)))) == spec


@pytest.mark.parametrize(
    ("spec", "channels", "rank"),
    [
        (Spec.paper(0.9), 320, 288),
        (Spec.paper(0.3), 32, 10),
        (Spec.paper(1 / 3), 32, 11),
        (Spec.paper(0.55), 100, 55),  # 100 * 0.55 = 55.00000000000001
        (Spec.paper(0.05), 32, 8),
        (Spec.paper(0.05), 1, 1),
        (Spec.paper(1.0), 7, 7),
        (Spec.paper(0.5, minimum_rank=12, rank_mode="fixed"), 320, 12),
        (Spec(1 / 3), 32, 8),
        (Spec(1 / 3), 64, 24),
        (Spec(1 / 3), 128, 40),
        (Spec(1 / 3), 320, 104),
        (Spec(0.05), 320, 16),
        (Spec(0.9), 12, 8),
        (Spec(0.9), 4, 4),
        (Spec(1.0), 17, 17),
        (Spec(0.5, rank_multiple=16), 20, 16),
        (Spec(0.1, minimum_rank=1), 320, 32),
        (Spec(0.1, minimum_rank=1), 16, 8),
    ],
)
def test_ranks(spec, channels, rank):
    assert spec.rank(channels) == rank


def test_the_default_policy_keeps_the_first_and_the_output_layer_dense():
    found = reasons(tucker.plan(network_of(), Spec(0.25), PATCH, 1))
    assert found["encoder.stages.0.0.convs.0.conv"] == "first layer"
    assert found["decoder.seg_layers.1"] == "output layer"
    assert found["decoder.seg_layers.0"] == "takes no part in the forward pass"
    assert found["decoder.stages.1.convs.0.conv"] is None


def test_the_default_policy_keeps_projections_of_residual_blocks_dense():
    found = reasons(tucker.plan(network_of(ResidualEncoderUNet), Spec(0.25), PATCH, 1))
    projections = [reason for path, reason in found.items() if ".skip." in path]
    assert len(projections) == 2
    assert set(projections) == {"1x1x1 convolution"}


def test_a_layer_that_would_not_be_cheaper_stays_dense_and_says_both_counts():
    changes = tucker.plan(network_of(), Spec(0.9), PATCH, 1)
    change = next(change for change in changes if change.path == "decoder.transpconvs.1")
    assert ranks_of(change) is None and change.after == change.before
    assert change.skipped_because == f"not cheaper: {(32 * 32 + 32 * 16 * 8) * 512 + 16 * 16 * 4096} MACs at ranks " + (
        f"(16, 32), {32 * 16 * 8 * 512} dense"
    )
    forced = tucker.plan(network_of(), Spec(0.9, keep_if_not_cheaper=False), PATCH, 1)
    assert next(change for change in forced if change.path == "decoder.transpconvs.1").details["ranks"] == [16, 32]


def test_every_changed_layer_of_the_default_policy_is_cheaper_and_has_ranks_in_multiples_of_8():
    changes = [change for change in tucker.plan(network_of(), Spec(), PATCH, 1) if ranks_of(change)]
    assert changes
    for change in changes:
        assert change.after.macs < change.before.macs
        assert all(rank % 8 == 0 for rank in ranks_of(change))


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_rank_ratio_1_with_the_default_policy_is_the_original_network(kind):
    network = network_of(kind, device="cpu")
    modules = list(network.modules())
    changes = tucker.plan(network, Spec(1.0), PATCH, 1)
    assert all(ranks_of(change) is None for change in changes)
    tucker.apply(network, changes, tucker.decompose(nn.Sequential()))
    assert all(a is b for a, b in zip(network.modules(), modules, strict=True))


def test_a_grouped_convolution_stays_dense_with_the_reason_under_any_policy():
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.Conv3d(8, 8, 3, groups=4), nn.Conv3d(8, 8, 3), nn.Conv3d(8, 2, 1))
    for spec in (Spec(0.5, minimum_rank=1, rank_multiple=1), Spec.paper(0.5, minimum_rank=1)):
        change = tucker.plan(network, spec, PATCH, 1)[1]
        assert ranks_of(change) is None
        assert change.skipped_because == "grouped convolution (groups = 4)"


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_planning_without_weights_equals_planning_with_them_and_touches_nothing(kind):
    network = network_of(kind, device="cpu")
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for spec in (Spec(0.25), Spec.paper(0.25)):
        assert tucker.plan(network, spec, PATCH, 1) == tucker.plan(network_of(kind), spec, PATCH, 1)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_a_plan_survives_json_and_carries_the_sweeps():
    changes = tucker.plan(network_of(), Spec(0.25, sweeps=2), PATCH, 1)
    assert {change.details["sweeps"] for change in changes if ranks_of(change)} == {2}
    assert tuple(from_json(LayerChange, json.loads(json.dumps(to_json(change)))) for change in changes) == changes


def test_given_ranks_are_taken_and_every_other_layer_stays_dense():
    network = network_of()
    path = "encoder.stages.1.0.convs.0.conv"
    changes = tucker.plan(network, Spec.given({path: [8, 16]}), PATCH)
    changed = [change for change in changes if change.skipped_because is None]
    assert [(change.path, ranks_of(change)) for change in changed] == [(path, (8, 16))]
    assert TuckerDetails.from_change(changed[0]).merged  # an input rank of all 16 channels needs no layer of its own
    assert {change.skipped_because for change in changes} == {None, "no ranks are given for it"}
    assert len(changes) == len(convolutions(network))


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ({"encoder.stages.9.0.convs.0.conv": [8, 8]}, "no such convolution"),
        ({"encoder.stages.1.0.convs.0.conv": [8, 17]}, "at most 32 x 16, its channels; found 8 x 17"),
        ({"encoder.stages.1.0.convs.0.conv": [33, 8]}, "at most 32 x 16"),
    ],
)
def test_ranks_that_the_network_does_not_have_are_errors(ranks, words):
    with pytest.raises(SpecError, match=words):
        tucker.plan(network_of(), Spec.given(ranks), PATCH)


@pytest.mark.parametrize(
    "fields",
    [
        {"rank_mode": "given"},
        {"rank_mode": "auto", "ranks": {"a": [1, 1]}},
        {"rank_mode": "given", "ranks": [1, 2]},
        {"rank_mode": "given", "ranks": {"a": [1]}},
        {"rank_mode": "given", "ranks": {"a": [1, 0]}},
        {"rank_mode": "given", "ranks": {"a": [1, True]}},
        {"rank_mode": "given", "ranks": {"a": [1, 2.0]}},
        {"rank_mode": "given", "ranks": {"": [1, 2]}},
    ],
)
def test_ranks_that_are_none_are_errors(fields):
    with pytest.raises(SpecError, match="ranks"):
        Spec(1.0, **fields)


def test_specs_without_given_ranks_are_written_as_before():
    assert "ranks" not in to_json(Spec.at(0.5))
    given = Spec.given({"a": (1, 2)})
    assert from_json(Spec, json.loads(json.dumps(to_json(given)))) == given
    assert not given.needs_weights
    assert given.needs_calibration
