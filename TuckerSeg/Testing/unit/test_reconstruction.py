"""Errors over a grid of rank pairs, against the plain definitions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from TuckerSegLib import Cache, load_model
from TuckerSegLib.analysis.layer_reconstruction import RankGrid, layers_of, measure_reconstruction
from TuckerSegLib.compression.calibration import Calibration, calibrate
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.layers import convolutions
from TuckerSegLib.compression.tucker.basis import decompose
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.compression.tucker.method import Spec, apply
from TuckerSegLib.compression.tucker.truncation import calibrated_truncation_errors, truncation_errors
from TuckerSegLib.errors import SpecError
from TuckerSegLib.models.calibration import ModelCalibration
from TuckerSegLib.models.compress import compress
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.records.compression import LayerChange

pytestmark = pytest.mark.slow

NARROW, TRANSPOSED, HEAD = "encoder.stages.1.0.convs.0.conv", "decoder.transpconvs.0", "decoder.seg_layers.1"


@pytest.fixture
def model(make_model_folder) -> SegmentationModel:
    return load_model(make_model_folder(folds=("0", "1")))


@pytest.fixture
def calibrations(model) -> ModelCalibration:
    return ModelCalibration({fold: calibrated(model, fold) for fold in model.folds}, ("noise",), ("noise",))


def calibrated(model: SegmentationModel, fold: str) -> Calibration:
    generator = torch.Generator().manual_seed(int(fold))
    rough = torch.randn(2, 1, 4, 4, 4, generator=generator)
    return calibrate(model.network(fold), list(torch.nn.functional.interpolate(rough, size=(16, 16, 16))[:, None]))


def rebuilt(factors) -> torch.Tensor:
    """The weight of core, output factor and input factor."""
    core, outputs, inputs = (each.double() for each in factors)
    return torch.einsum("or,rs...,is->oi...", outputs, core, inputs)


@pytest.mark.parametrize("taps_told_apart", [True, False])
@pytest.mark.parametrize("path", [NARROW, TRANSPOSED, HEAD])
def test_errors_of_truncation_are_those_of_the_rebuilt_weights(model, monkeypatch, path, taps_told_apart):
    if not taps_told_apart:
        monkeypatch.setattr("TuckerSegLib.compression.sampling.MOST_TAP_CHANNELS", 0)
    network, calibration = model.network("0"), calibrated(model, "0")
    layer = decompose(network).layers[path]
    basis = CalibratedBasis.from_network(network, calibration)
    whitened = basis.layer(path)
    weight = whitened.weight.reshape(layer.core.shape)
    outputs, inputs = ([1, 3, size - 1, size] for size in weight.shape[:2])
    plain, plain_energy = truncation_errors(layer, outputs, inputs)
    seen, seen_energy = calibrated_truncation_errors(layer, basis.moments(path), outputs, inputs)
    assert plain_energy == pytest.approx(float(weight.square().sum()))
    assert seen_energy == pytest.approx(whitened.energy)
    for row, r in enumerate(outputs):
        for column, s in enumerate(inputs):
            lower = rebuilt(layer.truncated((r, s)))
            expected = float((weight - lower).square().sum())
            assert float(plain[row, column]) == pytest.approx(expected, rel=1e-5, abs=1e-9 * plain_energy)
            expected = whitened.error_of(lower)
            assert float(seen[row, column]) == pytest.approx(expected, rel=1e-5, abs=1e-9 * seen_energy)


def test_every_pair_of_every_layer_is_there_and_more_rank_is_never_worse(model, calibrations):
    found = list(measure_reconstruction(model, RankGrid(4), Cache(), calibrations))
    assert [layer.path for layer in found] == list(convolutions(model.structure()))
    for layer in found:
        assert (layer.output_ranks[-1], layer.input_ranks[-1]) == layer.shape[:2]
        assert [(pair.output_rank, pair.input_rank) for pair in layer.pairs] == [
            (r, s) for r in layer.output_ranks for s in layer.input_ranks
        ]
        errors = layer.grid("relative_error")
        assert (errors[1:] <= errors[:-1]).all()
        assert (errors[:, 1:] <= errors[:, :-1]).all()
        for name in ("relative_error", "whitened_error_weights", "whitened_error_calibrated"):
            assert layer.pairs[-1].macs == layer.dense.macs
            assert layer.grid(name)[-1, -1] < 1e-4
            assert (layer.grid(name) <= 1).all()


def test_the_errors_of_folds_are_those_of_their_weights_side_by_side(model):
    (layer,) = measure_reconstruction(model, RankGrid(4, (NARROW,)), Cache())
    assert layer.pairs[0].whitened_error_calibrated is None
    pair = next(pair for pair in layer.pairs if (pair.output_rank, pair.input_rank) == (8, 4))
    lost, whole = 0.0, 0.0
    for fold in model.folds:
        network = model.network(fold)
        weight = network.get_submodule(NARROW).weight
        lost += float((weight - rebuilt(decompose(network).truncated(NARROW, (8, 4)))).square().sum())
        whole += float(weight.square().sum())
    assert pair.absolute_error == pytest.approx(lost**0.5, rel=1e-5)
    assert pair.relative_error == pytest.approx((lost / whole) ** 0.5, rel=1e-5)
    assert pair.energy == pytest.approx(1 - lost / whole, rel=1e-5)


def test_calibrated_factors_are_at_least_as_good_as_said_and_never_worse_than_plain_ones(model, calibrations):
    calibration = calibrations.folds["0"]
    network = model.network("0")
    basis = CalibratedBasis.from_network(network, calibration)
    single = ModelCalibration({"0": calibration}, ("noise",), ("noise",))
    gained = False
    for layer in measure_reconstruction(replace(model, folds=("0",)), RankGrid(8), Cache(), single):
        assert (layer.grid("whitened_error_calibrated") <= layer.grid("whitened_error_weights")).all()
        whitened = basis.layer(layer.path)
        for pair in layer.pairs:
            r, s = pair.output_rank, pair.input_rank
            made, foretold = (
                (max(float(error), 0) / whitened.energy) ** 0.5
                for error in (whitened.truncated((r, s)).error, whitened.errors([s])[s][r])
            )
            assert made <= pair.whitened_error_calibrated * (1 + 1e-5) + 1e-4
            assert pair.whitened_error_calibrated <= foretold * (1 + 1e-5) + 1e-4
            gained |= made < 0.9 * pair.whitened_error_weights
    assert gained


@pytest.mark.parametrize("path", [NARROW, TRANSPOSED, HEAD])
def test_costs_are_counted_in_the_compressed_network(model, path):
    network = model.structure()
    before = count(network, model.plans.patch_shape).total
    (layer,) = measure_reconstruction(model, RankGrid(4, (path,)), Cache())
    conv = network.get_submodule(path)
    for pair in layer.pairs:
        smaller = model.structure()
        ranks = (pair.output_rank, pair.input_rank)
        details = TuckerDetails(ranks, merged=True).to_json()
        change = LayerChange(
            path, type(conv).__name__, tuple(conv.weight.shape), layer.dense, layer.dense, details=details
        )
        apply(smaller, [change])
        after = count(smaller, model.plans.patch_shape).total
        assert pair.macs - layer.dense.macs == after.macs - before.macs
        assert pair.parameters - layer.dense.parameters == after.parameters - before.parameters
        assert pair.cheaper == (after.macs < before.macs)


def test_the_cheapest_pair_keeps_the_energy_and_none_cheaper_does(model):
    for layer in measure_reconstruction(model, RankGrid(4), Cache()):
        for energy in (0.5, 0.9, 0.999):
            found = layer.cheapest(energy)
            enough = [pair.macs for pair in layer.pairs if pair.energy >= energy and pair.macs < layer.dense.macs]
            assert (found and found.macs) == (min(enough) if enough else None)
    assert layer.cheapest(1.1) is None


def test_patterns_choose_layers_and_unknown_ones_are_answered_with_those_there_are(model):
    assert list(layers_of(model, ("*transp*", "*seg_layers*"))) == [
        "decoder.transpconvs.0",
        "decoder.transpconvs.1",
        "decoder.seg_layers.1",
    ]
    with pytest.raises(SpecError, match=rf"bottleneck\*(?s:.*){TRANSPOSED}"):
        layers_of(model, ("decoder*", "bottleneck*"))
    with pytest.raises(SpecError, match="at least 1; found 0"):
        RankGrid(0)


def test_a_compressed_model_is_refused(model):
    with pytest.raises(SpecError, match="compressed already"):
        layers_of(compress(model, Spec(0.5)))
