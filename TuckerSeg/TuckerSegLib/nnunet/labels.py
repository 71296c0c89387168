"""The labels of ``dataset.json``, as nnunetv2's LabelManager reads them: names to values or regions of values."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ModelFolderError
from ..printable import shown
from .fields import mapping, required, sequence, text, whole_number, whole_numbers, wrong
from .plans import LARGEST_LABEL, Label

BACKGROUND, IGNORE = "background", "ignore"
PLACE = "dataset.json: labels"
DIGITS = re.compile(r"[0-9]{1,9}")


def read_labels(dataset: dict[str, Any]) -> tuple[tuple[Label, ...], tuple[int, ...] | None, int]:
    """Read which structures a network segments, and which label value each of its output channels writes.

    Args:
        dataset: Contents of dataset.json.

    Returns:
        The structures; with regions, the value that each output writes, else None; and the number of outputs.

    Raises:
        ModelFolderError: Values that nnU-Net does not train with, or a name that is none.
    """
    names = mapping(required(dataset, "labels", "dataset.json"), PLACE, LARGEST_LABEL + 2)
    values = {text(name, "dataset.json: the name of a label"): _values(name, value) for name, value in names.items()}
    if BACKGROUND not in values or values.pop(BACKGROUND) != 0:
        raise wrong(PLACE, "an object in which 'background' is 0", names)
    ignored = values.pop(IGNORE, None)
    _check_consecutive(values, ignored)
    foreground = {name: value for name, value in values.items() if set(_as_list(value)) != {0}}
    if not foreground:
        raise wrong(PLACE, "an object with a structure besides the background", names)
    if not any(len(_as_list(value)) > 1 for value in values.values()):
        return tuple(Label(_as_list(value)[0], name) for name, value in foreground.items()), None, len(foreground) + 1
    place = "dataset.json: regions_class_order"
    order = dataset.get("regions_class_order")
    regions = whole_numbers(order, place, (len(foreground),), 1, LARGEST_LABEL)
    return tuple(Label(value, name) for name, value in zip(foreground, regions, strict=True)), regions, len(regions)


def foreground_values(dataset: dict[str, Any]) -> tuple[int, ...]:
    """Values of all structures of ``dataset.json`` in ascending order, whatever regions they make.

    Raises:
        ModelFolderError: As :func:`read_labels`.
    """
    read_labels(dataset)
    values = [_as_list(_values(name, value)) for name, value in dataset["labels"].items() if name != IGNORE]
    return tuple(sorted({number for each in values for number in each} - {0}))


def _values(name: str, value: object) -> int | list[int]:
    """The value of a label, or the values of a region."""
    place = f"dataset.json: the value of the label {shown(name)}"
    if isinstance(value, (list, tuple)):
        return [_value(item, place) for item in sequence(value, place, range(1, LARGEST_LABEL + 1))]
    return _value(value, place)


def _value(value: object, place: str) -> int:
    if isinstance(value, str) and DIGITS.fullmatch(value):  # nnU-Net takes these, too
        value = int(value)
    return whole_number(value, place, 0, LARGEST_LABEL)


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _check_consecutive(values: dict[str, int | list[int]], ignored: int | list[int] | None) -> None:
    """Raises ModelFolderError unless values are 0, 1, 2, ... and that of the ignore label comes last."""
    present = sorted({0, *(number for value in values.values() for number in _as_list(value))})
    if present != list(range(len(present))):
        expected = next(number for number, value in enumerate(present) if number != value)
        name = next(name for name, value in values.items() if present[expected] in _as_list(value))
        raise ModelFolderError(
            f"{PLACE}: nnU-Net trains with the values 0, 1, 2, ... without a gap; {shown(name)} is "
            f"{present[expected]} where it expected {expected}. Found {shown(present)}: correct the values as they "
            "were in the training."
        )
    if ignored is not None and ignored != len(present):
        raise ModelFolderError(
            f"{PLACE}: the value of '{IGNORE}' should be the highest, {len(present)}; found {shown(ignored)}."
        )
