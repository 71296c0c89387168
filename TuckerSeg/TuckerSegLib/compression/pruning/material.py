"""What is slow about a pruning, done once per network: which channels go first, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import SpecError, UnsupportedModelError
from ...monitor import Monitor
from ..calibration import Calibration
from ..channel_graph import channel_graph
from .evidence import PruningEvidence, gather
from .moments import ReaderMoments, calibrated_moments, moments_of_weights
from .spec import Spec

VERSION = 1  # raise when the same spec and weights keep other channels or give other weights

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]


@dataclass(frozen=True, eq=False)
class Material:
    """By what the channels of one network are chosen, and how its readers make up for those that are gone.

    Attributes:
        evidence: Errors and orders of all groups of channels.
        moments: Of the layers that read them.
    """

    evidence: PruningEvidence
    moments: ReaderMoments


def prepare(
    network: nn.Module,
    spec: Spec,
    moments: Calibration | None,
    keep: Keep,
    monitor: Monitor | None = None,
) -> Material:
    """Find in which order a network's channels are given up.

    Args:
        network: Read only.
        spec: How far to prune.
        moments: Of the calibration that the spec names; None: channels are chosen by the weights alone.
        keep: ``keep(facts, make, read)`` gives ``read(tensors)`` of the tensors that were stored for this network under
            some facts (JSON types), else of what ``make()`` gives, which is stored then.
        monitor: Hears the fraction done, and is asked after each layer whether to stop.

    Raises:
        SpecError: The network has no weights, or the moments are those of another one.
        UnsupportedModelError: A weight is NaN or infinite.
        Cancelled: The monitor said so.
    """
    graph = channel_graph(network)
    for path in (*graph.groups, *graph.kept_whole):
        weight = network.get_submodule(path).weight
        if weight.is_meta:
            raise SpecError(f"{path}: only real weights say what may be pruned, this network has none (meta device)")
        if not weight.isfinite().all():
            raise UnsupportedModelError(f"{path}: weights contain NaN or infinity; the checkpoint is damaged")
    known = moments_of_weights(network, graph) if moments is None else calibrated_moments(moments)
    facts = {"of": "evidence", "calibration": spec.calibration}
    evidence = keep(facts, lambda: gather(network, graph, known, monitor).to_tensors(), PruningEvidence.from_tensors)
    return Material(evidence, known)
