"""Ranks from spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from TuckerSegLib.compression.tucker.basis import decompose
from TuckerSegLib.compression.tucker.material import Material
from TuckerSegLib.compression.tucker.method import Spec, plan
from TuckerSegLib.compression.tucker.spectrum_ranks import rank_of_energy, rank_of_evbmf


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (0.64, 1), (0.65, 2), (0.96, 2), (0.99, 3), (1.0, 4)])
def test_the_smallest_rank_that_keeps_a_share_of_the_energy(share, rank):
    # squares 64, 32, 3, 1: shares 0.64, 0.96, 0.99, 1
    assert rank_of_energy(np.sqrt([64.0, 32.0, 3.0, 1.0]), share) == rank


@pytest.mark.parametrize("true_rank", [1, 5, 12])
def test_variational_bayes_finds_the_rank_under_noise(true_rank):
    rng = np.random.default_rng(true_rank)
    matrix = 3 * rng.standard_normal((40, true_rank)) @ rng.standard_normal((true_rank, 200))
    spectrum = np.linalg.svd(matrix + rng.standard_normal((40, 200)), compute_uv=False)
    assert rank_of_evbmf(spectrum, 200) == true_rank


def test_noise_alone_has_the_least_rank_and_zeros_too():
    spectrum = np.linalg.svd(np.random.default_rng(0).standard_normal((40, 200)), compute_uv=False)
    assert rank_of_evbmf(spectrum, 200) == 1
    assert rank_of_evbmf(np.zeros(5), 9) == 1
    assert rank_of_energy(np.zeros(5), 0.9) == 1
    with pytest.raises(ValueError, match="columns"):
        rank_of_evbmf(spectrum, 30)


@pytest.mark.parametrize("mode", ["energy", "evbmf"])
def test_a_layer_of_low_rank_gets_that_rank(mode):
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(32, 48, 3, padding=1, bias=False)
    factors = torch.randn(48, 10), torch.randn(10, 6, 3, 3, 3), torch.randn(32, 6)
    with torch.no_grad():
        conv.weight.copy_(torch.einsum("or,rs...,is->oi...", *factors))
        conv.weight += 0.01 * conv.weight.std() * torch.randn(conv.weight.shape)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 32, 3, padding=1), conv, torch.nn.Conv3d(48, 4, 1))
    spec = Spec(0.999, rank_mode=mode, minimum_rank=1, rank_multiple=1)
    changes = plan(network, spec, (16, 16, 16), materials=[Material(decompose(network).evidence(), None)])
    assert {change.path: change.details["ranks"] for change in changes}["1"] == [10, 6]
