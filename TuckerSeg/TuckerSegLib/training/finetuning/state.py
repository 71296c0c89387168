"""The file from which an interrupted fine-tuning goes on: weights, the best ones, the optimizer's memory, the record.

It holds no random state: every batch follows from the seed and its own number (``patches.py``), so the number of
epochs done says it all. No pickle: a file of ``tensor_file``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import ModelFileError
from ...records.serialization import from_json, to_json
from ...tensor_file import read_tensors, write_tensors
from ..tensor_states import reporting_damage_of
from .settings import FineTuningRecord

KIND = "fine-tuning"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """All that a fine-tuning must know to go on after an epoch.

    Attributes:
        start_sha256: Of the weights that it began with, see ``tensor_states.sha256_of``.
        record: What was done so far.
        weights, best_weights: Parameters and buffers by name, of the last and of the best epoch.
        moments: ``parameter/key`` to what the optimizer remembers of it.
        loss_scale: State of the gradient scaler; empty where it is not used.
    """

    start_sha256: str
    record: FineTuningRecord
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    loss_scale: dict[str, Any]


def write_state(path: Path, state: TrainingState) -> None:
    """Write the state of a fine-tuning to a file, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    tensors = {
        f"{group}/{name}": tensor
        for group in ("weights", "best_weights", "moments")
        for name, tensor in getattr(state, group).items()
    }
    document = {
        "kind": KIND,
        "start_sha256": state.start_sha256,
        "record": to_json(state.record),
        "loss_scale": state.loss_scale,
    }
    write_tensors(path, tensors, document)


def read_state(path: Path, start_sha256: str, planned: FineTuningRecord) -> TrainingState | None:
    """Read the state of a fine-tuning, and check that it belongs to the run that is to go on from it.

    Args:
        path: Of the file.
        start_sha256: Of the weights that this run begins with.
        planned: Settings and cases of this run. Only the number of epochs may differ, to go further.

    Returns:
        The state, its record with this run's settings; None where there is no file.

    Raises:
        ModelFileError: Damaged, or of another run.
    """
    if not os.path.exists(path):
        return None
    tensors, document = read_tensors(path)
    with reporting_damage_of(path):
        return _state_of(path, tensors, document, start_sha256, planned)


def _state_of(
    path: Path, tensors: dict[str, Tensor], document: dict[str, Any], start_sha256: str, planned: FineTuningRecord
) -> TrainingState:
    """The state of a file's tensors and document; raises where it is of another run."""
    if document.get("kind") != KIND:
        raise ModelFileError(f"{path} is not the state of a fine-tuning. Name another file, or remove this one.")
    record = from_json(FineTuningRecord, document["record"])
    differences = _differences(record, planned)
    if record.epochs_done > planned.settings.epochs:
        differences.append(f"epochs: expected up to {planned.settings.epochs}, found {record.epochs_done} done")
    if document["start_sha256"] != start_sha256:
        differences.append("network: expected the one given now, found another's state")
    if differences:
        raise ModelFileError(
            f"{path} is the state of another fine-tuning. {'; '.join(differences)}. Give the same as then, name "
            "another file, or remove this one to begin anew."
        )
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best_weights": {}, "moments": {}}
    for name, tensor in tensors.items():
        group, _, leaf = name.partition("/")
        groups[group][leaf] = tensor
    return TrainingState(
        start_sha256, replace(record, settings=planned.settings), **groups, loss_scale=document["loss_scale"]
    )


def _differences(stored: FineTuningRecord, planned: FineTuningRecord) -> list[str]:
    """In words, how settings (but for the number of epochs) and cases of a stored run differ from the planned ones."""
    same_epochs = replace(stored.settings, epochs=planned.settings.epochs)
    then, now = to_json(same_epochs), to_json(planned.settings)
    differences = [
        f"{name}: expected {getattr(planned.settings, name)}, found {getattr(stored.settings, name)}"
        for name in {**now, **then}  # some are left out where they have their defaults
        if now.get(name) != then.get(name)
    ]
    if (stored.training_cases, stored.validation_cases) != (planned.training_cases, planned.validation_cases):
        differences.append("cases: expected those of the dataset given now, found others")
    return differences
