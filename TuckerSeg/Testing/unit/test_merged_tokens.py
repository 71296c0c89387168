"""Tokens that are alike pass a transformer's blocks as one: by small cases that can be computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from TuckerSegLib.compression import tokens
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.tokens.body import cells_of_air
from TuckerSegLib.compression.tokens.cell_groups import CellGroups
from TuckerSegLib.compression.tokens.details import TokenDetails
from TuckerSegLib.compression.tokens.merging import MergedPassage
from TuckerSegLib.compression.tokens.passages import fix_numbers
from TuckerSegLib.compression.tokens.spec import Spec
from TuckerSegLib.errors import SpecError
from TuckerSegLib.nnunet.primus import Primus
from TuckerSegLib.nnunet.unetr import UNETR
from TuckerSegLib.records.compression import Cost
from TuckerSegLib.token_layers.vit_block import VitBlock

AIR = -0.5
SHAPE = (16, 32, 16)


class Doubling(nn.Module):
    """A block that doubles each token, and notes what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, tokens, rotation, log_sizes):
        self.seen.append((tokens[0].tolist(), None if rotation is None else rotation, log_sizes[0].exp().tolist()))
        return 2 * tokens


def small(kind: str = "Primus", registers: int = 0, **settings) -> nn.Module:
    """A transformer of 4 x 8 x 4 (UNETR: 2 x 4 x 2) tokens whose weights are all random."""
    torch.manual_seed(0)
    if kind == "UNETR":
        network = UNETR(1, 3, SHAPE, 24, 4, 2, feature_size=4)
    else:
        sizes = {"embed_dim": 24, "eva_depth": 3, "eva_numheads": 2, "patch_embed_size": (4, 4, 4)}
        network = Primus(1, 3, input_shape=SHAPE, num_register_tokens=registers, **sizes, **settings)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network.eval()


def passage_of(network: nn.Module) -> nn.Module:
    return next(module for module in network.modules() if getattr(module, "runs_blocks", False))


def merged(network: nn.Module, keep_ratio: float, air: float | None = AIR) -> nn.Module:
    spec = Spec(keep_ratio, agreement=0, air=air, merged=True)
    tokens.apply(network, tokens.plan(network, spec, SHAPE))
    return network


@pytest.fixture
def patch() -> torch.Tensor:
    patch = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    patch[..., 16:, :] = -1.0  # half of it is air
    return patch


@pytest.mark.parametrize("kind", ["Primus", "UNETR"])
def test_one_token_for_several_that_are_the_same_has_their_part_in_everybodys_attention(kind):
    block = small().eva.blocks[0] if kind == "Primus" else VitBlock(24, 2)
    first, second = torch.randn(2, 1, 1, 24, generator=torch.Generator().manual_seed(2))
    turns = torch.randn(2, 2, 12, generator=torch.Generator().manual_seed(3))
    everybody = torch.cat((first, second, second, second), dim=1)
    expected = block(everybody, turns[:, [0, 1, 1, 1]])
    found = block(torch.cat((first, second), dim=1), turns, torch.tensor([[1.0, 3.0]]).log())
    assert torch.allclose(found, expected[:, :2], atol=1e-6)
    assert not torch.allclose(block(torch.cat((first, second), dim=1), turns), expected[:, :2], atol=1e-3)


def test_what_is_merged_and_written_back_can_be_followed_by_hand():
    # Cells 0 to 7 along an axis, a token of two numbers each; 0 to 2 and 7 are air, of the others 4 and 5 are alike.
    values = [[9.0, 1], [9, 2], [9, 3], [1, 5], [2, 4], [2.2, 4.2], [5, -1], [8, 0]]
    patch = torch.tensor([-1.0, -1, -1, 1, 1, 1, 1, -1]).reshape(1, 1, 8, 1, 1)
    rotation = torch.arange(8.0)[None, :, None].expand(2, -1, 2)
    block = Doubling()
    passage = MergedPassage((1, 1, 1), (8, 1, 1), 1, 1, keep_ratio=0.75, air=AIR)
    start = torch.tensor([[[7.0, 7.0], *values]])
    found = passage(nn.ModuleList([block]), start, rotation, patch)[0].tolist()
    ((seen, turned, sizes),) = block.seen
    # The register, cells that stay, the pair, air of cells 0 to 3, air of cells 4 to 7
    assert seen == [pytest.approx(each) for each in ([7, 7], [1, 5], [5, -1], [2.1, 4.1], [9, 2], [8, 0])]
    assert sizes == pytest.approx([1, 1, 1, 2, 3, 1])
    assert turned[0, 0, 0, :, 0].tolist() == pytest.approx([3, 6, 4.5, 1, 7])
    gained = [[9, 2]] * 3 + [[1, 5], [2.1, 4.1], [2.1, 4.1], [5, -1], [8, 0]]
    expected = [[14.0, 14.0], *([a + c, b + d] for (a, b), (c, d) in zip(values, gained))]
    assert found == [pytest.approx(each) for each in expected]


