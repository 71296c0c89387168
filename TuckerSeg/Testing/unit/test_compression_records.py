"""Records of compressions: costs are counted and subtracted, and what earlier versions wrote is read for ever."""

from __future__ import annotations

import json

import pytest

from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.errors import ModelFileError
from TuckerSegLib.records.comparison import ComparisonRow
from TuckerSegLib.records.compression import CompressionRecipe, Cost, LayerChange
from TuckerSegLib.records.serialization import from_json, to_json

COSTS = '"before": {"version": 1, "parameters": 6912, "macs": 442368, "norm_elements": 0}, ' + (
    '"after": {"version": 1, "parameters": 1000, "macs": 64000, "norm_elements": 0}'
)
LAYER = '"path": "decoder.stages.0.convs.0.conv", "kind": "Conv3d", "shape": [16, 16, 3, 3, 3]'
VERSION_2 = f'{{"version": 2, {LAYER}, "ranks": [8, 4], {COSTS}, "skipped_because": null, "sweeps": 2, "merged": true}}'
VERSION_1 = f'{{"version": 1, {LAYER}, "ranks": null, {COSTS}, "skipped_because": "first layer"}}'


def test_a_layer_of_version_2_is_read_with_its_details():
    change = from_json(LayerChange, json.loads(VERSION_2))
    assert change.details == {"ranks": [8, 4], "sweeps": 2, "merged": True}
    assert TuckerDetails.from_change(change) == TuckerDetails((8, 4), 2, True)
    assert (change.before, change.after) == (Cost(6912, 442368), Cost(1000, 64000))
    assert change.before.weight_bits == 6912 * 32
    assert from_json(LayerChange, json.loads(json.dumps(to_json(change)))) == change
    assert to_json(change)["version"] == 3


def test_a_recipe_of_version_1_with_a_layer_of_version_1_is_read():
    document = {"version": 1, "method": "tucker", "spec": {"rank_ratio": 0.5}, "changes": [json.loads(VERSION_1)]}
    (change,) = from_json(CompressionRecipe, document).changes
    assert (change.skipped_because, TuckerDetails.from_change(change).ranks) == ("first layer", None)


def test_a_row_of_a_comparison_of_version_1_is_read():
    statistics = {"version": 1, "model": "m"}
    with pytest.raises(ModelFileError, match="RunStatistics"):  # not this field: the strength is found
        from_json(
            ComparisonRow,
            {
                "version": 1,
                "rank_ratio": 0.5,
                "agreement": None,
                "structures": [],
                "labels": None,
                "differences": None,
                "statistics": statistics,
            },
        )
    assert ComparisonRow.upgraded({"version": 1, "rank_ratio": 0.5})["strength"] == 0.5


@pytest.mark.parametrize(
    "details",
    [
        {"ranks": [8]},
        {"ranks": [8, 0]},
        {"ranks": [True, 4]},
        {"ranks": "84"},
        {"ranks": [8, 4], "sweeps": -1},
        {"ranks": [8, 4], "sweeps": 10**9},
        {"ranks": [8, 4], "merged": "no"},
    ],
)
def test_details_that_tucker_does_not_write_are_refused(details):
    change = LayerChange("a\x1b.conv", "Conv3d", (16, 16, 3, 3, 3), Cost(1, 1), Cost(1, 1), details=details)
    with pytest.raises(ModelFileError, match=r"a\\x1b.conv: details of a Tucker compression are ranks"):
        TuckerDetails.from_change(change)


def test_costs_add_subtract_and_tell_bits_and_bytes():
    whole, part = Cost(10, 100, 5), Cost(4, 60, 2, weight_bits=32)
    assert whole.weight_bits == 320
    assert whole - part + part == whole
    assert whole - part == Cost(6, 40, 3, weight_bits=288)
    assert (part.bits_per_weight, part.weight_bytes) == (8.0, 4)
    assert Cost(0, 0).bits_per_weight == 32
    assert from_json(Cost, {"version": 1, "parameters": 2, "macs": 3}) == Cost(2, 3, 0, 64)
