"""Tokens that are left out, and where they go: by small cases that can be computed by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from TuckerSegLib.compression import tokens
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.tokens import material
from TuckerSegLib.compression.tokens.body import cells_in_body
from TuckerSegLib.compression.tokens.passage import SparsePassage
from TuckerSegLib.compression.tokens.spec import Spec
from TuckerSegLib.errors import ModelFileError, SpecError
from TuckerSegLib.nnunet.primus import AllTokens, Primus
from TuckerSegLib.records.compression import Cost

UNTRIED = Spec(0.5, agreement=0)


class Adding(nn.Module):
    """A block that adds to each token what stands under its first number, and notes which tokens it saw."""

    def __init__(self, addends: dict[int, float]):
        super().__init__()
        self.addends, self.seen = addends, []

    def forward(self, tokens, rotation):
        numbers = tokens[0, :, 0].round().int().tolist()
        self.seen.append((numbers, None if rotation is None else rotation[0].flatten().tolist()))
        added = torch.tensor([self.addends[number] for number in numbers])
        return tokens + torch.stack((torch.zeros(len(numbers)), added), dim=1)


def small(registers: int = 0, **settings) -> Primus:
    """A transformer of 64 tokens whose weights are all random."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 24, "eva_depth": 4, "eva_numheads": 2, "patch_embed_size": (4, 4, 4)}
    network = Primus(1, 3, input_shape=(16, 16, 16), num_register_tokens=registers, **sizes, **settings)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network.eval()


def sparse(network: Primus, spec: Spec = UNTRIED, patch_shape=(16, 16, 16)) -> Primus:
    """The network with fewer tokens, in place."""
    tokens.apply(network, tokens.plan(network, spec, patch_shape))
    return network


@pytest.fixture
def patch() -> torch.Tensor:
    return torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))


def test_what_is_left_out_and_written_back_can_be_followed_by_hand():
    # Four tokens (number, value) with values 10, 20, 30, 40, all registers aside.
    start = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]])
    rotation = torch.tensor([[[0.1], [0.2], [0.3], [0.4]]] * 2)
    blocks = nn.ModuleList(
        [
            Adding({1: 5, 2: 1, 3: 15, 4: 2}),  # relative changes of about 1/2, 1/20, 1/2, 1/20: 1 and 3 stay
            Adding({1: 1, 3: 30}),  # 3 stays
            Adding({3: 100}),
        ]
    )
    passage = SparsePassage((1, 1, 1), 0, 3, keep_ratio=0.5, after=(0, 1))
    found = passage(blocks, start, rotation, torch.zeros(1, 1, 4, 1, 1))
    seen = [block.seen[0] for block in blocks]
    assert [numbers for numbers, _ in seen] == [[1, 2, 3, 4], [1, 3], [3]]
    turned = [[0.1, 0.2, 0.3, 0.4], [0.1, 0.3], [0.3]]
    assert [angles for _, angles in seen] == [pytest.approx(angles) for angles in turned]
    assert found[0].tolist() == [[1, 10 + 5 + 1], [2, 20 + 1], [3, 30 + 15 + 30 + 100], [4, 40 + 2]]


def test_leading_tokens_without_a_cell_are_never_left_out():
    start = torch.tensor([[[9.0, 7.0], [1.0, 10.0], [2.0, 20.0]]])
    blocks = nn.ModuleList([Adding({9: 0, 1: 0, 2: 20}), Adding({9: 1, 2: 1}), Adding({9: 0, 2: 0})])
    found = SparsePassage((1, 1, 1), 1, 3, 0.5, (0,))(blocks, start, None, torch.zeros(1, 1, 2, 1, 1))
    assert blocks[1].seen[0][0] == [9, 2]
    assert found[0].tolist() == [[9, 8], [1, 10], [2, 41]]


