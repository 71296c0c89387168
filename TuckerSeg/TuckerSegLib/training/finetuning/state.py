"""The file from which an interrupted fine-tuning goes on: weights, the best ones, the optimizer's memory, the record.

It holds no random state: every batch follows from the seed and its own number (``patches.py``), so the number of
epochs done says it all. No pickle: a file of ``tensor_file``.
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
from .settings import FineTuningRecord

KIND = "fine-tuning"
GROUPS = ("weights", "best_weights", "moments")


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
    groups = {group: getattr(state, group) for group in GROUPS}
    write_training(path, KIND, state.start_sha256, state.record, groups, loss_scale=state.loss_scale)


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
    differences = partial(_differences, planned=planned)
    stored = read_training(path, KIND, start_sha256, FineTuningRecord, GROUPS, differences)
    if stored is None:
        return None
    record = replace(stored.record, settings=planned.settings)
    with reporting_damage_of(path):
        return TrainingState(start_sha256, record, **stored.groups, loss_scale=stored.document["loss_scale"])


def _differences(stored: FineTuningRecord, planned: FineTuningRecord) -> list[str]:
    """In words, how settings (but for the number of epochs) and cases of a stored run differ from the planned ones."""
    same_epochs = replace(stored.settings, epochs=planned.settings.epochs)
    differences = unequal_fields(to_json(planned.settings), to_json(same_epochs))
    if stored.epochs_done > planned.settings.epochs:
        differences.append(f"epochs: expected up to {planned.settings.epochs}, found {stored.epochs_done} done")
    if (stored.training_cases, stored.validation_cases) != (planned.training_cases, planned.validation_cases):
        differences.append("cases: expected those of the dataset given now, found others")
    return differences
