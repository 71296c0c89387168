"""What one DICOM file says about its slices, each field checked where it is read.

GDCM takes a spacing of 1 mm, the origin and a slope of 1 where a field is missing or nonsense, and of a file of several
slices the position and the scaling of the first one: what a slice needs is looked at here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...errors import ImageError
from ...printable import excerpt
from ..formats.header_fields import whole_number
from . import tags
from .dataset import Dataset, StoredPixels
from .elements import BIG_ENDIAN, ElementError, looks_like_dicom, read_elements
from .geometry_fields import Lookup, Place, WrongTagError, frame_fields, place_of, wrong
from .sources import Source
from .tags import Tag

NOT_A_SCAN = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "REG", "ECG", "DOC")
STORAGE_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([\d.]+)")  # DICOM PS3.6, table A-1
# CT, MR, captures, NM, PET, and their multi-frame kinds
SCAN_CLASSES = ("2", "2.1", "2.2", "4", "4.1", "4.4", "7", "7.1", "7.2", "7.3", "20", "128", "128.1", "130")
CAPTURE_CLASSES = ("7", "7.1", "7.2", "7.3", "7.4")
GRAY = ("MONOCHROME1", "MONOCHROME2")
LONGEST_NAME = 64  # DICOM's own bound on a description
MOST_FRAMES = 100_000
MOST_COMPRESSION = 1000  # pixels to bytes of the file; lossless slices of air alone reach some hundred
# What tells apart several slices at one position, in the order in which it is tried
MARKS = (
    tags.STACK, tags.TIME_POINT, tags.TEMPORAL_INDEX, tags.ACQUISITION, tags.KERNEL, tags.IMAGE_TYPE, tags.FRAME_TYPE,
    tags.ECHO_TIME, tags.EFFECTIVE_ECHO_TIME, tags.CARDIAC_PHASE, tags.TRIGGER_TIME, tags.B_VALUE,
    tags.THICKNESS, tags.CONTRAST_AGENT, tags.ACQUISITION_TIME, tags.FRAME_ACQUISITION,
)  # fmt: skip
MOST_DIMENSIONS = 8  # of an index, that are looked at


@dataclass(frozen=True)
class PixelFormat:
    """How pixels are stored; attributes as in DICOM, ``padding`` as the bits of a stored value, from one to another."""

    columns: int
    rows: int
    frames: int
    bits: int
    bits_stored: int
    high_bit: int
    signed: bool
    big_endian: bool
    padding: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice: a file, or a frame of one.

    Attributes:
        marks: What may tell it from others at its position, see ``MARKS``; then the numbers of its dimension index.
    """

    file: DicomFile
    frame: int
    place: Place
    marks: tuple[str, ...]


@dataclass(eq=False)
class DicomFile:
    """One file with pixels.

    Attributes:
        uid, number: Of its series, as the file has them.
        pixels: Where they are; None with a problem, and of a picture.
        problem: Why it cannot be slices of a volume, as a sentence that names the file; it has no slices then.
        picture: Why it is a picture beside the scans, as what has colors; None: it is none. It has no slices then.
    """

    source: Source
    dataset: Dataset
    uid: str
    number: str
    description: str
    modality: str
    kernel: str
    image_type: tuple[str, ...]
    pixels: StoredPixels | None = None
    format: PixelFormat | None = None
    problem: str | None = None
    picture: str | None = None
    slices: list[Slice] = field(default_factory=list)

    @property
    def is_capture(self) -> bool:
        """Whether it is a picture of a screen, a film or the like."""
        return _storage_class(self.dataset) in CAPTURE_CLASSES

    @property
    def is_localizer(self) -> bool:
        """Whether it is an overview, by which the scan was planned."""
        return "LOCALIZER" in self.image_type


def described(source: Source) -> DicomFile | None:
    """What a file's header says; None for what is no DICOM, has no pixels or is of a kind that is not a scan.

    Raises:
        ImageError: Truncated or damaged, and of which series it is cannot be told.
    """
    with source.begin() as file:
        if not looks_like_dicom(file.read(140)):
            return None
    dataset, pixels, damage = Dataset(), None, None
    try:
        pixels = read_elements(source, dataset, tags.VALUES, tags.SEQUENCES)
    except ElementError as error:
        damage = str(error)
    file = _file_of(source, dataset)
    if file.modality in NOT_A_SCAN:
        return None
    if pixels is None:
        if _storage_class(dataset) not in SCAN_CLASSES:
            return None  # reports, structure sets: no pixels in them
        file.problem = f"{source}: truncated or damaged DICOM slice ({damage or 'it holds no pixels'})"
        if not file.uid:
            raise ImageError(f"{file.problem}. Copy the series again.")
        return file
    if (dataset.whole(tags.SAMPLES) or 1) != 1 or dataset.text(tags.PHOTOMETRIC) not in ("", *GRAY):
        file.picture = "with colors"
        return file
    if file.is_capture and not (dataset.text(tags.POSITION) or _has_groups(dataset)):
        file.picture = "a capture without a place in the patient"
        return file
    try:
        file.format = _pixel_format(dataset)
        _check_pixels(source, file.format, pixels)
        _check_bits(file.format, dataset)
        file.pixels, file.slices = pixels, _slices(file)
    except WrongTagError as error:
        file.problem = f"{source}: {error}"
    return file


def _file_of(source: Source, dataset: Dataset) -> DicomFile:
    shared = frame_fields(dataset, 0)
    return DicomFile(
        source=source,
        dataset=dataset,
        uid=dataset.text(tags.SERIES_UID),
        number=_plain_number(dataset.text(tags.SERIES_NUMBER)),
        description=excerpt(_named(dataset, tags.DESCRIPTION), LONGEST_NAME),
        modality=excerpt(dataset.text(tags.MODALITY), LONGEST_NAME),
        kernel=excerpt(shared(tags.KERNEL).replace("\\", " "), LONGEST_NAME),
        image_type=tuple((shared(tags.FRAME_TYPE) or dataset.text(tags.IMAGE_TYPE)).split("\\")),
    )