def test_tokens_outside_the_body_go_first_and_each_patch_keeps_a_share_of_its_own():
    start = torch.tensor([[[float(number), 10.0] for number in range(1, 9)]])
    blocks = nn.ModuleList([Adding({number: number for number in range(1, 9)}), Adding(dict.fromkeys(range(1, 9), 0))])
    patch = torch.full((1, 1, 8, 1, 1), -2.0)
    patch[0, 0, :3] = 1.0  # of tokens 1 to 3, and 4, which touches them
    SparsePassage((1, 1, 1), 0, 2, 0.5, (0,), air=-1.0)(blocks, start, None, patch)
    assert blocks[1].seen[0][0] == [3, 4]  # half of the four inside, those that changed most


def test_of_tokens_outside_the_body_those_stay_that_change_most_though_all_change_little():
    start = torch.tensor([[[float(number), 10.0] for number in range(1, 9)]])
    little = {number: (0.01 if number == 7 else 0.003) for number in range(5, 9)}
    blocks = nn.ModuleList([Adding({1: 1, 2: 1, 3: 1, 4: 1, **little}), Adding(dict.fromkeys(range(1, 9), 0))])
    patch = torch.full((1, 1, 8, 1, 1), -2.0)
    patch[0, 0, :3] = 1.0  # of tokens 1 to 3, and 4, which touches them
    passage = SparsePassage((1, 1, 1), 0, 2, 0.625, (0,), air=-1.0)
    passage.fixed = True
    passage(blocks, start, None, patch)
    assert blocks[1].seen[0][0] == [1, 2, 3, 4, 7]


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("learned", [True, False])
def test_who_keeps_all_tokens_changes_nothing(patch, registers, learned):
    network = small(registers, use_abs_pos_embed=learned)
    expected = network(patch)
    passage = SparsePassage((4, 4, 4), registers, 4, 1.0, (0, 1, 2), air=-100.0)
    network.eva.passage = passage
    assert torch.equal(network(patch), expected)


def test_a_token_is_turned_by_its_own_place_wherever_it_stands(patch):
    network = small()
    network.eva.passage = SparsePassage((4, 4, 4), 0, 4, 0.5, (0,))
    seen = []
    for block in network.eva.blocks:
        block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs))
    network(patch)
    everything, rotation = seen[0]
    some, of_some = seen[1]
    before = small().eva.blocks[0](everything, rotation)
    for row in range(some.shape[1]):
        place = int((before - some[:, row : row + 1]).abs().sum(dim=2).argmin())
        assert torch.equal(of_some[:, 0, 0, row], rotation[:, place])


def test_lungs_and_what_touches_the_body_are_body():
    # A ring of tissue around a gap, 7 x 7 cells of 2 voxels in a plane; the corner is far off.
    patch = torch.full((1, 2, 2, 14, 14), -3.0)
    patch[0, 0, :, 4:11, 4:11] = 1.0
    patch[0, 0, :, 6:8, 6:8] = -3.0  # one cell of air within
    patch[0, 1] = 1.0  # of another channel
    inside = cells_in_body(patch, (2, 2, 2), air=-1.0).reshape(7, 7)
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[1:7, 1:7] = True
    assert torch.equal(inside, expected)
    assert not cells_in_body(torch.full((1, 1, 4, 4, 4), -3.0), (2, 2, 2), air=-1.0).any()


def test_the_plan_counts_what_runs(patch):
    network = small()
    before = count(network, (16, 16, 16)).total
    changes = tokens.plan(network, UNTRIED, (16, 16, 16))
    saved = sum((change.before - change.after for change in changes), Cost(0, 0))
    after = count(sparse(network), (16, 16, 16)).total
    assert before - saved == after
    # Blocks see 64, 32, 16 and 8 tokens instead of 64 each: what is linear in them falls to (64 + 32 + 16 + 8) / 256
    linear = [change for change in changes if change.kind == "Linear"]
    widths = 4 * 24**2 + 3 * 24 * 64
    assert sum(each.before.macs - each.after.macs for each in linear) == widths * (3 * 64 - 32 - 16 - 8)
    assert after.parameters == before.parameters


def test_by_default_tokens_go_after_a_quarter_half_and_three_quarters_of_the_blocks():
    assert [Spec().blocks_of(depth) for depth in (12, 16, 24, 4, 2, 1)] == [
        (2, 5, 8), (3, 7, 11), (5, 11, 17), (0, 1, 2), (0,), ()
    ]  # fmt: skip
    with pytest.raises(SpecError, match="blocks 0 to 2 of a network of 4 blocks"):
        Spec(blocks=(1, 3)).blocks_of(4)


