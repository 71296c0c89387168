"""Instance normalization of single images: the same numbers and gradients without leaving the memory layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from TuckerSegLib.training.distillation.single_image_norms import SingleImageNorm, put_single_image_norms
from TuckerSegLib.training.distillation.split_network import LAYOUT, SplitNetwork, highest, picked


@pytest.fixture
def network():
    torch.manual_seed(0)
    norms = [nn.InstanceNorm3d(4, affine=True), nn.InstanceNorm3d(4)]
    nn.init.normal_(norms[0].weight), nn.init.normal_(norms[0].bias)
    return nn.Sequential(nn.Conv3d(1, 4, 3), norms[0], nn.LeakyReLU(), norms[1], nn.InstanceNorm3d(4))


@pytest.mark.parametrize("images", (1, 2))
def test_outputs_and_gradients_are_those_of_instance_normalization(network, images):
    patch = torch.randn(images, 1, 6, 5, 7)
    found = []
    for each in (network, SplitNetwork(network).to(torch.device("cpu")).network):
        output = each(patch)
        each.zero_grad()
        output.pow(3).sum().backward()
        found.append((output, *[parameter.grad for parameter in each.parameters()]))
    for own, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_a_single_image_keeps_its_layout(network):
    put_single_image_norms(network)
    maps = torch.randn(1, 4, 6, 6, 6).to(memory_format=LAYOUT)
    assert network[1](maps).is_contiguous(memory_format=LAYOUT)


def test_parameters_and_their_names_stay_and_running_statistics_are_left_alone(network):
    network.append(nn.InstanceNorm3d(4, track_running_stats=True))
    before = dict(network.named_parameters())
    put_single_image_norms(network)
    assert [type(each) for each in network[3:]] == [SingleImageNorm, SingleImageNorm, nn.InstanceNorm3d]
    after = dict(network.named_parameters())
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)


def test_the_highest_logit_and_picked_voxels():
    logits = torch.randn(5, 40)
    assert torch.equal(highest(logits), logits.argmax(dim=0))
    voxels = torch.tensor([3, 3, 39])
    assert torch.equal(picked(logits, voxels), logits[:, voxels])
