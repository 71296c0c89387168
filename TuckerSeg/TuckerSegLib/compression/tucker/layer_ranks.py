"""Ranks of one layer, by policies that look at each layer alone."""

from __future__ import annotations

import math

from ..linear_layers import LinearView, Weighted
from .basis import RankEvidence
from .spec import Spec
from .spectrum_ranks import rank_of_energy, rank_of_evbmf


def ranks_of_layer(path: str, conv: Weighted, spec: Spec, evidence: RankEvidence | None) -> tuple[int, int]:
    """Ranks (output, input) of one layer by a policy that looks at each layer alone.

    Args:
        path: Of the layer.
        conv: The layer. A linear one has one rank, and keeps all its inputs.
        spec: The policy.
        evidence: Spectra, for policies that look at them.
    """
    channels = (conv.out_channels, conv.in_channels)
    if isinstance(conv, LinearView):
        return _rank_of_a_matrix(path, channels, spec, evidence), conv.in_channels
    if spec.rank_mode not in ("energy", "evbmf") or path not in evidence.spectra:
        return tuple(map(spec.rank, channels))
    taps = math.prod(conv.kernel_size)
    ranks = []
    for spectrum, size, other in zip(evidence.spectra[path], channels, reversed(channels), strict=True):
        if spec.rank_mode == "energy":
            rank = rank_of_energy(spectrum, spec.rank_ratio)
        else:
            rank = rank_of_evbmf(spectrum, other * taps) if size <= other * taps else size
        ranks.append(spec.rounded(max(rank, spec.minimum_rank), size))
    return tuple(ranks)


def _rank_of_a_matrix(path: str, channels: tuple[int, int], spec: Spec, evidence: RankEvidence | None) -> int:
    """Rank of a linear layer (O, I) by a policy that looks at each layer alone."""
    most = min(channels)
    if spec.rank_mode not in ("energy", "evbmf") or path not in evidence.spectra:
        return spec.rank(most)
    spectrum = evidence.spectra[path][channels.index(most)]
    rank = (
        rank_of_energy(spectrum, spec.rank_ratio)
        if spec.rank_mode == "energy"
        else rank_of_evbmf(spectrum, max(channels))
    )
    return spec.rounded(max(rank, spec.minimum_rank), most)
