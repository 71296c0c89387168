"""Takes channels out of a network that is being trained, and out of what its optimizer remembers of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...compression.channel_graph import ChannelGraph
from ...compression.pruning.moments import ReaderMoments
from ...compression.pruning.slicing import Cut, slice_network


def cut(
    network: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Sequence[int]],
    moments: Mapping[str, Tensor],
    made_up: ReaderMoments | None = None,
) -> dict[str, Tensor]:
    """Take channels out, in place: outputs, biases, norms, and the inputs of all that read them.

    Args:
        network: Changed in place, at every alias.
        graph: Of this network.
        kept: Path of a layer to the ascending indices of the channels that stay, fewer than it has.
        moments: Of its parameters, ``parameter/key`` as ``tensor_states.moments_of`` gives them.
        made_up: By which the layers that read what is gone make up for it; None: they do not.

    Returns:
        The moments of what stays; those of no shape, as the number of steps, are as they were.
    """
    plan = Cut(graph, kept)
    smaller = {}
    for key in {name.rpartition("/")[2] for name in moments}:
        of_key = {name: value for name, value in moments.items() if name.rpartition("/")[2] == key}
        smaller |= _sliced(network, plan, of_key)
    slice_network(network, plan, made_up)
    return {name: smaller[name] for name in moments}


@torch.no_grad()
def _sliced(network: nn.Module, plan: Cut, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Moments of one kind, cut by putting them in the parameters' places of a copy and cutting that."""
    parameters = dict(network.named_parameters())
    suffixes = {name.rpartition("/")[0]: name for name in moments}
    shaped = {path for path, name in suffixes.items() if moments[name].shape == parameters[path].shape}
    if not shaped:
        return dict(moments)
    stand_in = copy.deepcopy(network)
    for path, parameter in stand_in.named_parameters():
        if path in shaped:
            parameter.copy_(moments[suffixes[path]])
    slice_network(stand_in, plan, None)
    after = dict(stand_in.named_parameters())
    cut_moments = {suffixes[path]: after[path].detach().to(moments[suffixes[path]]) for path in shaped}
    return {**moments, **cut_moments}
