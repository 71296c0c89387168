"""Finds the cases of an nnU-Net v2 raw dataset and checks that its labels and channels are the model's.

Knows dataset.json and file names; reads no image. Follows nnunetv2 2.x ``documentation/dataset_format.md``:
``imagesTr/CASE_0000.nii.gz`` (one file per channel), ``labelsTr/CASE.nii.gz``, or the files that ``dataset`` in
dataset.json names.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DatasetError, UnsupportedModelError
from ...nnunet.plans import ModelPlans
from ...printable import excerpt
from ...text_files import read_json

EXPECTED = "an nnU-Net v2 raw dataset (dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz)"
IGNORE = "ignore"  # nnU-Net's name for voxels that nobody labeled
SHOWN_DIFFERENCES = 5
READ_BYTES = 1 << 20
ENDING = re.compile(r"(\.\w{1,12}){1,3}", re.ASCII)  # of image files, as ".nii.gz"


@dataclass(frozen=True)
class RawCase:
    """Files of one case: its image, one file per channel, and its labels."""

    identifier: str
    images: tuple[Path, ...]
    labels: Path

    def content_id(self) -> str:
        """Sixteen hexadecimal digits: a hash of the contents of the case's files.

        Raises:
            DatasetError: One cannot be read.
        """
        digest = hashlib.sha256()
        for path in (*self.images, self.labels):
            try:
                with path.open("rb") as file:
                    while block := file.read(READ_BYTES):
                        digest.update(block)
            except OSError as error:
                raise DatasetError(f"{path} cannot be read ({error.strerror}).") from error
            digest.update(b"|")  # so that where one file ends counts
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class RawDataset:
    """A labeled dataset on disk whose labels are those of the model.

    Attributes:
        folder: That holds dataset.json.
        cases: In the order of their identifiers.
        ignore_label: Value of voxels that are not labeled; None where there are none.
    """

    folder: Path
    cases: tuple[RawCase, ...]
    ignore_label: int | None


def read_raw_dataset(folder: str | Path, plans: ModelPlans) -> RawDataset:
    """Find the training cases of a dataset and compare what dataset.json says with the model.

    Args:
        folder: ``DatasetXXX_Name`` below ``nnUNet_raw``.
        plans: Of the model that is to be fine-tuned.

    Raises:
        DatasetError: Not such a dataset, files are missing, or labels or channels differ from the model's.
        UnsupportedModelError: The model's labels are regions.
    """
    if plans.region_values is not None:
        raise UnsupportedModelError(
            f"{plans.dataset_name}: the model's labels are regions, which may overlap; fine-tuning expects a model "
            "whose structures are single labels. Fine-tune this one with nnU-Net itself."
        )
    folder = Path(folder).expanduser()
    document = _read_document(folder)
    _check_channels(folder, document, plans)
    ignore_label = _check_labels(folder, document["labels"], plans)
    cases = tuple(_listed_cases(folder, document) if "dataset" in document else _cases_in_folder(folder, document))
    if not cases:
        raise DatasetError(f"{folder}/dataset.json: dataset names no case. Expected {EXPECTED}.")
    _check_files(folder, cases, plans)
    return RawDataset(folder, cases, ignore_label)


def _read_document(folder: Path) -> dict[str, Any]:
    """The dataset.json of a folder, its needed fields there and of the right types."""
    path = folder / "dataset.json"
    try:
        document = read_json(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}). Expected {EXPECTED}.") from error
    except ValueError as error:
        raise DatasetError(f"{path} cannot be read: {error}. Expected {EXPECTED}.") from error
    document = document if isinstance(document, dict) else {}
    faulty = [key for key in ("labels", "file_ending") if key not in document]
    faulty += [key for key in ("labels", "channel_names", "modality") if not isinstance(document.get(key, {}), dict)]
    if not ENDING.fullmatch(str(document.get("file_ending", ".nii.gz"))):
        faulty.append("file_ending")
    if faulty:
        raise DatasetError(f"{path}: {' and '.join(faulty)} missing or malformed. Expected {EXPECTED}.")
    return document


def _check_channels(folder: Path, document: dict[str, Any], plans: ModelPlans) -> None:
    """Raises DatasetError unless there are as many channels as the model takes."""
    channels = document.get("channel_names") or document.get("modality") or {}
    if len(channels) != plans.image_channels:
        names = excerpt(", ".join(map(str, channels.values())))
        raise DatasetError(
            f"{folder}/dataset.json: the model expects {plans.image_channels} channel(s) "
            f"({', '.join(plans.channel_names)}); found {len(channels)} ({names})."
        )


def _check_labels(folder: Path, labels: dict[str, Any], plans: ModelPlans) -> int | None:
    """Raises DatasetError unless labels are the model's; the value of the ignore label, None where there is none."""
    not_numbers = {name: value for name, value in labels.items() if type(value) is not int}
    if not_numbers:
        raise DatasetError(
            f'{folder}/dataset.json: labels should be "name": whole number, as "liver": 5; '
            f"found {excerpt(repr(not_numbers))}. "
            'Regions (lists) and nnU-Net v1\'s "number": name are not handled.'
        )
    ignore_label = labels.get(IGNORE)
    names = {value: name for name, value in labels.items() if name != IGNORE and value != 0}
    expected = {label.value: label.name for label in plans.labels}
    if names == expected and ignore_label not in (0, *expected):
        return ignore_label
    differences = [
        f"{value}: expected {_quoted(expected.get(value))}, found {_quoted(names.get(value))}"
        for value in sorted(expected.keys() | names.keys())
        if expected.get(value) != names.get(value)
    ] or [f"{ignore_label}: expected {_quoted(expected.get(ignore_label, 'background'))}, found '{IGNORE}'"]
    listed, unlisted = "; ".join(differences[:SHOWN_DIFFERENCES]), len(differences) - SHOWN_DIFFERENCES
    raise DatasetError(
        f"{folder}/dataset.json: its labels are not those of the model {plans.dataset_name}. By value, "
        f"{listed}{f'; and {unlisted} more' if unlisted > 0 else ''}. Fine-tuning keeps the model's structures: "
        "renumber and rename the dataset's labels to the model's, or choose the model that was trained on such a "
        "dataset."
    )