def test_more_tokens_are_kept_until_the_labels_agree_and_all_where_they_never_do(patch):
    network, kept = small(), {}

    def prepare(agreement):
        def keep(facts, make, read):
            kept[agreement] = make()
            return read(kept[agreement])

        return tokens.prepare(network, Spec(0.1, agreement=agreement), None, keep, patches=lambda: [patch])

    found = [prepare(agreement) for agreement in (0.01, 1.0)]
    assert found[0].keep_ratio == pytest.approx(0.1) and found[0].agreement >= 0.01
    assert found[1].keep_ratio == 1.0 and found[1].agreement < 1
    between = prepare((found[0].agreement + found[1].agreement) / 2)
    assert 0.1 < between.keep_ratio < 1
    changes = tokens.plan(network, Spec(0.1), (16, 16, 16), materials=[found[0], found[1]])
    assert changes[0].kind == "AllTokens"
    assert all("agreement" in change.skipped_because and change.before == change.after for change in changes)


def test_the_smallest_share_that_agrees_is_looked_for_by_halving(patch, monkeypatch):
    tried = []
    monkeypatch.setattr(material, "put_passages", lambda network, spec: tried.append(spec.keep_ratio))
    monkeypatch.setattr(material, "agreement_of_labels", lambda labels, expected: tried[-1])
    spec = Spec(0.5, agreement=0.8, merged=True)
    trial = tokens.prepare(small(), spec, None, lambda facts, make, read: read(make()), patches=lambda: [patch])
    assert tried == [0.5, 0.75, 0.875, 0.8125, 0.78125]
    assert (trial.keep_ratio, trial.agreement) == (0.8125, 0.8125)


def test_what_is_not_said_or_no_transformer_is_refused():
    convolution = nn.Sequential(nn.Conv3d(1, 2, 3))
    with pytest.raises(SpecError, match="for transformers"):
        tokens.plan(convolution, UNTRIED, (16, 16, 16))
    with pytest.raises(SpecError, match="for transformers"):
        tokens.prepare(convolution, UNTRIED, None, None)
    for settings in (
        {"keep_ratio": 0}, {"keep_ratio": True}, {"keep_ratio": float("nan")}, {"agreement": 1.1}, {"blocks": (2, 1)},
        {"blocks": ()}, {"blocks": (1.0,)}, {"blocks": (128,)}, {"air": float("inf")}, {"volumes": (1,)},
    ):  # fmt: skip
        with pytest.raises(SpecError):
            Spec(**settings)


@pytest.mark.parametrize(
    "details",
    [
        {"keep_ratio": 0.5},
        {"keep_ratio": 2.0, "blocks": [0], "air": None},
        {"keep_ratio": 0.5, "blocks": None, "air": None},
        {"keep_ratio": 0.5, "blocks": [0, 0], "air": None},
        {"keep_ratio": 0.5, "blocks": [0], "air": "cold"},
        [],
    ],
    ids=str,
)
def test_changes_of_a_damaged_file_are_refused(details):
    network = small()
    changes = [dataclasses.replace(each, details=details) for each in tokens.plan(network, UNTRIED, (16, 16, 16))[:1]]
    with pytest.raises(ModelFileError, match="details of a token sparsification"):
        tokens.apply(network, changes)
    assert type(network.eva.passage) is AllTokens


def test_changes_of_another_network_are_refused():
    network = small()
    (change, *_) = tokens.plan(network, UNTRIED, (16, 16, 16))
    for other in ({"path": "eva.elsewhere"}, {"kind": "Linear"}, {"path": "eva.blocks.0.norm1", "kind": "LayerNorm"}):
        with pytest.raises(SpecError):
            tokens.apply(network, [dataclasses.replace(change, **other)])
    changes = [dataclasses.replace(change, details={**change.details, "blocks": [3]})]
    with pytest.raises(SpecError, match="blocks 0 to 2"):
        tokens.apply(network, changes)
