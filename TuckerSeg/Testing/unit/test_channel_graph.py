"""Which convolutions read which channels of which others, and whose channels may be left out."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from TuckerSegLib.compression.channel_graph import Reader, channel_graph
from TuckerSegLib.errors import SpecError


def network_of(kind, **changed):
    norm = {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}, "nonlin": nn.LeakyReLU}
    dropout = {"dropout_op": nn.Dropout3d, "dropout_op_kwargs": {"p": 0.1}, "nonlin_kwargs": {"inplace": True}}
    with torch.device("meta"):
        return kind(1, 3, (16, 32, 64), nn.Conv3d, 3, [1, 2, 2], 2, 5, 2, conv_bias=True, **norm, **dropout, **changed)


class Two(nn.Module):
    """Two convolutions, and what is done between them."""

    def __init__(self, between, second=None):
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 8, 3, padding=1), second or nn.Conv3d(8, 4, 1)
        self.norm, self.between = nn.InstanceNorm3d(8), between

    def forward(self, patches):
        return self.second(self.between(self, self.first(patches))).sum(dim=1, keepdim=True)


def test_channels_are_followed_through_skips_concatenations_and_transposed_convolutions():
    graph = channel_graph(network_of(PlainConvUNet))
    assert graph.kept_whole == {"decoder.seg_layers.1": "it is an output of the network"}
    assert len(graph.groups) == 12
    skip = graph.groups["encoder.stages.0.0.convs.1.conv"]
    assert (skip.channels, skip.norms) == (16, (Reader("encoder.stages.0.0.convs.1.norm", 0),))
    deeper, beside = Reader("encoder.stages.1.0.convs.0.conv", 0), Reader("decoder.stages.1.convs.0.conv", 16)
    assert skip.readers == (deeper, beside)
    up = graph.groups["decoder.transpconvs.1"]
    assert (up.readers, up.norms) == ((Reader("decoder.stages.1.convs.0.conv", 0),), ())
    assert graph.groups["decoder.stages.0.convs.1.conv"].readers == (Reader("decoder.transpconvs.1", 0),)
    assert graph.groups["decoder.stages.1.convs.1.conv"].readers == (Reader("decoder.seg_layers.1", 0),)


def test_of_residual_blocks_only_the_inside_may_be_pruned():
    graph = channel_graph(network_of(ResidualEncoderUNet))
    encoder = [path for path in graph.groups if path.startswith("encoder")]
    assert len(encoder) == 6 and all(path.endswith("conv1.conv") for path in encoder)
    assert graph.groups[encoder[0]].readers == (Reader(encoder[0].replace("conv1", "conv2"), 0),)
    sums = {path for path, reason in graph.kept_whole.items() if reason == "it is added to another"}
    assert {"encoder.stem.convs.0.conv", "encoder.stages.1.blocks.0.skip.1.conv"} < sums
    assert set(graph.kept_whole) - sums == {"decoder.seg_layers.1"}


def test_heads_that_deep_supervision_runs_read_channels_too():
    graph = channel_graph(network_of(PlainConvUNet, deep_supervision=True))
    readers = {reader.path for reader in graph.groups["decoder.stages.0.convs.1.conv"].readers}
    assert readers == {"decoder.transpconvs.1", "decoder.seg_layers.0"}
    assert {"decoder.seg_layers.0", "decoder.seg_layers.1"} == set(graph.kept_whole)


@pytest.mark.parametrize(
    "between",
    [
        lambda own, values: nn.functional.leaky_relu(own.norm(values), inplace=True),
        lambda own, values: nn.functional.max_pool3d(values.relu_(), 2),
        lambda own, values: nn.functional.dropout(values, 0.5, training=False),
        lambda own, values: values.contiguous().clone(),
        lambda own, values: torch.cat([values], -4),
    ],
)
def test_what_works_on_each_channel_alone_lets_channels_pass(between):
    assert set(channel_graph(Two(between)).groups) == {"first"}


@pytest.mark.parametrize(
    ("between", "second", "reason"),
    [
        (lambda own, values: values + 1, None, "added"),
        (lambda own, values: values.add_(values), None, "added"),
        (lambda own, values: values * values.mean(dim=(2, 3, 4), keepdim=True), None, "mean"),
        (lambda own, values: values.flip(1), None, "flip"),
        (lambda own, values: values.softmax(dim=1), None, "softmax"),
        (lambda own, values: values[:, :4], nn.Conv3d(4, 4, 1), "getitem"),
        (lambda own, values: torch.cat([values, values], 2), None, "cat"),
        (lambda own, values: torch.cat([values, values], 1), nn.Conv3d(16, 4, 1), "reads it twice"),
        (lambda own, values: own.norm(own.norm(values)), None, "runs more than once"),
        (lambda own, values: nn.GroupNorm(2, 8)(values), None, "group_norm"),
        (lambda own, values: values, nn.Conv3d(8, 8, 1, groups=2), "grouped"),
        (lambda own, values: nn.functional.conv3d(values, torch.ones(8, 8, 1, 1, 1)), None, "conv3d"),
    ],
)
def test_what_ties_channels_together_keeps_all_of_them(between, second, reason):
    graph = channel_graph(Two(between, second))
    assert "first" not in graph.groups
    assert reason in graph.kept_whole["first"]


def test_what_is_not_read_keeps_all_and_what_does_not_run_is_not_there():
    network = Two(lambda own, values: (own.third(values), values)[1])
    network.third, network.unused = nn.Conv3d(8, 5, 1), nn.Conv3d(8, 5, 1)
    graph = channel_graph(network)
    assert graph.kept_whole["third"] == "no convolution reads it"
    assert [reader.path for reader in graph.groups["first"].readers] == ["third", "second"]
    assert "unused" not in {**graph.groups, **graph.kept_whole}


def test_a_patch_that_the_network_cannot_take_is_an_error():
    with pytest.raises(SpecError, match="cannot take a patch"):
        channel_graph(network_of(PlainConvUNet), (10, 10, 10))
