"""NRRD headers that are damaged or lie: what ITK reads too, or one clear refusal that names the field."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.damaged_images import by_itk, refused
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image
from TuckerSegLib.image.formats.seg_nrrd import read_segment_names

VOXELS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)  # Z, Y, X
DATA = VOXELS.astype("<i2").tobytes()
GOOD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 5 6",
    "space directions": "(0.8,0,0) (0,0.9,0) (0,0,2.5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}


def written(path: Path, changes=(), lines=(), data=DATA, magic="NRRD0004", end="\n\n") -> Path:
    """A good file with changed fields; a field that is None is left out."""
    fields = {**GOOD, **dict(changes)}
    text = "\n".join([magic, *(f"{name}: {value}" for name, value in fields.items() if value is not None), *lines])
    path.write_bytes((text + end).encode("utf-8", "surrogateescape") + data)
    return path


NO_SPACING = {"space directions": None, "space origin": None, "space": None}


@pytest.mark.parametrize(
    "changes, note",
    [
        ({}, None),
        ({"content": "\udcff\udcfe"}, None),  # bytes of another encoding
        ({"space directions": "( 0.8 , 0, 0)(0,+.9,0) (0,0,25e-1)"}, None),
        ({"space directions": "(-0.8,0,0) (0,0.9,0) (0,0,2.5)"}, None),
        ({"space origin": None}, None),
        ({"space": "RAS", "type": "INT16", "encoding": "RAW"}, None),
        ({**NO_SPACING, "spacings": "0.8 0.9 2.5"}, None),
        ({**NO_SPACING}, "no spacing"),
        ({"space units": '"mm" "mm" "mm"'}, None),
        ({"space units": '"um" "um" "um"'}, "in 'um'"),
        ({"sizes": "4 5 5"}, "more data"),
    ],
)
def test_what_itk_reads_is_read_as_itk_does_and_noted(tmp_path, changes, note):
    path = written(tmp_path / "ct.nrrd", changes)
    image, (array, affine) = read_image(path), by_itk(path)
    np.testing.assert_array_equal(image.array[0], array)
    np.testing.assert_allclose(image.geometry.matrix, affine, atol=1e-6)
    assert len(image.notes) == (note is not None) and all(note in said for said in image.notes)


@pytest.mark.parametrize("skip", ["8", "-1"])
def test_bytes_are_skipped_from_either_end(tmp_path, skip):
    path = written(tmp_path / "ct.nrrd", {"byte skip": skip}, data=b"12345678" + DATA)
    np.testing.assert_array_equal(read_image(path).array[0], VOXELS)


HUGE = "99999999999999999999"
DIRECTIONS = r"space directions: expected 3 x 3 finite numbers, as \(1,0,0\), found"
REFUSED = [
    *(("sizes", value, "sizes: expected 3 whole numbers from 1 to 2147483647, found") for value in
      ("", "4 5", "4 5 6 1", "-4 5 -6", "0 5 6", "4 5 6.0", "4 5 ²", "4 5 0x6", "4 5 0_6", "4 5 1e1", "4 5 nan",
       "4 5 x", f"{HUGE} 5 6", "9" * 5000 + " 5 6")),
    ("sizes", "4 5 7", "truncated; its header promises 280 bytes"),
    ("sizes", "2147483647 2147483647 2147483647", "truncated"),
    ("dimension", "2", "sizes: expected 2 whole"),
    ("dimension", "4", "sizes: expected 4 whole"),
    *(("dimension", value, "dimension: expected a whole number from 1 to 16") for value in
      ("", "0", "-1", "x", "²", "17", "3.0", HUGE)),
    *(("space directions", value, DIRECTIONS) for value in
      ("", "x", "(0.8,0,0) (0,0.9,0)", "(nan,0,0) (0,1,0) (0,0,1)", "(1,0,0) (0,-inf,0) (0,0,1)", "(1,0) (0,1) (0,0)",
       "(1,0,0,0) (0,1,0,0) (0,0,1,0)", "(1e999,0,0) (0,1,0) (0,0,1)", "(1_0,0,0) (0,1,0) (0,0,1)", "(" * 3000,
       "(1,0,0) (0,1,0) (0,0,1) (0,0,1)", "(1,0,0) junk (0,1,0) (0,0,1)", "(0x1,0,0) (0,1,0) (0,0,1)",
       "(²,0,0) (0,1,0) (0,0,1)", "(1,,0) (0,1,0) (0,0,1)")),
    ("space directions", "none none none", "a volume with 3 spatial axes"),
    ("space directions", "(1,0,0) (0,1,0) none", "a volume with 3 spatial axes"),
    ("space directions", "(0,0,0) (0,1,0) (0,0,1)", "voxels without a volume"),
    ("space directions", "(1,0,0) (1,0,0) (0,0,1)", "voxels without a volume"),
    ("space directions", "(1e-9,0,0) (0,1,0) (0,0,1)", "cannot be a patient's scan"),
    ("space directions", "(1,0,0) (0.5,1,0) (0,0,1)", "sheared by 26.6 degrees"),
    ("space origin", "none", "space origin: expected a vector"),
    *(("space origin", value, "space origin: expected 1 x 3 finite numbers") for value in
      ("", "x", "1,2,3", "(1,2)", "(1,2,3,4)", "(nan,0,0)", "(inf,0,0)", "(1e999,0,0)", "(1,2,3) (4,5,6)")),
    ("space origin", "(1e30,0,0)", "first voxel lies at"),
    *(("spacings", value, "spacings: expected") for value in
      ("1 1", "1 1 1 1", "0 1 1", "-1 1 1", "nan 1 1", "nan nan nan", "inf 1 1", "x 1 1", "1e999 1 1", "1_0 1 1", "")),
    ("type", "bogus", "type 'bogus' is not one number per voxel"),
    ("type", "block", "type 'block'"),
    ("type", "int", "truncated"),
    ("endian", None, "no endian"),
    ("endian", "middle", "endian: expected little or big, found 'middle'"),
    *(("encoding", value, f"encoding '{value}' is not read") for value in ("ascii", "hex", "bzip2", "zrl", "\x1b[2J")),
    ("space", "bogus", "space: expected a patient's"),
    ("space", "left-posterior-superior-time", "space directions: expected 3 x 4"),
    *(("kinds", value, "kinds: expected") for value in ("domain", "domain " * 4, "a b c", "vector domain domain")),
    *(("byte skip", value, "byte skip: expected a whole number from -1") for value in ("-2", "x", "1_0", "1.5", HUGE)),
    ("byte skip", "500", "truncated"),
    ("line skip", "1", "line skip is not read"),
    ("line skip", "-1", "line skip: expected"),
    *((name, None, f"has no {name}") for name in ("type", "dimension", "sizes", "encoding")),
    *(("data file", value, "data file: expected the name of one file in the folder of the header") for value in
      ("", "/dev/zero", "../ct.raw", "a/b.raw", "/etc/passwd", "http://example.org/ct.raw", "..\\ct.raw", "..",
       "x" * 300)),
    *(("data file", value, "beside it, and that is not there") for value in ("LIST", "ct%03d.raw 1 6 1", "ct.nrrd")),
]  # fmt: skip


@pytest.mark.parametrize("name, value, text", REFUSED, ids=[f"{name}={str(value)[:30]}" for name, value, _ in REFUSED])
def test_a_field_that_cannot_be_is_refused_by_name(tmp_path, name, value, text):
    changes = {**(NO_SPACING if name == "spacings" else {}), name: value}
    refused(written(tmp_path / "ct.nrrd", changes), text.replace("\x1b[2J", r".*"))


@pytest.mark.parametrize("line", ["spacf directions: x", "hello", "type short", "sizes:4 5 6x", "endian", "é: 1"])
def test_a_line_that_is_no_field_is_refused(tmp_path, line):
    refused(written(tmp_path / "ct.nrrd", lines=[line]), "damaged NRRD header|has 'sizes' twice")


def test_fields_twice_and_two_spacings_are_refused(tmp_path):
    refused(written(tmp_path / "ct.nrrd", lines=["sizes: 4 5 6"]), "has 'sizes' twice")
    refused(written(tmp_path / "ct.nrrd", lines=["spacedirections: (1,0,0) (0,1,0) (0,0,1)"]), "'space directions' tw")
    refused(written(tmp_path / "ct.nrrd", {"spacings": "1 1 1"}), "spacings: expected none beside space directions")


@pytest.mark.parametrize("magic", ["NRRD0006", "NRRD000x", "NRRD", "NRRD00011", "\0" * 8])
def test_another_version_is_refused(tmp_path, magic):
    refused(written(tmp_path / "ct.nrrd", magic=magic), "not an NRRD file")


def test_a_header_without_an_end_and_lines_of_megabytes_are_refused_in_little_memory(tmp_path):
    refused(written(tmp_path / "ct.nrrd", end="", data=b""), "header does not end")
    for line in ("# " + "x" * (5 << 20), "content: " + " " * (5 << 20), "key:=" + "y" * (5 << 20), ": " * (3 << 20)):
        path = written(tmp_path / "ct.nrrd", lines=[line])
        tracemalloc.start()
        try:
            refused(path, "header does not end|damaged NRRD header")
            assert tracemalloc.get_traced_memory()[1] < 64e6
        finally:
            tracemalloc.stop()


def test_a_small_compressed_file_that_promises_much_takes_no_memory(tmp_path):
    changes = {"sizes": "2000 2000 2000", "encoding": "gzip"}
    path = written(tmp_path / "ct.nrrd", changes, data=gzip.compress(bytes(1 << 20)))
    tracemalloc.start()
    try:
        refused(path, "truncated; its header promises 16000000000 bytes")
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()


def test_compressed_data_that_end_early_fail_their_checksum_or_hold_more(tmp_path):
    data = gzip.compress(DATA)
    gzipped = {"encoding": "gzip"}
    np.testing.assert_array_equal(read_image(written(tmp_path / "a.nrrd", gzipped, data=data)).array[0], VOXELS)
    refused(written(tmp_path / "b.nrrd", gzipped, data=data[:-1]), "truncated")
    refused(written(tmp_path / "c.nrrd", gzipped, data=data[:-8] + b"abcd" + data[-4:]), "damaged")
    refused(written(tmp_path / "d.nrrd", gzipped, data=b""), "truncated")
    refused(written(tmp_path / "e.nrrd", {**gzipped, "byte skip": "-1"}, data=data), "byte skip")
    more = read_image(written(tmp_path / "f.nrrd", gzipped, data=gzip.compress(DATA + bytes(100))))
    np.testing.assert_array_equal(more.array[0], VOXELS)
    assert "more data" in more.notes[0]


def test_a_detached_file_is_a_plain_one_beside_the_header(tmp_path):
    (tmp_path / "ct.raw").write_bytes(DATA)
    path = written(tmp_path / "ct.nhdr", {"data file": "./ct.raw"}, data=b"", end="\n")
    np.testing.assert_array_equal(read_image(path).array[0], VOXELS)
    refused(written(tmp_path / "ct.nhdr", {"data file": "ct.nhdr"}), "beside it, and that is not there")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(written(tmp_path / "ct.nhdr", {"data file": "zero"}, data=b""), "beside it, and that is not there")
    os.link(tmp_path / "ct.nhdr", tmp_path / "other.raw")
    refused(written(tmp_path / "ct.nhdr", {"data file": "other.raw"}), "beside it, and that is not there")
    (tmp_path / "folder").mkdir()
    refused(written(tmp_path / "ct.nhdr", {"data file": "folder"}, data=b""), "beside it, and that is not there")


@pytest.mark.parametrize("value", ["x", "", "0", "-1", "65536", "²", "1_0", "1.0", "nan", "9" * 5000])
def test_a_damaged_label_value_of_a_segment_is_refused(tmp_path, value):
    path = written(tmp_path / "s.seg.nrrd", lines=[f"Segment0_LabelValue:={value}", "Segment0_Name:=liver"])
    with pytest.raises(ImageError, match="label value of a segment is damaged") as caught:
        read_segment_names(path)
    assert len(str(caught.value)) < 400


def test_names_of_segments_are_bounded_and_their_numbers_too(tmp_path):
    lines = ["Segment0_Name:=" + "x" * 100_000, "Segment0_LabelValue:=3", f"Segment{'9' * 5000}_Name:=far"]
    names = read_segment_names(written(tmp_path / "s.seg.nrrd", lines=lines))
    assert names == {3: "x" * 256}


def test_two_segments_of_one_value_are_refused(tmp_path):
    lines = [f"Segment{index}_{key}" for index in (0, 1) for key in ("Name:=a", "LabelValue:=1", "Layer:=0")]
    with pytest.raises(ImageError, match="two of its segments have the label value 1"):
        read_segment_names(written(tmp_path / "s.seg.nrrd", lines=lines))
