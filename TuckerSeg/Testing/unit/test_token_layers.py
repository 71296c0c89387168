"""Layers that choose and complete tokens, by small cases that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from TuckerSegLib.token_layers.assembly import Assembly, positions_of
from TuckerSegLib.token_layers.learned_passage import LearnedPassage
from TuckerSegLib.token_layers.scorer import Scorer, inside_first, top_places


class Marking(nn.Module):
    """A block that adds one to the second channel, and notes the first: the tokens' numbers."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, tokens, rotation):
        self.seen.append((tokens[0, :, 0].tolist(), None if rotation is None else rotation[0].flatten().tolist()))
        return tokens + torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])


class Following(LearnedPassage):
    """Scores are given; what is to be assembled is noted."""

    def __init__(self, scores, **settings):
        super().__init__(6, (8, 1, 1), (1, 1, 1), heads=1, **settings)
        self.given, self.assembled = scores, None

    def _scores(self, number, before, after):
        return torch.tensor([[self.given[int(each)] for each in after[0, self.registers :, 0]]])

    def _completed(self, groups, rows):
        self.assembled = list(zip([each[0, :, :2].tolist() for each in groups], [each[0].tolist() for each in rows]))
        return groups[-1]


def tokens_of(numbers) -> torch.Tensor:
    tokens = torch.zeros(1, len(numbers), 6)
    tokens[0, :, 0] = torch.tensor(numbers, dtype=torch.float32)
    return tokens


def test_places_are_those_of_the_whole_sequence_after_three_prunings_and_the_class_token_stays():
    # The class token is number 9; of eight cells four stay, then two, then one, whatever the order of the scores.
    scores = {1: -5, 2: -1, 3: -4, 4: -6, 5: -2, 6: -7, 7: -3, 8: -8, 9: -100}
    passage = Following(scores, registers=1, depth=4, keep_ratio=0.5, after=(0, 1, 2)).eval()
    blocks = nn.ModuleList(Marking() for _ in range(4))
    rotation = torch.arange(1.0, 9.0).reshape(1, 8, 1).expand(2, 8, 1)
    passage(blocks, tokens_of([9, 1, 2, 3, 4, 5, 6, 7, 8]), rotation, torch.zeros(1, 1, 8, 1, 1))
    assert [numbers for block in blocks for numbers, _ in block.seen] == [
        [9, 1, 2, 3, 4, 5, 6, 7, 8], [9, 2, 3, 5, 7], [9, 2, 5], [9, 2]
    ]  # fmt: skip
    assert [turned for block in blocks[1:] for _, turned in block.seen] == [[2, 3, 5, 7], [2, 5], [2]]
    assert passage.assembled == [
        ([[1, 1], [4, 1], [6, 1], [8, 1]], [1, 4, 6, 8]),
        ([[3, 2], [7, 2]], [3, 7]),
        ([[5, 3]], [5]),
        ([[9, 4], [2, 4]], [0, 2]),
    ]


@pytest.mark.parametrize("count, kept", [(1728, [172, 17, 1]), (4096, [1024, 256, 64])])
def test_as_many_go_on_as_in_the_published_settings(count, kept):
    passage = Following({}, registers=1, depth=4, keep_ratio=0.1 if count == 1728 else 0.25, after=(0, 1, 2))
    found = []
    for _ in kept:
        count = passage._number(count, None)
        found.append(count)
    assert found == kept


def test_gradients_pass_straight_through_the_choice():
    scores = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    torch.manual_seed(0)
    noise = -torch.empty(1, 3).exponential_().log()
    torch.manual_seed(0)
    kept, left, mask = top_places(scores, 2, training=True)
    soft = (scores + noise).softmax(dim=1)
    expected = soft.topk(2, dim=1).indices.sort(dim=1).values
    assert torch.equal(kept, expected) and sorted([*kept[0].tolist(), *left[0].tolist()]) == [0, 1, 2]
    assert torch.allclose(mask, torch.zeros(1, 3).scatter(1, kept, 1.0))
    weights = torch.tensor([[1.0, 2.0, 4.0]])
    (gradient,) = torch.autograd.grad((mask * weights).sum(), scores)
    (of_softmax,) = torch.autograd.grad((soft * weights).sum(), scores)
    assert torch.allclose(gradient, of_softmax)


