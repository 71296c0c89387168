"""Names of label values that come from beside a label file: from a task of the catalog, or nnU-Net's dataset.json."""

from __future__ import annotations

import os
from pathlib import Path

from ..catalog.entries import task
from ..errors import SpecError
from ..image import LARGEST_LABEL
from ..printable import excerpt
from ..text_files import read_json

DATASET_FILE = "dataset.json"
LONGEST_NAME = 256


def named_labels(text: str) -> dict[int, str]:
    """Names of label values from a task or a dataset.json.

    Args:
        text: Name of a task of the catalog, or path of a dataset.json or of a folder that holds one.

    Returns:
        Label value to name.

    Raises:
        SpecError: The text is none of these, or the dataset.json is damaged or names no labels.
    """
    if catalog_task := task(text):
        return dict(catalog_task.structures)
    path = Path(text).expanduser()
    path = path / DATASET_FILE if os.path.isdir(path) else path
    if not os.path.isfile(path):
        raise SpecError(
            f"'{text}' names no labels; expected a task as total or body, or nnU-Net's {DATASET_FILE} or its folder.",
            shell="'tuckerseg models' lists the tasks.",
        )
    names = _names_in(path)
    if not names:
        raise SpecError(f'{path}: expected labels as "liver": 5; found none with a value of its own.')
    return names


def names_beside(path: Path) -> dict[int, str]:
    """Names from the dataset.json that nnU-Net keeps beside its predictions, and above the folders of its labels."""
    folder = path.absolute().parent
    folders = (folder, folder.parent) if folder.name.startswith("labels") else (folder,)
    files = (place / DATASET_FILE for place in folders)
    dataset_file = next((file for file in files if os.path.isfile(file)), None)
    return _names_in(dataset_file) if dataset_file else {}


def _names_in(path: Path) -> dict[int, str]:
    """Names in a dataset.json, without the background and without regions, which have no value of their own."""
    try:
        labels = read_json(path)["labels"]
        numbers = {name: int(value) if _is_digits(value) else value for name, value in labels.items()}
        names = {value: name[:LONGEST_NAME] for name, value in numbers.items() if type(value) is int and value}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{path}: nnU-Net's {DATASET_FILE} was expected; its labels cannot be read ({excerpt(str(error))})."
        ) from error
    wrong = next((value for value in names if not 0 < value <= LARGEST_LABEL), None)
    if wrong is not None:
        raise SpecError(
            f"{path}: labels are whole numbers from 0 to {LARGEST_LABEL}; found {excerpt(f'{wrong}')} for "
            f"'{excerpt(names[wrong])}'. Correct the file."
        )
    return names


def _is_digits(value: object) -> bool:
    """Whether a label's value is a number in text, which nnU-Net takes, too."""
    return isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit()
