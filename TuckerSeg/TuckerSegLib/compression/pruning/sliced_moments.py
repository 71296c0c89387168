"""A calibration of a pruned network from that of the original: the moments of the channels that are kept.

What the readers of a group make up for leaves the values of the kept channels as they were, so their moments are those
of the original to first order, and no pass through the pruned network is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..calibration import Calibration, LayerMoments
from ..channel_graph import channel_graph
from ..layers import convolutions
from .slicing import Cut


def sliced_calibration(calibration: Calibration, network: nn.Module, kept: Mapping[str, Sequence[int]]) -> Calibration:
    """The moments of a pruned network.

    Args:
        calibration: Of the network as it was.
        network: As it was; weights do not matter.
        kept: Producer to the ascending indices of the output channels that it keeps, fewer than it has.
    """
    cut = Cut(channel_graph(network), kept)
    layers = {}
    for path, conv in convolutions(network).items():
        if path in calibration.layers:
            inputs = torch.tensor(cut.inputs(path, conv.in_channels))
            outputs = torch.tensor(list(cut.outputs.get(path, range(conv.out_channels))))
            layers[path] = _sliced(calibration.layers[path], conv.in_channels, inputs, outputs)
    return dataclasses.replace(calibration, layers=layers)


def _sliced(moments: LayerMoments, channels: int, inputs: Tensor, outputs: Tensor) -> LayerMoments:
    taps = len(moments.inputs) // channels
    rows = (inputs[:, None] * taps + torch.arange(taps)).flatten()
    return dataclasses.replace(
        moments,
        inputs=moments.inputs[rows][:, rows],
        outputs=moments.outputs[outputs][:, outputs],
        variance=moments.variance[outputs],
        magnitudes=None if moments.magnitudes is None else moments.magnitudes[inputs],
    )
