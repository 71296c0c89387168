"""Reads the fields of a text header and checks each one: nothing that a file says is believed.

Numbers are plain decimal ones. What Python reads besides them (``1_000``, ``²``, ``nan``, ``1e999``) is damage here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import ImageError
from ...printable import excerpt

LARGEST_SIZE = (1 << 31) - 1  # voxels along an axis; more than any scanner has, and no product of three overflows
SHOWN_CHARACTERS = 60
LONGEST_NUMBER = 64
LONGEST_FILE_NAME = 255
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


def shown(value: object) -> str:
    """A value from a file as a message shows it: in quotes, shortened, with control characters escaped."""
    try:
        return f"'{excerpt(str(value), SHOWN_CHARACTERS)}'"
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


def whole_number(text: str) -> int | None:
    """A text as a whole number; None where it is not a plain decimal one."""
    text = text.strip()
    return int(text) if len(text) <= LONGEST_NUMBER and _WHOLE.fullmatch(text) else None


def finite_number(text: str) -> float | None:
    """A text as a finite number; None where it is not a plain decimal one."""
    text = text.strip()
    number = float(text) if len(text) <= LONGEST_NUMBER and _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None


def wrong_field(path: Path, name: str, expected: str, value: object) -> ImageError:
    """The error for a field ``name`` whose value is not what is expected."""
    return ImageError(
        f"{path}: damaged header, {name}: expected {expected}, found {shown(value)}. "
        "Correct the header, or export the image again."
    )


@dataclass(frozen=True)
class HeaderFields:
    """The fields of a text header, read with checks.

    Each method raises ImageError where a field is missing or its value is not of the kind that the method returns.

    Attributes:
        path: The file, for messages.
        values: Name of a field to its text.
    """

    path: Path
    values: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def wrong(self, name: str, expected: str) -> ImageError:
        """The error for a field whose value is not what is expected."""
        return wrong_field(self.path, name, expected, self.values[name])

    def require(self, *names: str) -> None:
        """Refuse a header that lacks one of these fields."""
        missing = [name for name in names if name not in self.values]
        if missing:
            raise ImageError(
                f"{self.path}: its header has no {', no '.join(missing)}. Export the image again, or convert it."
            )

    def whole(self, name: str, default: int, least: int, most: int = LARGEST_SIZE) -> int:
        """A whole number from ``least`` to ``most``; ``default`` where the field is missing."""
        if name not in self.values:
            return default
        number = whole_number(self.values[name])
        if number is None or not least <= number <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return number

    def sizes(self, name: str, count: int) -> tuple[int, ...]:
        """Numbers of voxels along ``count`` axes, all positive."""
        numbers = [whole_number(part) for part in self.values[name].split()]
        if len(numbers) != count or any(size is None or not 0 < size <= LARGEST_SIZE for size in numbers):
            raise self.wrong(name, f"{count} whole numbers from 1 to {LARGEST_SIZE}")
        return tuple(numbers)

    def numbers(self, name: str, count: int, positive: bool = False) -> tuple[float, ...]:
        """``count`` finite numbers."""
        numbers = [finite_number(part) for part in self.values[name].split()]
        if len(numbers) != count or any(number is None or (positive and number <= 0) for number in numbers):
            raise self.wrong(name, f"{count} {'positive' if positive else 'finite'} numbers")
        return tuple(numbers)

    def flag(self, name: str, default: bool) -> bool:
        """A truth value in any of its spellings, such as True, t, yes or 1; ``default`` where the field is missing."""
        text = self.values.get(name, str(default)).lower()
        if text not in _TRUE + _FALSE:
            raise self.wrong(name, "True or False")
        return text in _TRUE

    def file_beside(self, name: str) -> Path:
        """The path of the file that holds the voxels: a plain file in the header's folder, not the header itself."""
        return self.named_file_beside(name, self.values[name])

    def named_file_beside(self, name: str, text: str) -> Path:
        """As :meth:`file_beside`, of a file that the field ``name`` gives among others."""
        plain = Path(text).name
        has_path = str(Path(text)) != plain or plain in ("", "..") or "\\" in text
        if has_path or "\0" in text or len(text) > LONGEST_FILE_NAME:
            raise wrong_field(self.path, name, "the name of one file in the folder of the header, without a path", text)
        data_file = self.path.parent / plain
        if not os.path.isfile(data_file) or data_file.samefile(self.path):
            raise ImageError(
                f"{self.path}: its voxels should be in one file {shown(text)} beside it, and that is not there. "
                "Keep both files together, or save the image as one file (.nrrd, .mha)."
            )
        return data_file
