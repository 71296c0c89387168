"""DICOM slices whose tags are missing, damaged or lie: one clear refusal that names file and tag."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image, sizes
from TuckerSegLib.image.dicom import elements, tags
from TuckerSegLib.image.dicom.dataset import Dataset
from TuckerSegLib.image.dicom.elements import ElementError, read_elements
from TuckerSegLib.image.dicom.sources import sources

VOLUME = np.random.default_rng(0).integers(-1000, 1500, (4, 12, 10)).astype(np.int16)
SPACING, POSITION, ORIENTATION = (0x0028, 0x0030), (0x0020, 0x0032), (0x0020, 0x0037)
INTERCEPT, SLOPE = (0x0028, 0x1052), (0x0028, 0x1053)
ROWS, COLUMNS, BITS, SIGNED, PIXELS = (0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x103), (0x7FE0, 0x10)
DESCRIPTION, UID = (0x0008, 0x103E), (0x0020, 0x000E)


def pixel_bytes(path: Path) -> int | None:
    """Bytes of pixels that are stored as they are; None where they are compressed, or where there are none."""
    (source,) = sources(path)
    pixels = read_elements(source, Dataset(), tags.VALUES, tags.SEQUENCES)
    return None if pixels is None or pixels.compressed else pixels.length


@pytest.fixture(scope="module")
def slices() -> dict[str, bytes]:
    """Good files by name, in implicit little endian: a tag, its length in four bytes, its value."""
    import tempfile

    files = {}
    with tempfile.TemporaryDirectory() as folder:
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for index, pixels in enumerate(VOLUME):
            image = SimpleITK.GetImageFromArray(pixels[None])
            image.SetSpacing([0.7, 0.9, 2.0])
            tags = {
                "0008|0060": "CT",
                "0008|103e": "chest",
                "0020|000e": "1.2.3.4",
                "0020|000d": "1.2.3",
                "0008|0018": f"1.2.3.4.{index + 1}",
                "0020|0032": f"-30\\20\\{100 + 2 * index}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
            }
            for key, value in tags.items():
                image.SetMetaData(key, value)
            writer.SetFileName(f"{folder}/{index}.dcm")
            writer.Execute(image)
            files[f"{index}.dcm"] = Path(folder, f"{index}.dcm").read_bytes()
    return files


def changed(content: bytes, tag: tuple[int, int], value: bytes | int | None) -> bytes:
    """A file with another value of a tag, without it where that is None."""
    start = content.index(struct.pack("<HH", *tag), 132)
    end = start + 8 + struct.unpack("<I", content[start + 4 : start + 8])[0]
    if value is None:
        return content[:start] + content[end:]
    value = struct.pack("<H", value) if isinstance(value, int) else value
    value += b" " * (len(value) % 2)
    return content[: start + 4] + struct.pack("<I", len(value)) + value + content[end:]


def written(folder: Path, slices: dict[str, bytes], tag=None, value=None, only: str | None = None) -> Path:
    folder.mkdir()
    for name, content in slices.items():
        damaged = tag is not None and only in (None, name)
        (folder / name).write_bytes(changed(content, tag, value) if damaged else content)
    return folder


def refused(folder: Path, text: str) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        read_image(folder)
    message = str(caught.value)
    assert message.startswith(str(folder)) and len(message) < 700 and message.isprintable()


def test_the_good_slices_are_read(tmp_path, slices):
    image = read_image(written(tmp_path / "ct", slices))
    np.testing.assert_array_equal(image.array[0], VOLUME)
    np.testing.assert_allclose(image.geometry.spacing_mm, (2, 0.9, 0.7))
    assert image.notes == () and {pixel_bytes(path) for path in (tmp_path / "ct").iterdir()} == {240}


REFUSED = [
    *((SPACING, value, r"PixelSpacing \(0028,0030\): expected 2 (finite|positive) numbers, found") for value in
      (None, b"", b"nan\\nan", b"inf\\1", b"0\\0", b"-1\\1", b"1", b"1\\1\\1", b"x\\y", b"1e999\\1", b"1_0\\1",
       b"0x1\\1")),
    *((POSITION, value, r"ImagePositionPatient \(0020,0032\): expected 3 finite numbers, found") for value in
      (None, b"", b"nan\\0\\0", b"1\\2", b"x\\y\\z", b"1e999\\0\\0", b"1\\2\\3\\4")),
    *((ORIENTATION, value, r"ImageOrientationPatient \(0020,0037\): expected (6 finite|two directions)") for value in
      (None, b"", b"nan\\0\\0\\0\\1\\0", b"1\\0\\0\\0\\1", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\1\\0\\0",
       b"2\\0\\0\\0\\1\\0")),
    *((SLOPE, value, r"RescaleSlope \(0028,1053\): expected") for value in
      (b"nan", b"inf", b"0", b"x", b"1e999", b"1e30", b"1\\1")),
    *((INTERCEPT, value, r"RescaleIntercept \(0028,1052\): expected") for value in (b"nan", b"inf", b"x", b"1e999")),
    *((ROWS, value, "truncated") for value in (None, 0, 13, 65535)),
    *((COLUMNS, value, "truncated") for value in (None, 0, 20, 65535)),
    *((tag, value, "header promises .* bytes of pixels, and 240 are there") for tag, value in
      ((ROWS, 11), (COLUMNS, 8), (BITS, 8), (BITS, 32))),
    *((BITS, value, "truncated or damaged DICOM slice") for value in (None, 0, 7, 64)),
    *((SIGNED, value, r"PixelRepresentation \(0028,0103\): expected one of 0, 1, found") for value in (None, 7)),
    *((PIXELS, value, "truncated") for value in (None, b"", b"12")),
]  # fmt: skip


@pytest.mark.parametrize("only", [None, "1.dcm"])
@pytest.mark.parametrize(
    "tag, value, text", REFUSED, ids=[f"{tag[0]:04x},{tag[1]:04x}={value}" for tag, value, _ in REFUSED]
)
def test_a_tag_that_cannot_be_is_refused_by_name_in_all_slices_and_in_one(tmp_path, slices, tag, value, text, only):
    folder = written(tmp_path / "ct", slices, tag, value, only)
    refused(folder, text)


@pytest.mark.parametrize("tag", [SLOPE, INTERCEPT])
@pytest.mark.parametrize("value", [None, b""])
def test_without_scaling_values_are_taken_as_they_are(tmp_path, slices, tag, value):
    np.testing.assert_array_equal(read_image(written(tmp_path / "ct", slices, tag, value)).array[0], VOLUME)


def test_a_spacing_that_changes_within_a_series_is_refused(tmp_path, slices):
    refused(written(tmp_path / "ct", slices, SPACING, b"1\\1 ", "2.dcm"), "PixelSpacing changes within series 'chest'")


def test_a_damaged_file_of_another_series_is_left_out_and_told_of(tmp_path, slices):
    folder = written(tmp_path / "ct", slices)
    (folder / "other.dcm").write_bytes(changed(changed(slices["0.dcm"], UID, b"9.9.9"), ROWS, 60000))
    image = read_image(folder)
    np.testing.assert_array_equal(image.array[0], VOLUME)
    assert "1 damaged files of other series were left out" in image.notes[0] and "other.dcm" in image.notes[0]


def test_a_series_whose_files_are_all_damaged_is_refused(tmp_path, slices):
    refused(written(tmp_path / "ct", slices, PIXELS, b"1234"), "truncated; its header promises 240 bytes of pixels")


def test_names_from_the_files_are_shown_safely(tmp_path, slices):
    folder = written(tmp_path / "ct", slices, DESCRIPTION, b"\x1b[2J\xff" * 100)
    (folder / "scout.dcm").write_bytes(changed(slices["0.dcm"], UID, b"9.9.9"))
    note = read_image(folder).notes[0]
    assert "2 image series" in note and note.isprintable() and len(note) < 400


def test_a_volume_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, slices, monkeypatch):
    folder = written(tmp_path / "ct", slices)
    monkeypatch.setattr(sizes, "system_memory_bytes", lambda: (2000, 900))
    refused(folder, "would need .* GB of memory; this computer has")


def test_pipes_and_devices_in_the_folder_are_left_out(tmp_path, slices):
    folder = written(tmp_path / "ct", slices)
    os.mkfifo(folder / "pipe.dcm")
    (folder / "zero.dcm").symlink_to("/dev/zero")
    np.testing.assert_array_equal(read_image(folder).array[0], VOLUME)


def test_pixels_are_found_behind_sequences_of_every_kind_that_lie_inside_the_file(tmp_path):
    def explicit(group, element, kind, value, length=None):
        length = len(value) if length is None else length
        long = kind in (b"SQ", b"OB", b"OW", b"UN")
        sizes_of = b"\0\0" + struct.pack("<I", length) if long else struct.pack("<H", length)
        return struct.pack("<HH", group, element) + kind + sizes_of + value

    def item(value, length=None):
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value

    end, item_end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    nested = explicit(8, 1, b"SQ", item(explicit(8, 2, b"CS", b"AB") + item_end, 0xFFFFFFFF) + end, 0xFFFFFFFF)
    implicit = struct.pack("<HHI", 8, 3, 4) + b"ABCD"
    unknown = explicit(9, 1, b"UN", item(implicit + item_end, 0xFFFFFFFF) + end, 0xFFFFFFFF)
    known = explicit(9, 2, b"SQ", item(explicit(8, 2, b"CS", b"AB")))
    pixels = explicit(0x7FE0, 0x10, b"OW", bytes(100))
    path = tmp_path / "a.dcm"

    def file_of(body, syntax=b"1.2.840.10008.1.2.1\0"):
        path.write_bytes(bytes(128) + b"DICM" + explicit(2, 0x10, b"UI", syntax) + body)
        return pixel_bytes(path)

    assert file_of(nested + unknown + known + pixels) == 100
    assert file_of(implicit + struct.pack("<HHI", 0x7FE0, 0x10, 60) + bytes(60)) == 60  # otherwise than it says
    assert file_of(nested + unknown) is None  # no pixels
    assert file_of(pixels + bytes(100)) == 100  # a block is filled up
    compressed = explicit(0x7FE0, 0x10, b"OB", item(b"") + item(b"1234567890") + end, 0xFFFFFFFF)
    assert file_of(compressed, b"1.2.840.10008.1.2.4.70\0") is None
    deep = (struct.pack("<HH", 8, 1) + b"SQ\0\0\xff\xff\xff\xff" + item(b"", 0xFFFFFFFF)) * 5000
    inner = explicit(8, 1, b"SQ", item(explicit(8, 2, b"UN", b"AB", 1 << 30)))
    for damaged in (
        pixels[:-10],
        nested[:-4],
        explicit(8, 2, b"UN", b"", 1 << 30) + pixels,
        inner + pixels,
        deep,
        b"12",
    ):
        with pytest.raises(ElementError):
            file_of(damaged)


def test_an_element_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path, slices):
    """GDCM allocates what an element claims."""
    folder = written(tmp_path / "ct", slices)
    start = slices["1.dcm"].index(struct.pack("<HH", *DESCRIPTION), 132)
    content = slices["1.dcm"][: start + 4] + struct.pack("<I", 3 << 30) + slices["1.dcm"][start + 8 :]
    (folder / "1.dcm").write_bytes(content)
    with pytest.raises(ElementError, match="an element of 3221225472 bytes"):
        pixel_bytes(folder / "1.dcm")
    refused(folder, "truncated or damaged DICOM slice")


def test_a_sequence_of_very_many_items_is_refused_before_they_take_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(elements, "MOST_ITEMS", 100)
    path, item = tmp_path / "a.dcm", struct.pack("<HHI", 0xFFFE, 0xE000, 0)

    def walk(count):
        sequence = struct.pack("<HH2sHI", *tags.FRAME_GROUPS, b"SQ", 0, count * len(item)) + count * item
        syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
        path.write_bytes(bytes(128) + b"DICM" + syntax + sequence)
        return pixel_bytes(path)

    assert walk(100) is None
    with pytest.raises(ElementError, match="hold more than 100 items"):
        walk(101)
