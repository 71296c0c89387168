"""The stored values of a file's frames, as they are before scaling.

Values that are stored as they are, are taken from the file. Compressed ones are decoded by GDCM (SimpleITK), which gets
a file made of them that holds nothing else: GDCM would scale all frames as the first one, and turn MONOCHROME1 around.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ...files.atomic_writes import temporary_folder
from ...printable import excerpt
from ..sizes import check_memory
from . import tags
from .elements import ElementError, opened_elements
from .header import DicomFile, PixelFormat
from .tags import Tag

# Secondary captures of one and of several frames: GDCM expects neither a position nor a scaling of them
SINGLE_CLASS, SEVERAL_CLASS = b"1.2.840.10008.5.1.4.1.1.7\0", b"1.2.840.10008.5.1.4.1.1.7.3"
EXPLICIT_LITTLE = b"1.2.840.10008.1.2.1\0"
PADDED_BITS = 16  # in which PixelPaddingValue is written


class Scratch:
    """A folder for files on their way to GDCM, which is made when one comes first, and removed in the end."""

    def __init__(self):
        self._stack = ExitStack()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def folder(self) -> Path:
        """Where it is."""
        return self._stack.enter_context(temporary_folder(Path(tempfile.gettempdir())))


def read_frames(file: DicomFile, scratch: Scratch) -> tuple[np.ndarray, np.ndarray | None]:
    """The stored values of a file.

    Args:
        scratch: For compressed ones.

    Returns:
        Array (frames, Y, X) of whole numbers; where they are padding, (frames, Y, X) of bool, or None where the file
        names no such value.

    Raises:
        ImageError: The pixels are not there, or cannot be decoded.
    """
    pixel_format = file.format
    shape = (pixel_format.frames, pixel_format.rows, pixel_format.columns)
    check_memory(file.source.name, shape, np.dtype(f"u{max(1, pixel_format.bits // 8)}"))
    if file.pixels.compressed or pixel_format.bits == 12:
        values = _decoded(file, scratch)
        stored = values.view(np.dtype(f"u{values.dtype.itemsize}"))
    else:
        stored = _as_stored(file)
        values = _numbers(stored, pixel_format)
    padding = _padding(stored, pixel_format)
    if padding is not None and pixel_format.bits_stored < pixel_format.bits:  # some write its sign, some do not
        padding |= _padding(values, pixel_format)
    return values, padding


def stored_bytes(file: DicomFile) -> bytes:
    """The bytes of a file's pixels, compressed or not."""
    try:
        with opened_elements(file.source, file.dataset) as (stream, _):
            stream.seek(file.pixels.offset)
            return stream.read(file.pixels.length)
    except (ElementError, struct.error) as error:
        raise _unreadable(file, str(error)) from error


def _as_stored(file: DicomFile) -> np.ndarray:
    pixel_format = file.format
    dtype = np.dtype(f"{'>' if pixel_format.big_endian else '<'}u{pixel_format.bits // 8}")
    count = pixel_format.frames * pixel_format.rows * pixel_format.columns
    content = stored_bytes(file)
    if len(content) < count * dtype.itemsize:
        raise _unreadable(file, "it became shorter while it was read")
    stored = np.frombuffer(content, dtype, count).astype(dtype.newbyteorder("="), copy=False)
    return stored.reshape(pixel_format.frames, pixel_format.rows, pixel_format.columns)


def _numbers(stored: np.ndarray, pixel_format: PixelFormat) -> np.ndarray:
    """The bits from ``high_bit`` down as numbers; other bits hold something else, such as overlays."""
    dtype = np.dtype(f"{'i' if pixel_format.signed else 'u'}{stored.dtype.itemsize}")
    below = pixel_format.high_bit + 1 - pixel_format.bits_stored
    above = pixel_format.bits - 1 - pixel_format.high_bit
    numbers = stored if not above else stored << above
    numbers = numbers.view(dtype)
    return numbers if not above + below else numbers >> (above + below)  # of signed numbers the sign goes along


