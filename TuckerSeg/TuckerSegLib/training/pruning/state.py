"""The file from which a pruning while training goes on, also within an epoch.

It holds no random state: batches, and the channels that others are compared with, follow from the seed and their
numbers. Structures are not in it either: how many channels a layer has left is in the record. No pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ...records.serialization import to_json
from ..state_files import read_training, unequal_fields, write_training
from ..tensor_states import reporting_damage_of
from .settings import PruningRecord

KIND = "pruning while training"
GROUPS = ("weights", "kept_weights", "moments")


@dataclass(frozen=True, eq=False)
class PruningState:
    """All that a pruning while training must know to go on.

    Attributes:
        start_sha256: Of the weights that it began with.
        record: Of the epochs done.
        batches: That the epoch begun after them has been trained on.
        loss_sum: Of these.
        weights, kept_weights: Parameters and buffers by name, of the network now and of the epoch that is kept.
        moments: ``parameter/key`` to what the optimizer remembers of it.
        loss_scale: State of the gradient scaler; empty where it is not used.
    """

    start_sha256: str
    record: PruningRecord
    batches: int
    loss_sum: float
    weights: dict[str, Tensor]
    kept_weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    loss_scale: dict[str, Any]


def write_state(path: Path, state: PruningState) -> None:
    """Write a state to a file, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    groups = {group: getattr(state, group) for group in GROUPS}
    own = {"batches": state.batches, "loss_sum": state.loss_sum, "loss_scale": state.loss_scale}
    write_training(path, KIND, state.start_sha256, state.record, groups, **own)


def read_state(path: Path, start_sha256: str, planned: PruningRecord) -> PruningState | None:
    """Read a state, and check that it belongs to the run that is to go on from it.

    Args:
        path: Of the file.
        start_sha256: Of the weights that this run begins with.
        planned: Settings and cases of this run. Under a constant learning rate, and where no epochs settle, the number
            of epochs may differ, to go further.

    Returns:
        The state, its record with this run's settings; None where there is no file.

    Raises:
        ModelFileError: Damaged, or of another run.
    """
    stored = read_training(path, KIND, start_sha256, PruningRecord, GROUPS, partial(_differences, planned=planned))
    if stored is None:
        return None
    document, record = stored.document, replace(stored.record, settings=planned.settings)
    with reporting_damage_of(path):
        batches, loss_sum = int(document["batches"]), float(document["loss_sum"])
        if not 0 <= batches < planned.settings.training.iterations:
            raise ValueError(f"{batches} batches of {planned.settings.training.iterations}")
        loss_scale = document["loss_scale"]
        return PruningState(start_sha256, record, batches, loss_sum, **stored.groups, loss_scale=loss_scale)


def _differences(stored: PruningRecord, planned: PruningRecord) -> list[str]:
    """In words, how settings and cases of a stored run differ from the planned ones."""
    own, other = planned.settings, stored.settings
    if own.schedule == "constant" and not own.settling:  # else it says which epochs are how
        other = replace(other, training=replace(other.training, epochs=own.training.epochs))
    differences = unequal_fields(_flat(to_json(own)), _flat(to_json(other)))
    if stored.epochs_done > own.training.epochs:
        differences.append(f"epochs: expected up to {own.training.epochs}, found {stored.epochs_done} done")
    if (stored.training_cases, stored.validation_cases) != (planned.training_cases, planned.validation_cases):
        differences.append("cases: expected those of the dataset given now, found others")
    return differences


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings["training"], **{name: value for name, value in settings.items() if name != "training"}}
