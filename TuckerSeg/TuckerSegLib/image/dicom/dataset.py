"""What is kept of a DICOM file's elements, and where its pixels lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from .tags import BINARY, Tag


class StoredPixels(NamedTuple):
    """Where the pixels lie in the elements of a file.

    Attributes:
        offset: Of the first byte of them, or of the first item where they are compressed.
        length: In bytes, with all items.
        compressed: Whether they lie in items.
    """

    offset: int
    length: int
    compressed: bool


@dataclass
class Dataset:
    """Elements of a file or of an item of a sequence, as far as they are looked at.

    Attributes:
        order: ``<`` or ``>``, as in ``struct``: of the numbers that are not text.
        syntax: UID of the transfer syntax; empty without a meta header.
        deflated_from: Where compressed elements begin in the file; None: they are not compressed.
        values: Bytes of each element.
        items: Items of each sequence.
    """

    order: str = "<"
    syntax: str = ""
    deflated_from: int | None = None
    values: dict[Tag, bytes] = field(default_factory=dict)
    items: dict[Tag, list[Dataset]] = field(default_factory=dict)

    def text(self, tag: Tag) -> str:
        """A value as text, without what fills it up; empty without it. Of numbers that are no text one per byte."""
        text = self.values.get(tag, b"").decode("latin-1")
        return text if tag in BINARY else text.strip(" \0")

    def whole(self, tag: Tag) -> int | None:
        """A value of two bytes as a whole number without sign; None without it."""
        value = self.values.get(tag, b"")
        return struct.unpack(f"{self.order}H", value)[0] if len(value) == 2 else None

    def first(self, sequence: Tag) -> Dataset | None:
        """First item of a sequence; None without it."""
        items = self.items.get(sequence)
        return items[0] if items else None