def _quoted(name: str | None) -> str:
    return "nothing" if name is None else f"'{name}'"


def _cases_in_folder(folder: Path, document: dict[str, Any]) -> list[RawCase]:
    ending = document["file_ending"]
    images = folder / "imagesTr"
    first = f"_0000{ending}"
    identifiers = sorted(path.name.removesuffix(first) for path in images.glob(f"*{first}"))
    if not identifiers:
        raise DatasetError(f"{images}: expected images named CASE{first}, found none. Expected {EXPECTED}.")
    return [
        RawCase(
            identifier,
            tuple(sorted(images.glob(f"{_literal(identifier)}_[0-9][0-9][0-9][0-9]{ending}"))),
            folder / "labelsTr" / f"{identifier}{ending}",
        )
        for identifier in identifiers
    ]


def _literal(name: str) -> str:
    """A pattern for glob that matches a file name itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _listed_cases(folder: Path, document: dict[str, Any]) -> list[RawCase]:
    def place(path: str) -> Path:
        return folder / os.path.expandvars(path)

    try:
        return [
            RawCase(identifier, tuple(map(place, files["images"])), place(files["label"]))
            for identifier, files in sorted(document["dataset"].items())
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{folder}/dataset.json: dataset should be "CASE": {{"images": [...], "label": ...}}; {error} is wrong '
            "or missing."
        ) from error


def _check_files(folder: Path, cases: tuple[RawCase, ...], plans: ModelPlans) -> None:
    for case in cases:
        if len(case.images) != plans.image_channels:
            raise DatasetError(
                f"{folder}: the case {case.identifier} should have {plans.image_channels} channel(s); "
                f"found {len(case.images)} file(s)."
            )
        for file in (*case.images, case.labels):
            if not os.path.isfile(file):
                raise DatasetError(f"{folder}: {file} of the case {case.identifier} is missing.")
