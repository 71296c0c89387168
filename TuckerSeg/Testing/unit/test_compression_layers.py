"""Finding, swapping and dropping modules in networks that hold them under several names."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from TuckerSegLib.compression.heads import drop_unused_heads, find_head, split_head
from TuckerSegLib.compression.layers import convolutions, replace_modules
from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.errors import SpecError


def network_of(kind, deep_supervision=False):
    torch.manual_seed(0)
    return kind(
        1,
        3,
        (8, 16, 16),
        nn.Conv3d,
        3,
        [1, 2, 2],
        2,
        5,
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    ).eval()


def run(network, seed=0):
    with torch.no_grad():
        return network(torch.randn(1, 1, 8, 16, 8, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(params=[PlainConvUNet, ResidualEncoderUNet])
def network(request):
    return network_of(request.param)


def alias_groups(network, suffix):
    """Names of one tensor, for every tensor that has several."""
    names = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if name.endswith(suffix):
            names.setdefault(id(tensor), set()).add(name.removesuffix(suffix))
    return sorted(map(sorted, names.values()))


def test_every_convolution_object_is_found_once(network):
    found = convolutions(network)
    objects = {module for module in network.modules() if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d))}
    assert len(found) == len(set(found.values())) == len(objects)
    assert all(network.get_submodule(path) is module for path, module in found.items())


def test_convolutions_in_two_dimensions_are_not_found():
    assert convolutions(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 1, 2), nn.Linear(2, 2))) == {}


def test_replacing_every_block_convolution_by_zeros_changes_the_output(network):
    before = run(network)
    zeros = {}
    for path, conv in convolutions(network).items():
        if path.endswith(".conv"):
            zeros[conv] = nn.Conv3d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
            nn.init.zeros_(zeros[conv].weight)
            nn.init.zeros_(zeros[conv].bias)
    replace_modules(network, zeros)
    assert not torch.allclose(run(network), before)


def test_compression_keeps_every_alias(network):
    drop_unused_heads(network)
    convs = convolutions(network)
    before = [group for group in alias_groups(network, ".weight") if set(group) & set(convs)]
    blocks = [module for module in network.modules() if hasattr(module, "all_modules")]
    changes = tucker.plan(network, tucker.Spec.paper(0.5, 2), (8, 16, 8), 1)
    tucker.apply(network, changes, tucker.decompose(network))

    assert network.decoder.encoder is network.encoder
    assert all(block.conv is block.all_modules[0] for block in blocks)
    assert not set(convs.values()) & set(network.modules())
    after = [group for group in alias_groups(network, ".1.weight") if set(group) & set(convs)]  # the cores
    assert len(after) == len(convs)
    assert after == before


def test_compression_changes_the_output_and_can_be_undone_by_nothing_less_than_full_rank(network):
    before = run(network)
    basis = tucker.decompose(network)
    tucker.apply(network, tucker.plan(network, tucker.Spec.paper(0.25, 2), (8, 16, 8), 1), basis)
    assert (run(network) - before).abs().max() > 0.01 * before.abs().max()


def test_a_module_of_another_network_is_refused_and_nothing_is_changed(network):
    mine, foreign = next(iter(convolutions(network).values())), nn.Conv3d(1, 1, 1)
    with pytest.raises(SpecError, match="Conv3d"):
        replace_modules(network, {mine: nn.Identity(), foreign: nn.Identity()})
    assert mine in set(network.modules())


def test_unused_heads_are_dropped_and_the_output_stays(network):
    before, parameters = run(network), sum(p.numel() for p in network.parameters())
    assert drop_unused_heads(network) == ("decoder.seg_layers.0",)
    assert isinstance(network.decoder.seg_layers[0], nn.Identity)
    assert sum(p.numel() for p in network.parameters()) == parameters - 16 * 5 - 5
    assert torch.equal(run(network), before)
    assert drop_unused_heads(network) == ()


def test_no_head_is_dropped_while_deep_supervision_is_on():
    assert drop_unused_heads(network_of(PlainConvUNet, deep_supervision=True)) == ()


def test_parameters_used_without_calling_their_module_are_not_dropped():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.scale = nn.Conv3d(1, 2, 1), nn.ParameterList([nn.Parameter(torch.ones(1))])
            self.spare = nn.Linear(2, 2)

        def forward(self, values):
            return self.conv(values) * self.scale[0]

    assert drop_unused_heads(Scaled()) == ("spare",)


def test_splitting_the_head_off_leaves_features_from_which_it_makes_the_same_logits(network):
    before = run(network)
    assert find_head(network) == "decoder.seg_layers.1"
    head = split_head(network)
    features = run(network)
    assert features.shape == (1, 8, 8, 16, 8)
    weight, bias = head
    assert (weight.shape, bias.shape) == ((5, 8), (5,))
    assert torch.allclose(head(features), before, atol=1e-5 * before.abs().max())


def test_a_compressed_head_splits_at_its_last_factor(network):
    tucker.apply(network, tucker.plan(network, tucker.Spec.paper(0.5, 2), (8, 16, 8), 1), tucker.decompose(network))
    before = run(network)
    assert find_head(network) == "decoder.seg_layers.1.2"
    head = split_head(network)
    assert torch.allclose(head(run(network)), before, atol=1e-5 * before.abs().max())


def test_a_head_followed_by_anything_is_not_split_off():
    for last in (nn.Sigmoid(), nn.ReLU(inplace=True), nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, 1, groups=2)):
        network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 2, 1), last)
        modules = list(network)
        assert find_head(network) is None
        assert split_head(network) is None
        assert list(network) == modules


def test_a_head_whose_features_are_used_twice_is_not_split_off():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(2, 2, 1)

        def forward(self, values):
            return self.conv(self.conv(values))

    assert find_head(Twice()) is None
    assert split_head(Twice()) is None


def test_a_head_that_does_not_hold_on_real_values_is_put_back():
    class Doubled(nn.Conv3d):
        def forward(self, values):
            return 2 * super().forward(values)

    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), Doubled(4, 2, 1))
    last = network[1]
    assert split_head(network) is None
    assert network[1] is last


def test_splitting_leaves_training_modes_and_random_numbers_alone(network):
    network.train()
    network.encoder.eval()
    state = torch.get_rng_state()
    assert split_head(network) is not None
    assert network.training and network.decoder.stages.training and not network.encoder.stages.training
    assert torch.equal(torch.get_rng_state(), state)
