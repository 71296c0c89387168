"""The optimizer of a repair: steps that change all directions of a weight alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.finetuning.transformer_training import optimizer_of as finetuning_optimizer_of
from TuckerSegLib.training.orthogonal_momentum import SCALE, OrthogonalMomentum, has_directions
from TuckerSegLib.training.pruning.schedule import optimizer_of as pruning_optimizer_of
from TuckerSegLib.training.pruning.settings import SauronSettings
from TuckerSegLib.training.tensor_states import moments_of, put_moments

RATE = 1e-2


def stepped(network: nn.Module, optimizer: OrthogonalMomentum, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (16, 8, 3, 3, 3)])
def test_a_step_has_singular_values_of_nearly_one_size(shape):
    weight = nn.Parameter(torch.zeros(shape))
    optimizer = OrthogonalMomentum([weight], RATE)
    scales = torch.logspace(0, -2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scales  # some directions are weak
    optimizer.step()
    change = weight.detach().flatten(1) / (RATE * SCALE * max(shape[0], weight[0].numel()) ** 0.5)
    values = torch.linalg.svdvals(change)
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_what_is_no_matrix_takes_the_steps_of_adam():
    values = [nn.Parameter(torch.ones(5)) for _ in range(2)]
    optimizers = [OrthogonalMomentum([values[0]], RATE), torch.optim.Adam([values[1]], RATE, betas=(0.9, 0.99))]
    for seed in range(3):
        for value, optimizer in zip(values, optimizers):
            torch.manual_seed(seed)
            value.grad = torch.randn(5)
            optimizer.step()
    torch.testing.assert_close(*[value.detach() for value in values])


def test_few_rows_are_no_matrix():
    assert [has_directions(torch.zeros(shape)) for shape in ((16,), (4, 90), (8, 8), (16, 1, 3, 3, 3))] == [
        False,
        False,
        True,
        True,
    ]


def test_its_moments_go_through_a_state():
    networks = [nn.Linear(16, 16), nn.Linear(16, 16)]
    networks[1].load_state_dict(networks[0].state_dict())
    first, second = (OrthogonalMomentum(network.parameters(), RATE) for network in networks)
    for seed in range(2):
        stepped(networks[0], first, seed)
    put_moments(second, ["weight", "bias"], moments_of(first, ["weight", "bias"]))
    networks[1].load_state_dict(networks[0].state_dict())
    for network, optimizer in zip(networks, (first, second)):
        stepped(network, optimizer, 9)
    for own, other in zip(*(network.parameters() for network in networks)):
        assert torch.equal(own, other)


def test_a_fine_tuning_takes_it_where_asked():
    settings = FineTuningSettings(learning_rate=RATE, optimizer="muon", layer_decay=0.5)
    optimizers = [
        finetuning_optimizer_of(nn.Linear(16, 16), settings),
        pruning_optimizer_of(nn.Linear(16, 16), SauronSettings(settings, "polynomial")),
    ]
    for optimizer in optimizers:
        assert isinstance(optimizer, OrthogonalMomentum)
        assert {group["lr"] for group in optimizer.param_groups} == {RATE}
    usual = finetuning_optimizer_of(nn.Linear(16, 16), replace(settings, optimizer="adam"))
    assert isinstance(usual, torch.optim.AdamW)
