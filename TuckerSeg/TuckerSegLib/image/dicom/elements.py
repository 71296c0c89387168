"""The elements of a DICOM file: whether each lies inside the file, and the values of those that are looked at.

GDCM looks at neither. It allocates what an element claims to hold, gigabytes in a file of a kilobyte, and where pixels
are missing it gives whatever lies in memory. Nor does SimpleITK give the elements inside of sequences, where
multi-frame files keep the position of every slice. So a file is walked through here before anything is made of it.

Source: DICOM PS3.5, sections 7.1 (data elements), 7.5 (sequences) and PS3.10, 7.1 (the file's own header).
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from .dataset import Dataset, StoredPixels
from .sources import Source
from .tags import PIXEL_DATA, TRANSFER_SYNTAX, Tag

META_GROUP = 0x0002
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
LONG_KINDS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_KINDS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNDEFINED, PIXELS_KIND = 0xFFFFFFFF, b"OB"
PREAMBLE_BYTES = 128
DEEPEST = 20
LONGEST_VALUE = 1024  # of an element that is looked at; DICOM's own bounds are below
MOST_INFLATED = 1 << 30
MOST_ITEMS = 1_000_000  # that are kept of a file; 100 000 frames have some ten each
FIRST_GROUPS = (0x0002, 0x0008)  # of a file without preamble


class ElementError(Exception):
    """An element does not end inside its file, or a sequence is damaged."""


class _Encoding(NamedTuple):
    order: str = "<"
    explicit: bool = True


class _Wanted(NamedTuple):
    values: frozenset[Tag]
    sequences: frozenset[Tag]
    item_numbers: Iterator[int]  # of the items that are kept of one file


def looks_like_dicom(beginning: bytes) -> bool:
    """Whether the first 140 bytes of a file can begin a DICOM file, with or without its preamble."""
    if beginning[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return True
    if len(beginning) < 8:
        return False
    group, _, length = struct.unpack("<HHI", beginning[:8])
    has_kind = beginning[4:6] in SHORT_KINDS | LONG_KINDS
    big_endian = struct.unpack(">H", beginning[:2])[0] in FIRST_GROUPS and has_kind
    return big_endian or (group in FIRST_GROUPS and (has_kind or length <= LONGEST_VALUE))


def read_elements(
    source: Source, dataset: Dataset, values: frozenset[Tag], sequences: frozenset[Tag]
) -> StoredPixels | None:
    """Walk through a file.

    Args:
        dataset: Filled with what is found, as far as the file is sound.
        values: Elements whose values are kept, wherever they lie in what is kept.
        sequences: Sequences whose items are kept.

    Returns:
        Where its pixels lie; None where there are none.

    Raises:
        ElementError: The file is truncated or damaged.
    """
    try:
        with source.open() as file:
            file.seek(PREAMBLE_BYTES)
            if file.read(4) != b"DICM":
                file.seek(0)
            _read_meta_header(file, source.size, dataset)
            if dataset.syntax == DEFLATED:
                dataset.deflated_from = file.tell()
        dataset.order = ">" if dataset.syntax == BIG_ENDIAN else "<"
        with opened_elements(source, dataset) as (file, size):
            encoding = _Encoding(dataset.order, _is_explicit(file, dataset.order))
            return _read_dataset(file, encoding, size, dataset, _Wanted(values, sequences, itertools.count()))
    except struct.error as error:
        raise ElementError("the file ends within an element") from error


@contextmanager
def opened_elements(source: Source, dataset: Dataset) -> Iterator[tuple[BinaryIO, int]]:
    """The elements of a file as a stream that stands at the first one, and the stream's size.

    Raises:
        ElementError: They are compressed, and damaged.
    """
    with source.open() as file:
        if dataset.deflated_from is None:
            file.seek(_meta_header_end(file, source.size))
            yield file, source.size
            return
        file.seek(dataset.deflated_from)
        try:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            inflated = inflater.decompress(file.read(), MOST_INFLATED)
        except zlib.error as error:
            raise ElementError(f"its compressed elements are damaged ({error})") from error
        if not inflater.eof:
            raise ElementError(f"its compressed elements end too early, or are more than {MOST_INFLATED} bytes")
    yield io.BytesIO(inflated), len(inflated)


def _meta_header_end(file: BinaryIO, size: int) -> int:
    file.seek(PREAMBLE_BYTES)
    if file.read(4) != b"DICM":
        file.seek(0)
    _read_meta_header(file, size, Dataset())
    return file.tell()


def _read_meta_header(file: BinaryIO, size: int, dataset: Dataset) -> None:
    """Keep the meta header's elements; reading stops after it."""
    while True:
        start = file.tell()
        group = struct.unpack("<H", file.read(2))[0]
        file.seek(start)
        if group != META_GROUP:
            return
        tag, _, length = _element(file, _Encoding())
        _check_inside(file, length, size)
        value = file.read(length)
        dataset.values[tag] = value[:LONGEST_VALUE]
        if tag == TRANSFER_SYNTAX:
            dataset.syntax = dataset.text(tag)


