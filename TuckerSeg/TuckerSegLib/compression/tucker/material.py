"""What is slow about a Tucker compression, done once per network: decompositions, and what they say of the ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...monitor import Monitor
from ..calibration import Calibration
from .basis import Basis, RankEvidence, decompose
from .calibrated_basis import CalibratedBasis
from .spec import Spec

VERSION = 2  # raise when the same spec and weights give other ranks or factors

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]


@dataclass(frozen=True, eq=False)
class Material:
    """Evidence and decompositions of one network, by which ranks are planned and factors cut.

    Attributes:
        evidence: Errors and spectra that the ranks are chosen by; None where the spec does not look at weights.
        basis: Reads or makes the decompositions, which are too large to be held for several networks at once.
    """

    evidence: RankEvidence | None
    basis: Callable[[], Basis | CalibratedBasis]


def prepare(
    network: nn.Module,
    spec: Spec,
    moments: Calibration | None,
    keep: Keep,
    monitor: Monitor | None = None,
) -> Material:
    """Decompose a network, as far as a spec asks for it.

    Args:
        network: Read only, and held by the material.
        spec: How far to compress, and by which ranks.
        moments: Of the calibration that the spec names; None: errors are those of the weights alone.
        keep: ``keep(facts, make, read)`` gives ``read(tensors)`` of the tensors that were stored for this network under
            some facts (JSON types), else of what ``make()`` gives, which is stored then.
        monitor: Hears the fraction done, and is asked after each layer whether to stop.

    Raises:
        SpecError: The network has no weights, or the moments are those of another one.
        UnsupportedModelError: A weight is NaN or infinite.
        Cancelled: The monitor said so.
    """
    if moments is not None:
        basis = CalibratedBasis.from_network(network, moments)
        if not spec.needs_weights:
            return Material(None, lambda: basis)
        facts = {"of": "evidence", "calibration": spec.calibration, "rank_multiple": spec.rank_multiple}
        evidence = keep(
            facts, lambda: basis.evidence(spec.rank_multiple, monitor).to_tensors(), RankEvidence.from_tensors
        )
        return Material(evidence, lambda: basis)

    def plain_basis() -> Basis:
        return keep({"of": "basis"}, lambda: decompose(network, monitor).to_tensors(), Basis.from_tensors)

    return Material(plain_basis().evidence() if spec.needs_weights else None, plain_basis)
