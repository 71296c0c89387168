"""Errors that are foretold, set right by what a few trials show.

The calibrated norm takes what a layer reads and what an error of its output does for independent. In trained networks
both are large at the same edges, most of all at full resolution, where errors are then several times what is foretold.
One trial per layer says how many times.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...monitor import Monitor
from ..channel_graph import ChannelGraph
from ..logit_distance import distance
from .evidence import PruningEvidence
from .moments import ReaderMoments
from .slicing import Cut, slice_network

TRIED = 0.75  # share of its channels that a layer keeps in its trial
MOST_PATCHES = 2
LEAST_ERROR = 1e-9  # of the logits' energy: rounding
LEAST_FACTOR, MOST_FACTOR = 0.1, 1000.0


@torch.no_grad()
def probed(
    network: nn.Module,
    graph: ChannelGraph,
    evidence: PruningEvidence,
    moments: ReaderMoments,
    patches: Sequence[Tensor],
    monitor: Monitor | None = None,
) -> PruningEvidence:
    """Evidence whose errors of each layer are as many times larger as those of a trial were.

    Args:
        network: From (1, C, Z, Y, X) to logits, or a list whose first entry they are; not changed.
        graph: Of this network.
        evidence: Of this network.
        moments: By which readers make up for what is gone.
        patches: (1, C, Z, Y, X) each; of several two are used.
        monitor: Hears the fraction of the layers done, and is asked after each whether to stop.

    Raises:
        Cancelled: The monitor said so.
    """
    monitor, errors = monitor or Monitor(), {}
    used = patches[:: max(1, len(patches) // MOST_PATCHES)][:MOST_PATCHES]
    for number, (path, group) in enumerate(graph.groups.items(), start=1):
        channels = max(1, int(TRIED * group.channels))
        factor = 1.0
        if channels < group.channels:
            smaller = copy.deepcopy(network)
            slice_network(smaller, Cut(graph, {path: evidence.kept(path, channels)}), moments)
            measured = distance(network, smaller, used)
            foretold = float(evidence.errors[path][channels])
            factor = max(measured, LEAST_ERROR) / max(foretold, LEAST_ERROR)
        errors[path] = evidence.errors[path] * min(MOST_FACTOR, max(LEAST_FACTOR, factor))
        monitor.fraction(number / len(graph.groups))
    return PruningEvidence(errors, evidence.orders)