def test_without_training_the_best_scores_are_taken_as_they_are():
    kept, left, mask = top_places(torch.tensor([[0.0, -3.0, 1.0, -1.0]]), 2, training=False)
    assert (kept.tolist(), left.tolist(), mask) == ([[0, 2]], [[1, 3]], None)


def test_the_loss_reaches_every_scorer_from_the_tokens_that_stay_and_those_that_leave():
    torch.manual_seed(0)
    passage = LearnedPassage(6, (2, 2, 2), (1, 1, 1), 1, 3, 1, 0.5, (0, 1)).train()
    blocks = nn.ModuleList(Marking() for _ in range(3))
    passage(blocks, torch.randn(2, 9, 6), None, torch.zeros(2, 1, 2, 2, 2)).square().mean().backward()
    for scorer in passage.scorers:
        assert all(parameter.grad.abs().sum() > 0 for parameter in scorer.embed.parameters())


@torch.no_grad()
def test_the_scorer_sees_a_token_and_the_mean_of_all():
    torch.manual_seed(0)
    scorer, tokens = Scorer(8), torch.randn(1, 4, 8)
    scores = scorer(tokens)
    assert scores.shape == (1, 4) and scores.max() <= 0
    embedded = nn.functional.gelu(scorer.embed(scorer.norm(tokens)))[0]
    joined = torch.cat((embedded[2, :4], embedded[:, 4:].mean(dim=0)))
    first, second, third = scorer.layers
    by_hand = third(nn.functional.gelu(second(nn.functional.gelu(first(joined)))))
    assert float(scores[0, 2]) == pytest.approx(float(nn.functional.logsigmoid(by_hand)))


@torch.no_grad()
def test_groups_are_written_back_to_their_places():
    assembly = Assembly(6, (4, 1, 1), 1, 2, 1)
    for module in (*assembly.norms, assembly.block, assembly.norm):
        module.forward = lambda tokens: tokens
    for number, projection in enumerate((*assembly.projections, assembly.projection)):
        projection.weight.data = torch.eye(6) * (10.0 if number == 1 else 1.0)
        projection.bias.data.zero_()
    assembly.layer_tokens.data[0, 0], assembly.layer_tokens.data[1, 0] = 0.5, 0.25
    assembly.positions.zero_()
    found = assembly([tokens_of([3, 1]), tokens_of([9, 2, 4])], [torch.tensor([[3, 1]]), torch.tensor([[0, 2, 4]])])
    assert found[0, :, 0].tolist() == [90.25, 1.5, 20.25, 3.5, 40.25]


def test_places_are_told_by_sines_and_cosines_of_each_axis():
    positions = positions_of((2, 3, 4), 12, 1)
    assert positions.shape == (1, 25, 12) and not positions[0, 0].any()
    z, y, x = 1, 2, 3
    expected = [
        wave(place * frequency)
        for place in (z, y, x)
        for wave in (math.sin, math.cos)
        for frequency in (1, 10000**-0.5)
    ]
    assert positions[0, 1 + (z * 3 + y) * 4 + x].tolist() == pytest.approx(expected)


def test_what_is_inside_comes_first_and_little_differences_decide_among_the_others():
    scores = torch.tensor([[0.5, -3.0, 0.30001, 0.3, 7.0, 0.30002]])
    inside = torch.tensor([[False, True, False, False, False, False]])
    order = inside_first(scores, inside).argsort(dim=1, descending=True)
    assert order.tolist() == [[1, 4, 0, 5, 2, 3]]