def test_the_most_alike_are_merged_until_the_share_is_reached():
    # Four pairs; the spread of the last is least, then that of the first.
    values = torch.tensor(
        [[[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [0, 5, 0], [0, 5, 0]]]
    )
    for keep_ratio, expected in ((1.0, 8), (0.88, 8), (0.87, 7), (0.75, 6), (0.5, 4), (0.01, 4)):
        for fixed in (False, True):
            block, passage = Doubling(), MergedPassage((1, 1, 1), (8, 1, 1), 0, 1, keep_ratio)
            passage.fixed = fixed
            passage(nn.ModuleList([block]), values, None, torch.zeros(1, 1, 8, 1, 1))
            assert len(block.seen[0][0]) == expected
            if expected == 7:
                assert block.seen[0][2] == pytest.approx([1] * 6 + [2]) and block.seen[0][0][-1] == [0, 5, 0]


def test_pairs_are_neighbours_along_the_first_axis_whose_channels_correlate_best():
    # Cells of a grid of 4 x 1 x 2. Columns: in the first the pairs correlate by 1 (lengths and levels differ) and by
    # -1, in the second by 0 and by 1/2. Neighbours along the last axis are the same, and never merged.
    first = [[0.0, 1, 2], [10, 20, 30], [0, 1, 2], [2, 1, 0]]
    second = [[0.0, 1, 2], [1, -2, 1], [0, 1, 2], [1, 0, 2]]
    values = torch.tensor([[cell for pair in zip(first, second) for cell in pair]])
    for keep_ratio, mean in ((1.0, None), (0.87, [5.0, 10.5, 16.0]), (0.75, [0.5, 0.5, 2.0])):
        for fixed in (False, True):
            block, passage = Doubling(), MergedPassage((1, 1, 1), (4, 1, 2), 0, 1, keep_ratio, paired=True)
            passage.fixed = fixed
            passage(nn.ModuleList([block]), values, None, torch.zeros(1, 1, 4, 1, 2))
            ((seen, _, sizes),) = block.seen
            merged = [token for token, size in zip(seen, sizes) if size > 1.5]
            assert len(seen) == 8 - len(merged) and len(merged) == round((1 - keep_ratio) * 8 - 0.04)
            assert mean is None or pytest.approx(mean) == merged[-1]


def test_where_pairs_are_too_few_blocks_are_merged():
    values = torch.randn(1, 64, 6, generator=torch.Generator().manual_seed(4))
    for keep_ratio, expected in ((0.5, 32), (0.49, 64 - 4 * 7), (0.125, 8)):
        block, passage = Doubling(), MergedPassage((1, 1, 1), (4, 4, 4), 0, 1, keep_ratio, paired=True)
        passage(nn.ModuleList([block]), values, None, torch.zeros(1, 1, 4, 4, 4))
        assert len(block.seen[0][0]) == expected


@torch.no_grad()
@pytest.mark.parametrize("kind, registers", [("Primus", 0), ("Primus", 2), ("UNETR", 1)])
@pytest.mark.parametrize("fixed", [False, True])
def test_who_merges_nothing_changes_nothing(patch, kind, registers, fixed):
    network = small(kind, registers)
    expected, old = network(patch), passage_of(network)
    passage = MergedPassage(old.cell, old.grid, old.registers, old.depth, 1.0, air=-100.0)
    passage.fixed = fixed
    (network.encoder if kind == "UNETR" else network.eva).passage = passage
    assert torch.allclose(network(patch), expected, atol=1e-5)


@torch.no_grad()
def test_air_without_places_is_merged_exactly(patch):
    # Without positions all tokens of air are the same, so one for each block of 4 x 4 x 4 changes nothing
    network = small(use_abs_pos_embed=False, use_rot_pos_emb=False)
    seen = []
    expected = network(patch)
    merged(network, 0.99)
    network.eva.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape[1]))
    found = network(patch)
    assert seen == [64 + 1] and torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_patches_of_a_batch_have_numbers_of_their_own(patch):
    network = merged(small(registers=1), 0.6)
    both = torch.cat((patch, patch.flip(2) + 0.3), dim=0)
    expected = torch.cat([network(each) for each in both.split(1)])
    assert torch.allclose(network(both), expected, atol=1e-5)