def _padding(stored: np.ndarray, pixel_format: PixelFormat) -> np.ndarray | None:
    """Where stored values lie between the two ends of padding, as the bits of a number with or without sign."""
    if pixel_format.padding is None or stored.dtype.itemsize * 8 > PADDED_BITS:
        return None
    kind = np.dtype(f"{'i' if pixel_format.signed else 'u'}{stored.dtype.itemsize}")
    ends = np.array(pixel_format.padding, np.uint16).view(np.int16 if pixel_format.signed else np.uint16).astype(int)
    if stored.dtype.itemsize == 1:
        ends = np.where(ends > 127, ends - 256, ends) if pixel_format.signed else ends & 0xFF
    numbers = stored.view(kind)
    return (numbers >= ends.min()) & (numbers <= ends.max())


def _decoded(file: DicomFile, scratch: Scratch) -> np.ndarray:
    import SimpleITK

    pixel_format = file.format
    shape = (pixel_format.frames, pixel_format.rows, pixel_format.columns)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    path = scratch.folder / "pixels.dcm"
    path.write_bytes(_pixels_alone(file))
    reader.SetFileName(str(path))
    with _silent_gdcm():
        try:
            values = SimpleITK.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise _unreadable(file, str(error).strip().splitlines()[-1].replace(str(path), "the file")) from error
    if values.size != np.prod(shape) or values.dtype.kind not in "iu":
        raise ImageError(
            f"{file.source}: its pixels are not what its header says: expected {'x'.join(map(str, shape[::-1]))} whole "
            f"numbers, found {values.shape[::-1]} of {values.dtype}. Copy the series again."
        )
    return values.reshape(shape)


def _pixels_alone(file: DicomFile) -> bytes:
    """A DICOM file of the pixels alone, with their transfer syntax."""
    pixel_format, syntax = file.format, file.dataset.syntax.encode("latin-1")
    if not file.pixels.compressed:
        syntax = EXPLICIT_LITTLE
    kind = SINGLE_CLASS if pixel_format.frames == 1 else SEVERAL_CLASS
    meta = [
        _element((0x0002, 0x0001), b"OB", b"\0\1"),
        _element((0x0002, 0x0002), b"UI", kind),
        _element((0x0002, 0x0003), b"UI", b"1.2.3.4\0"),
        _element(tags.TRANSFER_SYNTAX, b"UI", syntax),
    ]
    length = _element((0x0002, 0x0000), b"UL", struct.pack("<I", sum(map(len, meta))))
    elements = [_element(tags.CLASS_UID, b"UI", kind), _element(tags.INSTANCE_UID, b"UI", b"1.2.3.4\0")]
    elements += [
        _element(tags.SAMPLES, b"US", struct.pack("<H", 1)),
        _element(tags.PHOTOMETRIC, b"CS", b"MONOCHROME2 "),
        _element(tags.FRAMES, b"IS", str(pixel_format.frames).encode()),
    ]
    for tag, number in (
        (tags.ROWS, pixel_format.rows),
        (tags.COLUMNS, pixel_format.columns),
        (tags.BITS, pixel_format.bits),
        (tags.BITS_STORED, pixel_format.bits_stored),
        (tags.HIGH_BIT, pixel_format.high_bit),
        (tags.SIGNED, int(pixel_format.signed)),
    ):
        elements.append(_element(tag, b"US", struct.pack("<H", number)))
    content = stored_bytes(file)
    size = 0xFFFFFFFF if file.pixels.compressed else len(content)
    head = struct.pack("<HH2sHI", *tags.PIXEL_DATA, b"OB" if file.pixels.compressed else b"OW", 0, size)
    return b"".join([bytes(128), b"DICM", length, *meta, *elements, head, content])


def _element(tag: Tag, kind: bytes, value: bytes) -> bytes:
    value += (b" " if kind in (b"CS", b"IS") else b"\0") * (len(value) % 2)
    if kind == b"OB":
        return struct.pack("<HH2sHI", *tag, kind, 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, kind, len(value)) + value


def _unreadable(file: DicomFile, reason: str) -> ImageError:
    return ImageError(
        f"{file.source}: its pixels cannot be read, the file may be truncated ({excerpt(reason)}). Copy the series "
        "again."
    )


@contextmanager
def _silent_gdcm() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters is said in notes and errors."""
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