def _is_explicit(file: BinaryIO, order: str) -> bool:
    """Whether elements name their kind; some files do otherwise than their header says."""
    start = file.tell()
    kind = file.read(8)[4:6]
    file.seek(start)
    return kind.isalpha() and kind.isupper()


def _read_dataset(
    file: BinaryIO, encoding: _Encoding, size: int, dataset: Dataset, wanted: _Wanted
) -> StoredPixels | None:
    pixels = None
    while file.tell() < size:
        start = file.tell()
        if not any(file.read(8)):
            return pixels  # zeros that fill a block
        file.seek(start)
        tag, kind, length = _element(file, encoding)
        begin = file.tell()
        if tag == PIXEL_DATA:
            _pass(file, encoding, PIXELS_KIND, length, size, DEEPEST)
            pixels = StoredPixels(begin, file.tell() - begin, length == UNDEFINED)
        else:
            _keep(file, encoding, (tag, kind, length), size, dataset, wanted, DEEPEST)
    return pixels


def _keep(
    file: BinaryIO,
    encoding: _Encoding,
    element: tuple[Tag, bytes, int],
    end: int,
    dataset: Dataset | None,
    wanted: _Wanted | None,
    depth: int,
) -> None:
    """Go to the end of an element, and keep what is wanted of it."""
    tag, kind, length = element
    if dataset is None or wanted is None or tag not in wanted.sequences | wanted.values:
        _pass(file, encoding, kind, length, end, depth)
    elif tag in wanted.sequences:
        if kind == b"UN":  # a program that did not know the sequence wrote it so
            encoding = _Encoding(explicit=False)
        if length != UNDEFINED:
            _check_inside(file, length, end)
        begin = file.tell()
        items = dataset.items.setdefault(tag, [])
        _pass_items(file, encoding, end if length == UNDEFINED else begin + length, depth, items, wanted)
        if length != UNDEFINED:
            file.seek(begin + length)
    else:
        begin = file.tell()
        if length != UNDEFINED:
            _check_inside(file, length, end)
            dataset.values[tag] = file.read(min(length, LONGEST_VALUE))
        file.seek(begin)
        _pass(file, encoding, kind, length, end, depth)


def _element(file: BinaryIO, encoding: _Encoding) -> tuple[Tag, bytes, int]:
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


def _pass_items(
    file: BinaryIO,
    encoding: _Encoding,
    end: int,
    depth: int,
    kept: list[Dataset] | None = None,
    wanted: _Wanted | None = None,
) -> None:
    if depth == 0:
        raise ElementError("sequences are nested too deeply")
    while file.tell() < end:
        tag, _, length = _element(file, encoding)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise ElementError("a sequence holds something else than items")
        if length != UNDEFINED:
            _check_inside(file, length, end)
        item_end = end if length == UNDEFINED else file.tell() + length
        item = None
        if kept is not None:
            if wanted is not None and next(wanted.item_numbers) >= MOST_ITEMS:
                raise ElementError(f"its sequences hold more than {MOST_ITEMS} items")
            item = Dataset(encoding.order)
            kept.append(item)
        while file.tell() < item_end:
            element = _element(file, encoding)
            if element[0] == ITEM_END:
                break
            _keep(file, encoding, element, item_end, item, wanted, depth - 1)
