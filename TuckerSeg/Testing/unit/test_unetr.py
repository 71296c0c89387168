"""UNETR with tokens of 8 voxels, and the published figures of its sparsification."""

from __future__ import annotations

import pytest
import torch

from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.profiler_macs import profiler_macs
from TuckerSegLib.errors import ModelFolderError, UnsupportedModelError
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import Architecture

NAME = "TuckerSegLib.nnunet.unetr.UNETR"
SMALL = {"embed_dim": 24, "depth": 4, "num_heads": 2, "feature_size": 4, "input_shape": [16, 32, 16]}


def built(channels: int = 1, labels: int = 3, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(Architecture(NAME, {**SMALL, **arguments}, ()), channels, labels)


@pytest.mark.parametrize(
    "side, keep_ratio, channels, labels, published, dense, sparse",
    [(96, 0.1, 1, 14, 146.627, 202.0, 54.7), (128, 0.25, 4, 3, 439.42, 657.4, 198.1)],
    ids=["BTCV", "BraTS"],
)
def test_it_costs_what_was_published(side, keep_ratio, channels, labels, published, dense, sparse):
    sizes = {"embed_dim": 768, "depth": 12, "num_heads": 12, "feature_size": 16, "input_shape": [side] * 3}
    with torch.device("meta"):
        whole = built(channels, labels, **sizes)
        pruned = built(channels, labels, **sizes, keep_ratio=keep_ratio, token_blocks=[2, 5, 8])
    assert profiler_macs(pruned, (side,) * 3, channels) / 1e9 == pytest.approx(published, rel=1e-4)
    for network, blocks in ((whole, dense), (pruned, sparse)):
        layers = count(network, (side,) * 3, channels).layers
        macs = sum(cost.macs for path, cost in layers.items() if path.startswith("encoder.blocks")) / 1e9
        assert macs == pytest.approx(blocks, abs=0.1)
    assert count(pruned, (side,) * 3, channels).total.macs < count(whole, (side,) * 3, channels).total.macs / 1.9


@torch.no_grad()
def test_every_level_of_the_decoder_gets_what_was_completed():
    network, patch = built(keep_ratio=0.5), torch.randn(1, 1, 16, 32, 16)
    levels = network.encoder(patch)
    assert all(torch.equal(level, levels[-1]) for level in levels) and levels[0].shape == (1, 16, 24)
    assert network(patch).shape == (1, 3, 16, 32, 16)
    different = built().encoder(patch)
    assert not any(torch.equal(level, different[-1]) for level in different[:-1])


@torch.no_grad()
def test_levels_are_the_tokens_after_a_quarter_half_and_three_quarters_of_the_blocks():
    network, patch = built(depth=8), torch.randn(1, 1, 16, 32, 16)
    outputs = []
    for block in network.encoder.blocks:
        block.register_forward_hook(lambda block, inputs, output: outputs.append(output[:, 1:]))
    levels = network.encoder(patch)
    assert network.encoder.levels == (2, 4, 6)
    assert all(torch.equal(level, outputs[number]) for level, number in zip(levels, (2, 4, 6)))
    assert torch.allclose(levels[-1], network.encoder.norm(outputs[-1]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"input_shape": [24, 32, 16]}, "multiples of 16"),
        ({"input_shape": [16, 32, 12]}, "multiples of"),
        ({"num_heads": 5}, "multiple of 5"),
        ({"depth": 4.0}, "whole number"),
        ({"patch_embed_size": [16, 16, 16]}, "patch_embed_size"),
        ({"keep_ratio": 0}, "keep_ratio"),
        ({"keep_ratio": 0.5, "token_blocks": [3]}, "token_blocks"),
        ({"keep_ratio": 0.5, "token_blocks": [1, 1]}, "rise"),
        ({"keep_ratio": 0.5, "depth": 2}, "at least 4 blocks"),
        ({"keep_ratio": 0.5, "embed_dim": 26}, "multiple of 6"),
        ({"token_blocks": [1]}, "keep_ratio beside it"),
    ],
    ids=str,
)
def test_arguments_are_checked_before_anything_is_built(arguments, message):
    with pytest.raises(ModelFolderError, match=message):
        built(**arguments)


def test_an_unknown_argument_is_named():
    with pytest.raises(UnsupportedModelError, match="norm_name.* is no argument of UNETR"):
        built(norm_name="batch")
