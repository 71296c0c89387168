"""The elements of a DICOM file: whether each lies inside the file, and how many bytes of pixels there are.

GDCM looks at neither. It allocates what an element claims to hold, gigabytes in a file of a kilobyte, and where pixels
are missing it gives whatever lies in memory. So this is asked before a file is handed to it.

Source: DICOM PS3.5, sections 7.1 (data elements), 7.5 (sequences) and PS3.10, 7.1 (the file's own header).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

META_GROUP, TRANSFER_SYNTAX, PIXEL_DATA = 0x0002, (0x0002, 0x0010), (0x7FE0, 0x0010)
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
LONG_KINDS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_KINDS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNDEFINED, PIXELS_KIND = 0xFFFFFFFF, b"OB"
PREAMBLE_BYTES = 128
DEEPEST = 20


class ElementError(Exception):
    """An element does not end inside its file, or a sequence is damaged."""


class _Encoding(NamedTuple):
    order: str = "<"
    explicit: bool = True


def pixel_bytes(path: Path) -> int | None:
    """Walk through a file.

    Returns:
        Bytes of pixels that are stored as they are; None where they are compressed, or where there are none.

    Raises:
        ElementError: The file is truncated or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(PREAMBLE_BYTES)
        if file.read(4) != b"DICM":
            file.seek(0)
        try:
            syntax = _transfer_syntax(file, size)
            if syntax == DEFLATED:
                return None
            order = ">" if syntax == BIG_ENDIAN else "<"
            return _pixels(file, _Encoding(order, _is_explicit(file)), size)
        except struct.error as error:
            raise ElementError("the file ends within an element") from error


def _transfer_syntax(file: BinaryIO, size: int) -> str:
    """Transfer syntax in the file's meta header; empty without one. Reading stops after that header."""
    syntax = ""
    while True:
        start = file.tell()
        group = struct.unpack("<H", file.read(2))[0]
        file.seek(start)
        if group != META_GROUP:
            return syntax
        tag, _, length = _element(file, _Encoding())
        _check_inside(file, length, size)
        value = file.read(length)
        if tag == TRANSFER_SYNTAX:
            syntax = value.decode("ascii", errors="replace").rstrip("\0 ")


def _is_explicit(file: BinaryIO) -> bool:
    """Whether elements name their kind; some files do otherwise than their header says."""
    start = file.tell()
    kind = file.read(8)[4:6]
    file.seek(start)
    return kind.isalpha() and kind.isupper()


def _pixels(file: BinaryIO, encoding: _Encoding, size: int) -> int | None:
    pixel_bytes = None
    while file.tell() < size:
        start = file.tell()
        if not any(file.read(8)):
            return pixel_bytes  # zeros that fill a block
        file.seek(start)
        tag, kind, length = _element(file, encoding)
        if tag == PIXEL_DATA and length != UNDEFINED:
            pixel_bytes = length
        _pass(file, encoding, PIXELS_KIND if tag == PIXEL_DATA else kind, length, size, DEEPEST)
    return pixel_bytes


def _element(file: BinaryIO, encoding: _Encoding) -> tuple[tuple[int, int], bytes, int]:
    """Tag, kind and length of the next element."""
    head = file.read(8)
    tag = struct.unpack(f"{encoding.order}HH", head[:4])
    if not encoding.explicit or tag[0] == ITEM[0]:
        return tag, b"", struct.unpack(f"{encoding.order}I", head[4:])[0]
    kind = head[4:6]
    if kind in LONG_KINDS:
        return tag, kind, struct.unpack(f"{encoding.order}I", file.read(4))[0]
    if len(head) == 8 and kind not in SHORT_KINDS:
        raise ElementError(f"an element is of an unknown kind, {kind!a}")
    return tag, kind, struct.unpack(f"{encoding.order}H", head[6:])[0]


def _check_inside(file: BinaryIO, length: int, end: int) -> None:
    if file.tell() + length > end:
        raise ElementError(f"an element of {length} bytes ends after byte {end}")


def _pass(file: BinaryIO, encoding: _Encoding, kind: bytes, length: int, end: int, depth: int) -> None:
    """Go to the end of an element, through the items of a sequence: what they hold must lie inside, too."""
    if depth == 0:
        raise ElementError("sequences are nested too deeply")
    if length == UNDEFINED and kind in (PIXELS_KIND, b"OW"):
        _pass_fragments(file, encoding, end)
        return
    if length == UNDEFINED:
        _pass_items(file, _Encoding(explicit=False) if kind == b"UN" else encoding, end, depth)
        return
    _check_inside(file, length, end)
    start = file.tell()
    if kind == b"SQ" or (not kind and length >= 8 and _begins_with_item(file, encoding)):
        _pass_items(file, encoding, start + length, depth)
    file.seek(start + length)


def _pass_fragments(file: BinaryIO, encoding: _Encoding, end: int) -> None:
    """Of compressed pixels: items that hold bytes."""
    while file.tell() < end:
        tag, _, length = _element(file, encoding)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise ElementError("compressed pixels hold something else than items")
        _check_inside(file, length, end)
        file.seek(length, 1)


def _begins_with_item(file: BinaryIO, encoding: _Encoding) -> bool:
    start = file.tell()
    tag = struct.unpack(f"{encoding.order}HH", file.read(4))
    file.seek(start)
    return tag == ITEM


def _pass_items(file: BinaryIO, encoding: _Encoding, end: int, depth: int) -> None:
    while file.tell() < end:
        tag, _, length = _element(file, encoding)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise ElementError("a sequence holds something else than items")
        if length != UNDEFINED:
            _check_inside(file, length, end)
        item_end = end if length == UNDEFINED else file.tell() + length
        while file.tell() < item_end:
            tag, kind, length = _element(file, encoding)
            if tag == ITEM_END:
                break
            _pass(file, encoding, kind, length, item_end, depth - 1)
