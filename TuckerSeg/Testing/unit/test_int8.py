"""INT8 quantization: ranges, equalization, rounding, the choice of layers, and what OpenVINO makes of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from Testing.unit.quantizable_networks import PATCH, Block, made, patches_of, prepared, quantized
from TuckerSegLib.compression import int8
from TuckerSegLib.compression.calibration import Calibration, calibrate
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.int8.equalization import equalize, factors_of
from TuckerSegLib.compression.int8.layers import QuantizedConv3d
from TuckerSegLib.compression.int8.ranges import Range, best_range
from TuckerSegLib.compression.int8.rounding import rounded
from TuckerSegLib.compression.int8.sources import sources_of
from TuckerSegLib.compression.logit_distance import distance
from TuckerSegLib.compression.magnitudes import BINS, bin_values, histogram_of, moved, quantile
from TuckerSegLib.errors import SpecError


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return made()


@pytest.fixture(scope="module")
def patches() -> list[torch.Tensor]:
    return patches_of(3)


@pytest.fixture(scope="module")
def calibration(network, patches) -> Calibration:
    return calibrate(network, patches)


@pytest.fixture(scope="module")
def material(network, calibration):
    return prepared(network, calibration)


def taken(changes):
    return [change.path for change in changes if change.skipped_because is None]


def test_a_histogram_finds_values_and_moves_with_a_factor():
    values = torch.tensor([-3.0, 0.0, 0.5, 100.0]).reshape(1, 1, 1, 2, 2)
    histogram = histogram_of(values)
    assert histogram.shape == (1, 2 * BINS) and histogram.sum() == 1
    found = bin_values()[histogram[0] > 0]
    torch.testing.assert_close(found, torch.tensor([-3.0, 0.0, 0.5, 100.0]).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(moved(histogram, torch.tensor([4.0])), histogram_of(values / 4))
    assert 100 <= quantile(histogram, 0.1) < 110 and 3 <= quantile(histogram, 0.4) < 3.3


def test_calibrations_keep_magnitudes_merge_them_and_read_those_without(calibration):
    again = Calibration.from_tensors(calibration.to_tensors())
    assert again.sha256 == calibration.sha256
    before = {name: each for name, each in calibration.to_tensors().items() if "magnitudes" not in name}
    early = Calibration.from_tensors(before)
    assert early.layers["last.0"].magnitudes is None and early.sha256 != calibration.sha256
    assert Calibration.from_tensors(early.to_tensors()).sha256 == early.sha256
    assert early.merged(calibration).layers["last.0"].magnitudes is None
    shares = calibration.merged(again).layers["last.0"].magnitudes
    torch.testing.assert_close(shares, calibration.layers["last.0"].magnitudes)
    assert shares.shape == (32, 2 * BINS)
    torch.testing.assert_close(shares.sum(1), torch.ones(32).double())


def test_what_is_read_is_known_with_its_parts(network):
    sources = {source.maker: source for source in sources_of(network, PATCH, 1)}
    skip, up, patch = sources["second.1"], sources["up"], sources["#0"]
    assert [(reader.path, reader.part, reader.offset) for reader in skip.readers] == [
        ("down.0", 0, 0),
        ("last.0", 1, 16),
    ]
    assert [(reader.path, reader.part, reader.offset) for reader in up.readers] == [("last.0", 0, 0)]
    assert skip.is_scalable and up.is_scalable and not patch.is_scalable


def test_channels_that_others_read_are_not_scaled():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner, self.outer, self.end = (
                Block(1, 4),
                Block(4, 4),
                nn.Conv3d(4, 4, 1),
                nn.Conv3d(4, 2, 1),
            )

        def forward(self, patches):
            values = self.stem(patches)
            return self.end(nn.functional.leaky_relu(self.outer(self.inner(values)) + values))

    found = {source.maker: source.is_scalable for source in sources_of(Residual(), PATCH, 1)}
    assert found["inner.1"] and not found["stem.1"] and sum(found.values()) == 1


def test_equalization_changes_channels_and_not_the_network(network, calibration, patches):
    sources = sources_of(network, PATCH, 1)
    factors = {source.maker: factors_of(source, calibration) for source in sources if source.is_scalable}
    assert max(float(factor.max() / factor.min()) for factor in factors.values()) > 2
    equal = copy.deepcopy(network)
    before = network.second[1].weight.clone()
    equalize(equal, sources, factors)
    torch.testing.assert_close(equal(patches[0]), network(patches[0]), atol=1e-5, rtol=1e-5)
    assert not torch.equal(equal.second[1].weight, before)
    assert torch.equal(network.second[1].weight, before), "the network that it was copied from shares no weight"


def test_a_range_holds_zero_and_goes_by_the_channels_that_matter():
    values = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 0.1
    one = torch.ones(2)
    whole = best_range(histogram_of(values), one, one)
    assert 1.8 / 255 < whole.scale < 2.3 / 255 and 5 < whole.zero_point < 25
    values[0, 1] *= 100
    assert best_range(histogram_of(values), one, one).scale > 50 / 255
    assert best_range(histogram_of(values), one, torch.tensor([1.0, 1e-9])).scale < 10 / 255
    assert best_range(histogram_of(values), torch.tensor([1.0, 100.0]), one).scale < 3 / 255
    assert best_range(histogram_of(values * 0), one, one) == Range(1.0, 0)


@pytest.mark.parametrize("tells_taps", [True, False])
def test_rounding_that_makes_up_for_errors_is_better_than_the_nearest(tells_taps):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(6, 4, 8, generator=generator).double()
    mixed = torch.randn(32 if tells_taps else 4, 3, generator=generator).double()
    inputs = mixed @ mixed.T + 0.01 * torch.eye(len(mixed))
    outputs = torch.eye(6).double()
    result = rounded(weight, inputs, outputs, torch.zeros(4))
    scale = result.scale.double()[:, None, None]
    difference = weight - result.whole * scale
    plain = weight - (weight / scale).round().clamp(-127, 127) * scale

    def cost(error):
        rows = error.flatten(1) if tells_taps else error.transpose(1, 2).flatten(0, 1)
        return float(((rows @ inputs) * rows).sum())

    assert result.error == pytest.approx(cost(difference), rel=1e-4)
    assert cost(difference) < 0.8 * cost(plain)
    assert result.whole.dtype == torch.int8 and result.whole.shape == weight.shape


def test_a_quantized_network_gives_nearly_the_same_logits(network, material, patches):
    smaller, changes = quantized(network, material)
    assert taken(changes) == ["second.0", "down.0", "last.0"]
    assert smaller.last[0].weight.dtype == torch.int8 and smaller.last[0].parts == (16, 16)
    assert 0 < distance(network, smaller, patches) < 3e-3
    assert set(material.evidence.errors) == {"second.0", "down.0", "last.0"}
    assert all(0 < error < 1e-2 for error in material.evidence.errors.values())
    assert "int8, 3 of 6 layers" in int8.describe(int8.Spec(), changes)


def test_costs_are_those_of_the_network_that_comes_of_it(network, material):
    smaller, changes = quantized(network, material)
    before, after = (count(each, PATCH, 1).total for each in (network, smaller))
    assert sum((change.after - change.before for change in changes), before) == after
    assert after.macs == before.macs and after.weight_bits < 0.4 * before.weight_bits


def test_the_strength_is_the_share_that_stays_and_the_least_harmful_layers_go_first(network, material):
    assert not taken(quantized(network, material, int8.Spec.at(1.0))[1])
    total = count(network, PATCH, 1).total.macs
    found = []
    for strength in (0.9, 0.6, 0.3, 0.01):
        changes = quantized(network, material, int8.Spec.at(strength))[1]
        share = sum(change.before.macs for change in changes if change.skipped_because is None) / total
        assert share <= 1 - strength
        found.append(share)
    assert found == sorted(found) and found[-1] > found[0]
    errors = {"second.0": 1.0, "down.0": 1.0, "last.0": 1e-9}
    only_last = replace(material, evidence=int8.Int8Evidence(errors))
    assert taken(quantized(network, only_last, int8.Spec.at(0.4))[1])[-1] == "last.0"


def test_layers_may_be_named_and_those_that_cannot_be_are_refused(network, material):
    assert taken(quantized(network, material, int8.Spec(layers=("down.0",)))[1]) == ["down.0"]
    for path, reason in (("first.0", "first layer"), ("head", "output layer"), ("up", "transposed"), ("x", "no such")):
        with pytest.raises(SpecError, match=f"{path}.*{reason}"):
            int8.plan(network, int8.Spec(layers=(path,)), PATCH, 1)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_computes_what_torch_simulates_with_whole_numbers(network, material, patches, precision):
    openvino = pytest.importorskip("openvino")
    from TuckerSegLib.hardware.openvino_convert import to_model

    smaller, _ = quantized(network, material)
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the processor has no bf16")

    def told(text):
        pytest.fail(f"it should be recorded, and was traced: {text}")

    model = to_model(smaller, (1, 1, *PATCH), precision, told, channels_last=False)
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    whole = sum(node.get_output_element_type(0).to_string() in ("i8", "int8_t") for node in constants)
    assert whole == 4, "one per layer, two where the input has two parts"
    rounding = [node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]
    assert len(rounding) == 4, "what two layers read is rounded once"
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1})
    expected = smaller(patches[0])
    found = torch.from_numpy(compiled(patches[0].numpy())[0].copy())
    found = found.view(torch.bfloat16).float() if precision == "bf16" else found  # numpy calls it float16
    # Values on the border between two steps may fall to either side
    bound = 1e-6 if precision == "f32" else 1e-3
    assert (found - expected).square().sum() < bound * expected.square().sum()


def test_weights_of_whole_numbers_keep_their_type_on_the_way_to_half_precision(network, material):
    smaller, _ = quantized(network, material)
    half = copy.deepcopy(smaller).to(torch.bfloat16)
    layer = half.last[0]
    assert isinstance(layer, QuantizedConv3d) and layer.weight.dtype == torch.int8
    assert half(torch.ones(1, 1, *PATCH, dtype=torch.bfloat16)).isfinite().all()
