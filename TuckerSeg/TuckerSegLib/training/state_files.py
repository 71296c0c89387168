"""Files from which a training goes on: groups of tensors, the record so far, and which training they are of. No pickle.

A file has no random state: what is drawn follows from the seed and the number of the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from ..errors import ModelFileError
from ..records.serialization import from_json, to_json
from ..tensor_file import read_tensors, write_tensors
from .tensor_states import reporting_damage_of

Record = TypeVar("Record")


@dataclass(frozen=True)
class StoredTraining(Generic[Record]):
    """What a state file holds.

    Attributes:
        record: Of what was done so far.
        groups: Name of a group to its tensors by name.
        document: All else, as :func:`write_training` was given it.
    """

    record: Record
    groups: dict[str, dict[str, Tensor]]
    document: dict[str, Any]


def write_training(
    path: Path, kind: str, start_sha256: str, record: Any, groups: Mapping[str, Mapping[str, Tensor]], **own: Any
) -> None:
    """Write a state to a file, whole or not at all.

    Args:
        kind: Of training, in words, as ``fine-tuning``.
        start_sha256: Of the weights that it began with, see ``tensor_states.sha256_of``.
        record: A dataclass of ``records.serialization``.
        groups: Name of a group to tensors by name.
        own: All else that this kind keeps, in JSON types.

    Raises:
        OutputError: It cannot be written.
    """
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    write_tensors(path, tensors, {"kind": kind, "start_sha256": start_sha256, "record": to_json(record), **own})


def read_training(
    path: Path,
    kind: str,
    start_sha256: str,
    record_type: type[Record],
    groups: Sequence[str],
    differences: Callable[[Record], list[str]],
) -> StoredTraining[Record] | None:
    """Read a state, and check that it belongs to the training that is to go on from it.

    Args:
        path: Of the file.
        kind, start_sha256: Of this training, as for :func:`write_training`.
        record_type: Of its record.
        groups: The names of all groups.
        differences: Tells in words how what a stored record asks for differs from what is asked for now.

    Returns:
        The state; None where there is no file.

    Raises:
        ModelFileError: Damaged, or of another training.
    """
    if not os.path.exists(path):
        return None
    tensors, document = read_tensors(path)
    with reporting_damage_of(path):
        if document.get("kind") != kind:
            raise ModelFileError(f"{path} is not the state of a {kind}. Name another file, or remove this one.")
        record = from_json(record_type, document["record"])
        unequal = differences(record)
        if document["start_sha256"] != start_sha256:
            unequal.append("network: expected the one given now, found another's state")
        if unequal:
            raise ModelFileError(
                f"{path} is the state of another {kind}. {'; '.join(unequal)}. Give the same as then, name another "
                "file, or remove this one to begin anew."
            )
        named: dict[str, dict[str, Tensor]] = {group: {} for group in groups}
        for name, tensor in tensors.items():
            group, _, leaf = name.partition("/")
            named[group][leaf] = tensor
    return StoredTraining(record, named, document)


def unequal_fields(planned: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """In words, how settings in JSON types differ; some are left out where they have their defaults."""
    names = [name for name in {**planned, **stored} if planned.get(name) != stored.get(name)]
    return [f"{name}: expected {_words(planned, name)}, found {_words(stored, name)}" for name in names]


def _words(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "the default"
