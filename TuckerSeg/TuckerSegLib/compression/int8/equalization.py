"""Channels of one tensor brought nearer to one size, so that one range of steps fits all of them; exact.

What makes the channels is divided by a factor each, and the weights of all that read them are multiplied with it. Data-
free quantization (Nagel et al. 2019, arXiv:1906.04721) does so for pairs of convolutions; here the makers are the
normalizations, whose readers may be several, through skips and concatenations.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..calibration import Calibration
from ..magnitudes import quantile
from .sources import Source

# Of a channel's size: half of the differences goes to the weights, which have a scale per output. 0.25 and 0.75 left
# 1.3 and 1.1 times the squared error of the logits, built-in model, three CTs that calibration did not see.
EXPONENT = 0.5
_SHARE_BEYOND = 1e-4  # of a channel's values that may be larger than its size
_MOST = 2.0**6  # of a factor


def factors_of(source: Source, calibration: Calibration) -> Tensor:
    """What each channel of a source is divided by, (C,); ones where it cannot be scaled.

    Args:
        source: Of the network.
        calibration: With magnitudes.
    """
    histogram = histogram_of_source(source, calibration)
    if histogram is None or not source.is_scalable:
        return torch.ones(source.channels, dtype=torch.float64)
    sizes = quantile(histogram, _SHARE_BEYOND)
    factors = (sizes / sizes.log().mean().exp()) ** EXPONENT
    return factors.clamp(1 / _MOST, _MOST)


def histogram_of_source(source: Source, calibration: Calibration) -> Tensor | None:
    """Histograms of a source's channels, (C, 2 BINS), from the first reader that was calibrated; None without one."""
    for reader in source.readers:
        layer = calibration.layers.get(reader.path)
        if layer is not None and layer.magnitudes is not None:
            return layer.magnitudes[reader.offset : reader.offset + source.channels]
    return None


@torch.no_grad()
def equalize(network: nn.Module, sources: list[Source], factors: Mapping[str, Tensor]) -> None:
    """Divide channels by factors and multiply the weights of their readers, in place; new parameters take the old's
    places, whose values stay.

    Args:
        network: Changed in place; its output stays the same.
        sources: Of it.
        factors: Maker of a source to what its channels are divided by, (C,); those left out stay.
    """
    for source in sources:
        if source.is_scalable and source.maker in factors:
            factor = factors[source.maker]
            maker = network.get_submodule(source.maker)
            _scale(maker, 1 / factor, axis=1 if getattr(maker, "transposed", False) else 0)
            for reader in source.readers:
                conv = network.get_submodule(reader.path)
                whole = torch.ones(conv.in_channels, dtype=torch.float64)
                whole[reader.offset : reader.offset + source.channels] = factor
                _scale(conv, whole, axis=0 if conv.transposed else 1, with_bias=False)


def _scale(module: nn.Module, factor: Tensor, axis: int, with_bias: bool = True) -> None:
    """Multiply a layer's weight along an axis, and its bias."""
    shape = [1] * module.weight.ndim
    shape[axis] = -1
    _replace(module, "weight", module.weight.double() * factor.to(module.weight.device).reshape(shape))
    if with_bias and module.bias is not None:
        _replace(module, "bias", module.bias.double() * factor.to(module.bias.device))


def _replace(layer: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(layer, name)
    setattr(layer, name, nn.Parameter(value.to(old.dtype), requires_grad=old.requires_grad))