@torch.no_grad()
def test_a_fixed_number_is_that_of_the_plan(patch):
    network = small(registers=1)
    before = count(network, SHAPE).total
    changes = tokens.plan(network, Spec(0.6, agreement=0, air=AIR, merged=True), SHAPE)
    saved = sum((change.before - change.after for change in changes), Cost(0, 0))
    assert before - saved == count(merged(network, 0.6), SHAPE).total
    fix_numbers(network)
    seen = []
    network.eva.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape[1]))
    network(patch)
    network(patch + 5)
    assert seen == [1 + 128 - 7 * 7] * 2  # the share of 128 allows seven groups of eight
    linear = [change for change in changes if change.kind == "Linear"]
    assert sum(each.before.macs - each.after.macs for each in linear) == (4 * 24**2 + 3 * 24 * 64) * 3 * 49


def test_where_hardly_any_are_merged_all_tokens_are_kept_as_that_takes_less_time(patch):
    def prepared(keep_ratio: float, air: float | None) -> tokens.Material:
        spec = Spec(keep_ratio, agreement=0.001, air=air, merged=True, paired=True)
        return tokens.prepare(small(), spec, None, lambda facts, make, read: read(make()), patches=lambda: [patch])

    # 122 of 128 tokens; 96; 64 and one for the half that is air
    shares = [prepared(*settings) for settings in ((0.95, None), (0.75, None), (0.99, AIR))]
    assert [(each.keep_ratio, each.slower) for each in shares] == [(1.0, True), (0.75, False), (0.99, False)]
    spec = Spec(0.95, agreement=0.001, merged=True, paired=True)
    (change, *_) = tokens.plan(small(), spec, SHAPE, materials=shares[:1])
    assert change.before == change.after and change.skipped_because == "merging hardly any tokens would take longer"


def test_blocks_at_the_ends_of_a_grid_are_smaller():
    groups = CellGroups((3, 1, 4), (2, 2, 2))
    assert groups.blocks == (2, 1, 2) and groups.full == (4, 2)
    assert groups.owners(torch.device("cpu")).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert groups.sums(torch.ones(1, 1, 3, 1, 4)).flatten().tolist() == [4, 4, 2, 2]
    assert cells_of_air(torch.tensor([-1.0, -1, 1, -1]).reshape(1, 1, 4, 1, 1), (2, 1, 1), AIR).tolist() == [
        [True, False]
    ]


def test_a_file_says_whether_tokens_are_merged():
    network = small()
    (change, *_) = tokens.plan(network, Spec(0.6, agreement=0, air=AIR, merged=True), SHAPE)
    assert change.details == {"keep_ratio": 0.6, "blocks": None, "air": AIR, "merged": True}
    assert TokenDetails.from_change(change).spec == Spec(0.6, agreement=0, air=AIR, merged=True)
    assert tokens.layer_words(change) == "0.60, others merged"
    paired = Spec(0.6, agreement=0, air=AIR, merged=True, paired=True)
    (change, *_) = tokens.plan(network, paired, SHAPE)
    assert change.details["paired"] is True and TokenDetails.from_change(change).spec == paired
    tokens.apply(network, [change])
    assert passage_of(network).paired
    (change, *_) = tokens.plan(small(), Spec(0.6, agreement=0), SHAPE)
    assert "merged" not in change.details  # as files said before tokens could be merged


def test_merging_goes_neither_with_blocks_nor_with_learning():
    for settings in ({"blocks": (1,)}, {"learned": True}, {"merged": 1}):
        with pytest.raises(SpecError, match="merged"):
            Spec(0.5, **{"merged": True, **settings})
    for settings in ({}, {"paired": "yes", "merged": True}):
        with pytest.raises(SpecError, match="paired"):
            Spec(0.5, **{"paired": True, **settings})
