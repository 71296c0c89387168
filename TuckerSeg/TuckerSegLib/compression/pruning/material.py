"""What is slow about a pruning, done once per network: which channels go first, and what that costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import SpecError, UnsupportedModelError
from ...monitor import Monitor
from ..calibration import Calibration
from ..channel_graph import ChannelGraph, channel_graph
from ..cost import count
from ..trace import ANY_PATCH_SHAPE
from .allocation import PrunedCost
from .evidence import PruningEvidence, gather
from .moments import ReaderMoments, calibrated_moments, moments_of_weights
from .probing import probed
from .sauron import Ladder, climb
from .spec import Spec

VERSION = 1  # raise when the same spec and weights keep other channels or give other weights

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]


@dataclass(frozen=True, eq=False)
class Material:
    """By what the channels of one network are chosen, and how its readers make up for those that are gone.

    Attributes:
        evidence: Errors and orders of all groups of channels.
        moments: Of the layers that read them; None: readers do not make up for what is gone.
        numbers: Path of a convolution to the number of channels that it keeps, where this network alone says so.
        merges: Whether channels are merged with others instead of being left out; there is no evidence then.
    """

    evidence: PruningEvidence
    moments: ReaderMoments | None
    numbers: dict[str, int] | None = None
    merges: bool = False


def prepare(
    network: nn.Module,
    spec: Spec,
    moments: Calibration | None,
    keep: Keep,
    monitor: Monitor | None = None,
    patches: Callable[[], Sequence[Tensor]] | None = None,
) -> Material:
    """Find in which order a network's channels are given up.

    Args:
        network: Read only.
        spec: How far to prune.
        moments: Of the calibration that the spec names; None: channels are chosen by the weights alone.
        keep: ``keep(facts, make, read)`` gives ``read(tensors)`` of the tensors that were stored for this network under
            some facts (JSON types), else of what ``make()`` gives, which is stored then.
        monitor: Hears the fraction done, and is asked after each layer whether to stop.
        patches: Gives the patches (1, C, Z, Y, X) that a spec needs.

    Raises:
        SpecError: The network has no weights, the moments are those of another one, or patches are needed and missing.
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
    if spec.policy == "merge":
        return Material(PruningEvidence({}, {}), None, merges=True)
    if spec.policy == "sauron" and spec.needs_patches:
        return _climbed(network, graph, spec, moments, keep, monitor, patches)
    known = moments_of_weights(network, graph) if moments is None else calibrated_moments(moments)
    facts = {"of": "evidence", "calibration": spec.calibration}
    evidence = keep(facts, lambda: gather(network, graph, known, monitor).to_tensors(), PruningEvidence.from_tensors)
    if spec.needs_patches:

        def make() -> Tensors:
            return probed(network, graph, evidence, known, _given(patches, spec), monitor).to_tensors()

        facts = {"of": "probed evidence", "calibration": spec.calibration, "volumes": list(spec.volumes or ())}
        return Material(keep(facts, make, PruningEvidence.from_tensors), known)
    return Material(evidence, known)


def _climbed(
    network: nn.Module,
    graph: ChannelGraph,
    spec: Spec,
    moments: Calibration | None,
    keep: Keep,
    monitor: Monitor | None,
    patches: Callable[[], Sequence[Tensor]] | None,
) -> Material:
    """The material of the policy ``sauron``; without a calibration, readers do not make up for what is gone."""
    known = None if moments is None else calibrated_moments(moments)
    cost = PrunedCost(network, graph, count(network, ANY_PATCH_SHAPE).layers, spec.budget)
    budget = cost.total({path: spec.rounded(group.channels) for path, group in graph.groups.items()})

    def make() -> Tensors:
        return climb(
            network,
            graph,
            _given(patches, spec),
            spec.agreement,
            spec.minimum,
            lambda kept: cost.total(_whole_multiples(kept, graph, spec)) <= budget,
            known,
            monitor=monitor,
        ).to_tensors()

    ladder = keep({"of": "ladder", **dataclasses.asdict(spec)}, make, Ladder.from_tensors)
    return Material(PruningEvidence({}, ladder.orders), known, _whole_multiples(ladder.numbers, graph, spec))


def _given(patches: Callable[[], Sequence[Tensor]] | None, spec: Spec) -> Sequence[Tensor]:
    if patches is None:
        raise SpecError(f"the policy {spec.policy!r} tries what may go on patches of a volume: it needs one")
    return patches()


def _whole_multiples(kept: dict[str, int], graph: ChannelGraph, spec: Spec) -> dict[str, int]:
    """Numbers of channels, raised to the next that the spec allows."""
    return {
        path: min(step for step in spec.steps(graph.groups[path].channels) if step >= channels)
        for path, channels in kept.items()
    }
