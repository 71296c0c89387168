"""How large a share of the tokens must be kept for a network's labels to stay, tried on patches."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...monitor import Monitor
from ..label_agreement import agreement_of_labels
from .merging import MergedPassage
from .passages import passages, put_passages
from .spec import Spec

VERSION = 4  # raise when the same spec and weights keep other tokens
TRIALS = 4  # of other shares than the asked one; each halves the range in which the smallest one that agrees lies
PAYS = 0.8  # share of a patch's tokens, merged, above which OpenVINO takes longer than for all: in bf16; 0.88 in fp32

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]


@dataclass(frozen=True)
class Material:
    """What the trial has shown.

    Attributes:
        keep_ratio: Share of the tokens that is kept; 1 where no smaller one agreed.
        agreement: Mean Dice with the whole network's labels at that share; of the largest that was tried where none
            agreed. None: nothing was tried.
        slower: Whether all tokens are kept as what agreed would hardly have spared any, and time none.
    """

    keep_ratio: float
    agreement: float | None = None
    slower: bool = False


def prepare(
    network: nn.Module,
    spec: Spec,
    moments: Any,
    keep: Keep,
    monitor: Monitor | None = None,
    patches: Callable[[], Sequence[Tensor]] | None = None,
) -> Material:
    """Find the smallest share of tokens, from the asked one on, at which a network agrees with what it was.

    Args:
        network: From (1, C, Z, Y, X) to logits, or to a list whose first entry they are; not changed.
        spec: The share that is asked for, and the agreement.
        moments: Not looked at.
        keep: ``keep(facts, make, read)`` gives ``read(tensors)`` of the tensors that were stored for this network under
            some facts (JSON types), else of what ``make()`` gives, which is stored then.
        monitor: Hears the fraction done, and is asked after each patch whether to stop.
        patches: Gives the patches (1, C, Z, Y, X) that it is tried on.

    Raises:
        SpecError: The network has no tokens, or patches are needed and missing.
        Cancelled: The monitor said so.
    """
    passages(network)
    if not spec.needs_weights:
        return Material(spec.keep_ratio)

    def make() -> Tensors:
        if patches is None:
            raise SpecError("which tokens may go is tried on patches of a volume: it needs one, or the agreement 0")
        trial = _smallest_share(network, spec, patches(), monitor or Monitor())
        return {"share": torch.tensor([trial.keep_ratio, trial.agreement, trial.slower], dtype=torch.float64)}

    def read(tensors: Tensors) -> Material:
        ratio, agreement, slower = tensors["share"].tolist()
        return Material(ratio, agreement, bool(slower))

    return keep({"of": "share", **dataclasses.asdict(spec)}, make, read)


def _smallest_share(network: nn.Module, spec: Spec, patches: Sequence[Tensor], monitor: Monitor) -> Material:
    runs = len(patches) * (2 + TRIALS)
    expected = _labels(network, patches, monitor, 0, runs)

    def trial(ratio: float, number: int) -> Material:
        sparse = copy.deepcopy(network)
        put_passages(sparse, dataclasses.replace(spec, keep_ratio=ratio))
        passing = _shares_passing(sparse)
        labels = _labels(sparse, patches, monitor, number * len(patches), runs)
        slower = sum(passing) > PAYS * len(passing)
        return Material(ratio, agreement_of_labels(labels, expected), slower)

    closest = trial(spec.keep_ratio, 1)
    if closest.agreement >= spec.agreement:
        return _if_it_pays(closest)
    too_few, enough = closest.keep_ratio, Material(1.0)
    for number in range(2, 2 + TRIALS):
        between = trial((too_few + enough.keep_ratio) / 2, number)
        if between.agreement >= spec.agreement:
            enough = between
        else:
            too_few, closest = between.keep_ratio, between
    return _if_it_pays(enough) if enough.agreement is not None else Material(1.0, closest.agreement)


def _if_it_pays(trial: Material) -> Material:
    return dataclasses.replace(trial, keep_ratio=1.0) if trial.slower else trial


def _shares_passing(network: nn.Module) -> list[float]:
    """A list to which each run of a network adds the share of tokens that pass its blocks where they are merged."""
    shares: list[float] = []
    for encoder in network.modules():
        passage = getattr(encoder, "passage", None)
        if isinstance(passage, MergedPassage):
            every = passage.registers + passage.alike_groups.cells
            encoder.blocks[0].register_forward_pre_hook(
                lambda block, inputs, every=every: shares.append(inputs[0].shape[1] / every)
            )
    return shares


@torch.no_grad()
def _labels(network: nn.Module, patches: Sequence[Tensor], monitor: Monitor, done: int, runs: int) -> list[Tensor]:
    """Labels (Z, Y, X) of all patches."""
    labels = []
    for number, patch in enumerate(patches, start=1):
        output = network(patch)
        logits = output[0] if isinstance(output, (list, tuple)) else output
        labels.append(logits[0].argmax(dim=0))
        monitor.fraction((done + number) / runs)
    return labels
