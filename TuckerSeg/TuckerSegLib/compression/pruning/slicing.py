"""Taking channels out of a network, and letting the layers that read them make up for what is gone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..channel_graph import ChannelGraph
from ..layers import replace_modules
from .moments import ReaderMoments, output_first, positive_root, rows_of

Places = Sequence[int]  # ascending indices of channels; no tensors, which would have a device


class Cut:
    """Which channels of which layers stay.

    Args:
        graph: Of the network.
        kept: Producer to the ascending indices of the output channels that it keeps, fewer than it has.
    """

    def __init__(self, graph: ChannelGraph, kept: Mapping[str, Places]):
        self.outputs = dict(kept)
        self.gone_inputs: dict[str, Places] = {}
        self.gone_in_norms: dict[str, Places] = {}
        for path, places in kept.items():
            group = graph.groups[path]
            gone = _without(places, group.channels)
            for readers, notes in ((group.readers, self.gone_inputs), (group.norms, self.gone_in_norms)):
                for reader in readers:
                    shifted = [place + reader.offset for place in gone]
                    notes[reader.path] = sorted([*notes.get(reader.path, ()), *shifted])

    def inputs(self, path: str, channels: int) -> Places:
        """Which of the channels that a layer reads stay."""
        return _without(self.gone_inputs.get(path, ()), channels)


@torch.no_grad()
def slice_network(network: nn.Module, cut: Cut, moments: ReaderMoments | None, values: bool = True) -> None:
    """Take channels out, in place.

    Args:
        network: Changed in place, at every alias.
        cut: Of this network.
        moments: By which readers make up for what is gone; None: their weights are cut alone.
        values: False leaves the new weights uninitialized; this works on the meta device too.
    """
    replacements = {}
    for path in {**cut.outputs, **cut.gone_inputs}:
        conv = network.get_submodule(path)
        inputs = cut.inputs(path, conv.in_channels)
        weight = conv.weight
        if values and moments is not None and path in cut.gone_inputs:
            weight = made_up(network, path, inputs, cut.gone_inputs[path], moments).to(weight)
        replacements[conv] = _smaller_conv(conv, weight, cut.outputs.get(path), inputs, values)
    for path, gone in cut.gone_in_norms.items():
        norm = network.get_submodule(path)
        replacements[norm] = _smaller_norm(norm, _without(gone, norm.num_features), values)
    replace_modules(network, replacements)


def made_up(network: nn.Module, path: str, kept: Places, gone: Places, moments: ReaderMoments) -> Tensor:
    """A reader's weight, as it is stored, after the inputs that stay have taken over what can be predicted of others.

    ``W_S + W_P C_PS inv(C_SS)``: the linear prediction of what is gone, by all that the layer still reads. Where the
    layer is normalized, C is a covariance, and the constant that the prediction leaves is taken away by normalization;
    else it is a second moment, and the prediction needs no constant.

    Args:
        network: Read only.
        path: Of the reader.
        kept, gone: Its input channels.
        moments: Of its inputs.

    Returns:
        Float64, with the channels that are gone as they were.
    """
    conv, kept, gone = network.get_submodule(path), torch.tensor(kept), torch.tensor(gone)
    weight, taps = output_first(conv).clone(), moments.taps(network, path)
    lower = positive_root(moments.among(network, path, kept))
    across = torch.cholesky_solve(moments.between(network, path, kept, gone), lower)  # (S taps, P taps)
    if taps == 1:
        weight[:, kept] += torch.einsum("opk,sp->osk", weight[:, gone], across)
    else:
        flat = weight.flatten(1)
        flat[:, rows_of(kept, taps)] += flat[:, rows_of(gone, taps)] @ across.T
        weight = flat.reshape(weight.shape)
    weight = weight.transpose(0, 1) if conv.transposed else weight
    return weight.reshape(conv.weight.shape)


def _smaller_conv(conv: nn.Module, weight: Tensor, outputs: Places | None, inputs: Places, values: bool) -> nn.Module:
    smaller = _without_tensors(conv)
    outputs = range(conv.out_channels) if outputs is None else outputs
    first, second = (inputs, outputs) if conv.transposed else (outputs, inputs)
    smaller.in_channels, smaller.out_channels = len(inputs), len(outputs)
    smaller.weight = _parameter(conv.weight, weight, (first, second), values)
    smaller.bias = None if conv.bias is None else _parameter(conv.bias, conv.bias, (outputs,), values)
    return smaller


def _smaller_norm(norm: nn.Module, kept: Places, values: bool) -> nn.Module:
    smaller = _without_tensors(norm)
    smaller.num_features = len(kept)
    for name, parameter in norm.named_parameters(recurse=False):
        smaller.register_parameter(name, _parameter(parameter, parameter, (kept,), values))
    for name, buffer in norm.named_buffers(recurse=False):
        per_channel = buffer.ndim == 1
        smaller.register_buffer(name, _sliced(buffer, buffer, (kept,), values) if per_channel else buffer.clone())
    return smaller


def _without_tensors(module: nn.Module) -> nn.Module:
    """A copy of a layer whose parameters and buffers are still those of the original."""
    tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _parameter(old: nn.Parameter, source: Tensor, places: tuple[Places, ...], values: bool) -> nn.Parameter:
    return nn.Parameter(_sliced(old, source, places, values), requires_grad=old.requires_grad)


def _sliced(old: Tensor, source: Tensor, places: tuple[Places, ...], values: bool) -> Tensor:
    """A tensor's entries at some places along its first axes; of the old one's device, shape and type alone."""
    if not values:
        return old.new_empty(*map(len, places), *old.shape[len(places) :])
    for axis, indices in enumerate(places):
        source = source.index_select(axis, torch.tensor(list(indices), device=source.device))
    return source.detach().clone()


def _without(gone: Places, channels: int) -> Places:
    left_out = set(gone)
    return [place for place in range(channels) if place not in left_out]
