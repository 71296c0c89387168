"""What is slow about a quantization, done once per network: ranges, factors, rounded weights, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelFileError, SpecError
from ...monitor import Monitor
from ..calibration import Calibration
from ..layers import convolutions
from ..trace import ANY_PATCH_SHAPE
from .candidates import quantizable
from .equalization import factors_of, histogram_of_source
from .evidence import Int8Evidence
from .layers import LARGEST_WEIGHT
from .ranges import Range, best_range, rounding_noise
from .rounding import channel_weights, noise_error, rounded
from .sources import Source, sources_of
from .spec import Spec

VERSION = 1  # raise when the same spec and calibration give other weights

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]
_FACTORS, _LAYER = "factors/", "layer/"


@dataclass(frozen=True, eq=False)
class Material:
    """All layers of one network in whole numbers, whichever of them are taken.

    Attributes:
        evidence: What rounding each of them costs.
        factors: Maker of a source to what its channels are divided by, (C,).
        layers: Path to what :class:`QuantizedConv3d` holds of it, by the names that it has there.
    """

    evidence: Int8Evidence
    factors: dict[str, Tensor]
    layers: dict[str, dict[str, Tensor]]

    def to_tensors(self) -> Tensors:
        """Flat names to tensors, ready for a safetensors file."""
        tensors = {f"{_FACTORS}{maker}": factor for maker, factor in self.factors.items()}
        tensors |= {f"{_LAYER}{path}/{name}": each for path, held in self.layers.items() for name, each in held.items()}
        return tensors | self.evidence.to_tensors()

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Material:
        """Rebuild a material from the tensors of :meth:`to_tensors`.

        Raises:
            ModelFileError: They are not those of one.
        """
        factors, layers = {}, {}
        for name, each in tensors.items():
            if name.startswith(_FACTORS):
                factors[name[len(_FACTORS) :]] = each
            elif name.startswith(_LAYER):
                path, _, leaf = name[len(_LAYER) :].rpartition("/")
                layers.setdefault(path, {})[leaf] = each
        for path, held in layers.items():
            check_values(path, held)
        return cls(Int8Evidence.from_tensors(tensors), factors, layers)


def prepare(
    network: nn.Module, spec: Spec, moments: Calibration | None, keep: Keep, monitor: Monitor | None = None
) -> Material:
    """Choose ranges, equalize, and round every layer that can be quantized.

    Args:
        network: With its weights; read only.
        spec: Names the calibration.
        moments: Of that calibration.
        keep: Keeps tensors under facts, see ARCHITECTURE.md.
        monitor: Hears the fraction of the layers done, and is asked after each whether to stop.

    Raises:
        SpecError: There are no moments, or they were made before ranges were kept, or of another network.
        Cancelled: The monitor said so.
    """
    if moments is None:
        raise SpecError("INT8 needs ranges of what layers read: calibrate on a volume, and not by the weights alone.")
    facts = {"of": "int8", "calibration": spec.calibration}
    return keep(facts, lambda: _computed(network, moments, monitor or Monitor()).to_tensors(), Material.from_tensors)


def check_values(path: str, held: Mapping[str, Tensor]) -> None:
    """Raise ModelFileError unless what a quantized layer holds is in its range.

    Args:
        path: Of the layer, for the message.
        held: ``weight``, ``weight_scale``, ``input_scale`` and ``input_zero_point``, as :class:`QuantizedConv3d`.
    """
    for name in ("weight_scale", "input_scale"):
        scale = held[name]
        if not (scale.is_floating_point() and bool((scale.isfinite() & (scale > 0)).all())):
            raise ModelFileError(f"{path}.{name} should hold finite numbers above 0.")
    if not bool(((held["input_zero_point"] >= 0) & (held["input_zero_point"] <= 255)).all()):
        raise ModelFileError(f"{path}.input_zero_point should hold whole numbers from 0 to 255.")
    if held["weight"].dtype != torch.int8 or bool((held["weight"] < -LARGEST_WEIGHT).any()):
        raise ModelFileError(f"{path}.weight should hold whole numbers from -{LARGEST_WEIGHT} to {LARGEST_WEIGHT}.")


@torch.no_grad()
def _computed(network: nn.Module, moments: Calibration, monitor: Monitor) -> Material:
    sources = sources_of(network, ANY_PATCH_SHAPE)
    paths = quantizable(network, keep_pointwise=False)
    convs = convolutions(network)
    for path in paths:
        layer = moments.layers.get(path)
        if layer is None or len(layer.outputs) != convs[path].out_channels:
            raise SpecError(f"{path}: the calibration belongs to another network")
        if layer.magnitudes is None:
            raise SpecError(
                "The calibration of this model was made before ranges were kept, which INT8 needs. Calibrate again.",
                shell="That is tuckerseg calibrate --anew, with the volumes that are to count.",
            )
    read = [source for source in sources if any(reader.path in paths for reader in source.readers)]
    factors = {source.maker: factors_of(source, moments) for source in read if source.is_scalable}
    scaled = {path: _scaled_weight(path, convs[path].weight, sources, factors) for path in paths}
    ranges = {source.maker: _range(source, moments, factors, scaled) for source in read}
    errors, layers = {}, {}
    for number, path in enumerate(paths, start=1):
        errors[path], layers[path] = _quantized(path, scaled[path], sources, moments, factors, ranges)
        monitor.fraction(number / len(paths))
    return Material(Int8Evidence(errors), factors, layers)


def _divisors(path: str, sources: list[Source], factors: Mapping[str, Tensor]) -> Tensor:
    """What each input channel of a layer is divided by, (I,)."""
    return torch.cat(
        [factors.get(source.maker, torch.ones(source.channels)).double() for source in parts_of(path, sources)]
    )


def parts_of(path: str, sources: list[Source]) -> list[Source]:
    """The sources that a convolution reads, in the order of its input channels."""
    read = [(reader.part, source) for source in sources for reader in source.readers if reader.path == path]
    return [source for _, source in sorted(read, key=lambda each: each[0])]


def _scaled_weight(path: str, weight: Tensor, sources: list[Source], factors: Mapping[str, Tensor]) -> Tensor:
    """The equalized weight (O, I, taps) of a layer, without the factors of its own outputs: they change no rounding."""
    return weight.detach().double().flatten(2) * _divisors(path, sources, factors)[:, None]


def _range(source: Source, moments: Calibration, factors: Mapping[str, Tensor], scaled: Mapping[str, Tensor]) -> Range:
    """One range for all quantized readers of a source."""
    weights = torch.zeros(source.channels, dtype=torch.float64)
    for reader in source.readers:
        if reader.path in scaled:
            whole = channel_weights(scaled[reader.path], moments.layers[reader.path].outputs)
            weights += whole[reader.offset : reader.offset + source.channels]
    divisors = factors.get(source.maker, torch.ones(source.channels)).double()
    return best_range(histogram_of_source(source, moments), divisors, weights)


def _quantized(
    path: str,
    scaled: Tensor,
    sources: list[Source],
    moments: Calibration,
    factors: Mapping[str, Tensor],
    ranges: Mapping[str, Range],
) -> tuple[float, dict[str, Tensor]]:
    """The error of a layer, relative to the logits' energy, and what it holds."""
    layer, parts = moments.layers[path], parts_of(path, sources)
    noise = []
    for source in parts:
        divisors = factors.get(source.maker, torch.ones(source.channels)).double()
        noise.append(rounding_noise(histogram_of_source(source, moments), divisors, ranges[source.maker]))
    noise = torch.cat(noise)
    divisors = _divisors(path, sources, factors)
    divisors = divisors.repeat_interleave(len(layer.inputs) // len(divisors))
    weight = rounded(scaled, layer.inputs / divisors[:, None] / divisors[None, :], layer.outputs, noise)
    error = weight.error + noise_error(scaled, layer.outputs, noise)
    chosen = [ranges[source.maker] for source in parts]
    return error / moments.logit_energy, {
        "weight": weight.whole.contiguous(),
        "weight_scale": (weight.scale / factors[path]).float() if path in factors else weight.scale,
        "input_scale": torch.tensor([each.scale for each in chosen], dtype=torch.float32),
        "input_zero_point": torch.tensor([each.zero_point for each in chosen], dtype=torch.int32),
    }