def _plain_number(text: str) -> str:
    number = whole_number(text)
    return text if number is None else str(number)


def _named(dataset: Dataset, tag: Tag) -> str:
    unicode = "ISO_IR 192" in dataset.text(tags.CHARACTER_SET)
    return dataset.values.get(tag, b"").decode("utf-8" if unicode else "latin-1", errors="replace").strip(" \0")


def _storage_class(dataset: Dataset) -> str | None:
    uid = dataset.text(tags.CLASS_UID) or dataset.text(tags.STORED_CLASS_UID)
    match = STORAGE_CLASS.fullmatch(uid)
    return match.group(1) if match else None


def _pixel_format(dataset: Dataset) -> PixelFormat:
    if dataset.items.get(tags.LOOKUP_TABLE):
        raise WrongTagError(
            f"its values go through a table, {tags.NAMES[tags.LOOKUP_TABLE]}; expected RescaleSlope and "
            "RescaleIntercept, which make Hounsfield units"
        )
    frames = 1
    if dataset.text(tags.FRAMES):
        frames = whole_number(dataset.text(tags.FRAMES)) or 0
        if not 1 <= frames <= MOST_FRAMES:
            raise wrong(dataset.text, tags.FRAMES, f"a whole number from 1 to {MOST_FRAMES}")
    bits = _number(dataset, tags.BITS, (8, 12, 16, 32))
    stored = dataset.whole(tags.BITS_STORED) or bits
    high = dataset.whole(tags.HIGH_BIT)
    high = stored - 1 if high is None else high
    signed = _number(dataset, tags.SIGNED, (0, 1)) == 1
    rows, columns = (_number(dataset, tag, range(1, 1 << 16)) for tag in (tags.ROWS, tags.COLUMNS))
    padding = dataset.whole(tags.PADDING)
    limit = dataset.whole(tags.PADDING_LIMIT)
    ends = None if padding is None else (padding, padding if limit is None else limit)
    return PixelFormat(
        columns, rows, frames, bits, stored, high, signed, dataset.syntax == BIG_ENDIAN and bits > 8, ends
    )


def _number(dataset: Dataset, tag: Tag, allowed: range | tuple[int, ...]) -> int:
    number = dataset.whole(tag)
    if number not in allowed:
        names = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
        raise _wrong_number(dataset, tag, f"one of {names}")
    return number


def _wrong_number(dataset: Dataset, tag: Tag, expected: str) -> WrongTagError:
    value = dataset.whole(tag)
    return WrongTagError(
        f"truncated or damaged DICOM slice, {tags.NAMES[tag]}: expected {expected}, found "
        f"{'nothing' if value is None else repr(str(value))}"
    )


def _check_pixels(source: Source, pixel_format: PixelFormat, pixels: StoredPixels) -> None:
    """Compare what the header says about the pixels with what the file holds, to less than a row of padding."""
    row = pixel_format.columns * pixel_format.bits // 8
    needed = row * pixel_format.rows * pixel_format.frames
    if pixels.compressed:
        if needed > source.size * MOST_COMPRESSION:
            raise WrongTagError(
                f"its header promises {needed} bytes of pixels, which a file of {source.size} bytes cannot hold"
            )
    elif not needed <= pixels.length < needed + max(row, 2):
        problem = "truncated" if pixels.length < needed else "damaged DICOM header"
        raise WrongTagError(f"{problem}; its header promises {needed} bytes of pixels, and {pixels.length} are there")


def _check_bits(pixel_format: PixelFormat, dataset: Dataset) -> None:
    stored, high = pixel_format.bits_stored, pixel_format.high_bit
    if stored > pixel_format.bits:
        raise _wrong_number(dataset, tags.BITS_STORED, f"up to {pixel_format.bits}")
    if not stored - 1 <= high < pixel_format.bits:
        raise _wrong_number(dataset, tags.HIGH_BIT, f"one of {stored - 1} to {pixel_format.bits - 1}")


def _slices(file: DicomFile) -> list[Slice]:
    dataset, frames = file.dataset, file.format.frames
    if not _has_groups(dataset) and frames == 1:
        return [Slice(file, 0, place_of(dataset.text), _marks(dataset.text))]
    position_count = len(dataset.items.get(tags.FRAME_GROUPS, []))
    if position_count != frames:
        raise WrongTagError(
            f"it holds {frames} frames and tells the positions of {position_count} (PerFrameFunctionalGroupsSequence, "
            "(5200,9230)): where its slices lie was not measured, or is lost"
        )
    slices = []
    for frame in range(frames):
        text = frame_fields(dataset, frame)
        try:
            slices.append(Slice(file, frame, place_of(text), _marks(text)))
        except WrongTagError as error:
            raise WrongTagError(f"frame {frame + 1} of {frames}: {error}") from error
    return slices


def _has_groups(dataset: Dataset) -> bool:
    return tags.FRAME_GROUPS in dataset.items or tags.SHARED_GROUPS in dataset.items


def _marks(text: Lookup) -> tuple[str, ...]:
    dimensions = text(tags.DIMENSIONS).encode("latin-1")
    numbers = [dimensions[at : at + 4].hex() for at in range(0, min(len(dimensions), 4 * MOST_DIMENSIONS), 4)]
    return tuple([text(tag) for tag in MARKS] + numbers + [""] * (MOST_DIMENSIONS - len(numbers)))
