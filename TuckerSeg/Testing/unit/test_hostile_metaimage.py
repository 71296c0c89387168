"""MetaImage headers that are damaged or lie: what ITK reads too, or one clear refusal that names the field."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.damaged_images import by_itk, refused
from TuckerSegLib.image import read_image

VOXELS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)  # Z, Y, X
DATA = VOXELS.astype("<i2").tobytes()
GOOD = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "CenterOfRotation": "0 0 0",
    "ElementSpacing": "0.8 0.9 2.5",
    "DimSize": "4 5 6",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def written(path: Path, changes=(), lines=(), data=DATA) -> Path:
    """A good file with changed fields; a field that is None is left out."""
    fields = {**GOOD, **dict(changes)}
    last = fields.pop("ElementDataFile")
    text = [f"{name} = {value}" for name, value in fields.items() if value is not None] + list(lines)
    text += [] if last is None else [f"ElementDataFile = {last}"]
    path.write_bytes("".join(f"{line}\n" for line in text).encode() + data)
    return path


@pytest.mark.parametrize(
    "changes, note",
    [
        ({}, None),
        ({"TransformMatrix": "-1 0 0 0 0 1 0 1 0"}, None),
        ({"TransformMatrix": None, "Offset": None}, None),
        ({"Offset": None, "Position": "1 2 3"}, None),
        ({"BinaryDataByteOrderMSB": "True"}, None),
        ({"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "False"}, None),
        ({"HeaderSize": "-1"}, None),
        ({"ElementSize": "3 3 3", "ElementNumberOfChannels": "1", "Foo": "bar"}, None),
        ({"ElementSpacing": None}, "no spacing"),
        ({"DistanceUnits": "um"}, "in 'um'"),
        ({"DimSize": "4 5 5"}, "more data"),
    ],
)
def test_what_itk_reads_is_read_as_itk_does_and_noted(tmp_path, changes, note):
    path = written(tmp_path / "ct.mha", changes)
    image, (array, affine) = read_image(path), by_itk(path)
    np.testing.assert_array_equal(image.array[0], array)
    np.testing.assert_allclose(image.geometry.matrix, affine, atol=1e-6)
    assert len(image.notes) == (note is not None) and all(note in said for said in image.notes)


HUGE = "99999999999999999999"
BAD_NUMBERS = ("", "1 1", "1 1 1 1", "nan 1 1", "inf 1 1", "1e999 1 1", "1_0 1 1", "0x1 1 1", "² 1 1", "x 1 1", "none")
REFUSED = [
    *(("DimSize", value, "DimSize: expected 3 whole numbers from 1 to 2147483647, found") for value in
      ("", "4 5", "4 5 6 1", "-4 5 -6", "0 5 6", "4 5 6.0", "4 5 ²", "4 5 0x6", "4 5 0_6", f"{HUGE} 5 6", "9" * 5000)),
    ("DimSize", "4 5 7", "truncated; its header promises 280 bytes"),
    ("DimSize", "2147483647 2147483647 2147483647", "truncated"),
    ("DimSize", None, "not a MetaImage file"),
    ("NDims", None, "not a MetaImage file"),
    ("NDims", "2", "a volume with 3 dimensions"),
    ("NDims", "4", "DimSize: expected 4 whole"),
    *(("NDims", value, "NDims: expected a whole number from 1 to 10") for value in ("x", "0", "-3", "11", HUGE)),
    *(("ElementSpacing", value, "ElementSpacing: expected 3 positive numbers, found") for value in
      (*BAD_NUMBERS, "0 1 1", "-1 1 1")),
    ("ElementSpacing", "1e30 1 1", "cannot be a patient's scan"),
    *(("Offset", value, "Offset: expected 3 finite numbers, found") for value in BAD_NUMBERS),
    ("Offset", "1e30 0 0", "first voxel lies at"),
    ("Position", "9 9 9", "Offset: expected the same as Position"),
    *(("TransformMatrix", value, "TransformMatrix: expected 9 finite numbers") for value in
      ("", "x", "1 0 0 0 1 0 0 0", "nan 0 0 0 1 0 0 0 1", "1 0 0 0 1e999 0 0 0 1")),
    *(("TransformMatrix", value, "TransformMatrix: expected directions of length 1") for value in
      ("0 0 0 0 0 0 0 0 0", "2 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 0")),
    ("TransformMatrix", "1 0 0 1 0 0 0 0 1", "voxels without a volume"),
    ("TransformMatrix", "1 0 0 0.6 0.8 0 0 0 1", "sheared by 36.9 degrees"),
    *(("ElementType", value, "is not one number per voxel") for value in ("MET_BOGUS", "MET_SHORT_ARRAY", "\x1b[2J")),
    ("ElementType", "MET_FLOAT", "truncated"),
    ("ElementType", None, "not a MetaImage file"),
    ("BinaryData", "False", "written as text"),
    ("BinaryData", "maybe", "BinaryData: expected True or False, found 'maybe'"),
    ("BinaryDataByteOrderMSB", "x", "BinaryDataByteOrderMSB: expected True or False"),
    ("ElementByteOrderMSB", "True", "BinaryDataByteOrderMSB: expected the same as ElementByteOrderMSB"),
    ("CompressedData", "x", "CompressedData: expected True or False"),
    ("CompressedData", "True", "compressed data are damaged"),
    *(("HeaderSize", value, "HeaderSize: expected") for value in ("-2", "10", "x", "1_0", HUGE)),
    *(("ElementNumberOfChannels", value, "ElementNumberOfChannels: expected") for value in ("0", "-1", "x")),
    ("ElementNumberOfChannels", "3", "holds 3 values per voxel"),
    *(("ElementDataFile", value, "ElementDataFile: expected the name of one file in the folder") for value in
      ("", "/dev/zero", "../ct.raw", "a/b.raw", "/etc/passwd", "http://example.org/ct.raw", "..\\ct.raw", "..",
       "x" * 300)),
    *(("ElementDataFile", value, "beside it, and that is not there") for value in
      ("ct%03d.raw 1 6 1", "ct.mha")),
    ("ElementDataFile", None, "not a MetaImage file"),
]  # fmt: skip


@pytest.mark.parametrize("name, value, text", REFUSED, ids=[f"{name}={str(value)[:30]}" for name, value, _ in REFUSED])
def test_a_field_that_cannot_be_is_refused_by_name(tmp_path, name, value, text):
    refused(written(tmp_path / "ct.mha", {name: value}), text)


@pytest.mark.parametrize("line", ["DimSize = 4 5 6", "ElementSpacing = 1 1 1", "NDims = 3"])
def test_fields_twice_are_refused(tmp_path, line):
    refused(written(tmp_path / "ct.mha", lines=[line]), "twice")


def test_lines_of_megabytes_and_lines_without_end_are_refused_in_little_memory(tmp_path):
    for line in (
        "x" * (5 << 20),
        "Comment = " + "x" * (5 << 20),
        "hello",
        "\n".join(f"k{n} = v" for n in range(20000)),
    ):
        path = written(tmp_path / "ct.mha", lines=[line])
        tracemalloc.start()
        try:
            refused(path, "not a MetaImage file")
            assert tracemalloc.get_traced_memory()[1] < 32e6
        finally:
            tracemalloc.stop()


def test_a_small_compressed_file_that_promises_much_takes_no_memory(tmp_path):
    changes = {"DimSize": "2000 2000 2000", "CompressedData": "True"}
    path = written(tmp_path / "ct.mha", changes, data=zlib.compress(bytes(1 << 20)))
    tracemalloc.start()
    try:
        refused(path, "truncated; its header promises 16000000000 bytes")
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()


def test_compressed_data_that_end_early_fail_their_checksum_or_hold_more(tmp_path):
    data, compressed = zlib.compress(DATA), {"CompressedData": "True"}
    np.testing.assert_array_equal(read_image(written(tmp_path / "a.mha", compressed, data=data)).array[0], VOXELS)
    refused(written(tmp_path / "b.mha", compressed, data=data[:-1]), "truncated")
    refused(written(tmp_path / "c.mha", compressed, data=data[:-4] + b"abcd"), "damaged")
    refused(written(tmp_path / "d.mha", {**compressed, "HeaderSize": "-1"}, data=data), "HeaderSize")
    more = read_image(written(tmp_path / "e.mha", compressed, data=zlib.compress(DATA + bytes(100))))
    np.testing.assert_array_equal(more.array[0], VOXELS)
    assert "more data" in more.notes[0]


def test_a_detached_file_is_a_plain_one_beside_the_header(tmp_path):
    (tmp_path / "cté.raw").write_bytes(b"1234" + DATA)
    for start in ("4", "-1"):
        path = written(tmp_path / "ct.mhd", {"ElementDataFile": "cté.raw", "HeaderSize": start}, data=b"")
        np.testing.assert_array_equal(read_image(path).array[0], VOXELS)
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("ct.mhd", "zero", "."):
        path = written(tmp_path / "ct.mhd", {"ElementDataFile": name}, data=b"")
        refused(path, "beside it, and that is not there|expected the name of one file")
