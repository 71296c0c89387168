"""Lengths in other units than millimeters, and voxels in one file per slice."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype("<i2")
SPACES = ["left-posterior-superior", "right-anterior-superior"]


def nrrd(path, *lines):
    header = ["NRRD0005", "type: short", "dimension: 3", "sizes: 6 5 4", "endian: little", "encoding: raw", *lines]
    path.write_bytes(("\n".join(header) + "\n\n").encode() + VOXELS.tobytes())
    return path


@pytest.mark.parametrize(
    ("unit", "factor"), [("cm", 10), ("m", 1000), ("um", 0.001), ("Centimeters", 10), ("mm", 1), ("", 1), ("in", 25.4)]
)
@pytest.mark.parametrize("space", SPACES)
def test_nrrd_lengths_are_read_in_millimeters(tmp_path, unit, factor, space):
    numbers = [part / factor for part in (0.8, 0.9, 2.5, -12.0, 7.0, 30.0)]
    fields = [
        f"space: {space}",
        f"space directions: ({numbers[0]},0,0) (0,{numbers[1]},0) (0,0,{numbers[2]})",
        f"space origin: ({numbers[3]},{numbers[4]},{numbers[5]})",
        f'space units: "{unit}" "{unit}" "{unit}"',
    ]
    image = read_image(nrrd(tmp_path / "ct.nrrd", *fields))
    sign = -1 if space == SPACES[0] else 1
    assert image.geometry.matrix[:3] == pytest.approx(
        np.array([[0.8 * sign, 0, 0, -12.0 * sign], [0, 0.9 * sign, 0, 7.0 * sign], [0, 0, 2.5, 30.0]])
    )
    assert any("converted to mm" in note for note in image.notes) == (factor != 1)


def test_each_axis_has_a_unit_of_its_own_and_units_go_with_spacings(tmp_path):
    fields = ["space: left-posterior-superior", "space directions: (0.8,0,0) (0,0.9,0) (0,0,0.25)"]
    image = read_image(nrrd(tmp_path / "a.nrrd", *fields, 'space units: "mm" "mm" "cm"'))
    assert image.geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))
    image = read_image(nrrd(tmp_path / "b.nrrd", "spacings: 0.08 0.09 0.25", 'units: "cm" "cm" "cm"'))
    assert image.geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))
    image = read_image(nrrd(tmp_path / "c.nrrd", *fields, 'space units: "furlong" "mm" "mm"'))
    assert image.geometry.spacing_mm == pytest.approx((0.25, 0.9, 0.8))
    assert any("'furlong'" in note and "taken as mm" in note for note in image.notes)


def metaimage(path, data, *lines, dimensions="6 5 4", below=()):
    header = [
        "ObjectType = Image",
        f"NDims = {len(dimensions.split())}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        *lines,
        f"DimSize = {dimensions}",
        "ElementType = MET_SHORT",
        f"ElementDataFile = {data}",
        *below,
    ]
    path.write_text("\n".join(header) + "\n")
    return path


@pytest.mark.parametrize(("unit", "factor"), [("cm", 10), ("um", 0.001), ("mm", 1), ("?", 1)])
def test_metaimage_lengths_are_read_in_millimeters(tmp_path, unit, factor):
    VOXELS.tofile(tmp_path / "ct.raw")
    numbers = [" ".join(str(part / factor) for part in parts) for parts in ((0.8, 0.9, 2.5), (-12.0, 7.0, 30.0))]
    lines = [f"ElementSpacing = {numbers[0]}", f"Offset = {numbers[1]}", f"DistanceUnits = {unit}"]
    image = read_image(metaimage(tmp_path / "ct.mhd", "ct.raw", *lines))
    assert image.geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))
    assert image.geometry.matrix[:3, 3] == pytest.approx((12.0, -7.0, 30.0))


@pytest.fixture
def slices(tmp_path):
    """One file per slice, each with a header of 7 bytes; their names."""
    for number, plane in enumerate(VOXELS, 1):
        (tmp_path / f"slice{number:03d}.raw").write_bytes(b"7 bytes" + plane.tobytes())
    return [f"slice{number:03d}.raw" for number in range(1, 5)]


@pytest.mark.parametrize("header_size", [7, -1])
@pytest.mark.parametrize("word", ["LIST", "LIST 2", "LIST 2D", "slice%03d.raw 1 4 1"])
def test_slices_in_files_of_their_own_are_read_as_itk_reads_them(tmp_path, slices, word, header_size):
    below = slices if "LIST" in word else ()
    lines = ["ElementSpacing = 0.8 0.9 2.5", f"HeaderSize = {header_size}"]
    path = metaimage(tmp_path / "ct.mhd", word, *lines, below=below)
    image = read_image(path)
    assert np.array_equal(image.array[0], VOXELS)
    if word != "LIST 2":  # of which ITK's releases think differently
        assert np.array_equal(image.array[0], SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))


def test_volumes_in_files_of_their_own_are_time_points(tmp_path):
    names = ["first.raw", "second.raw"]
    for factor, name in enumerate(names, 1):
        (VOXELS * factor).tofile(tmp_path / name)
    path = metaimage(tmp_path / "ct.mhd", "LIST 3", "ElementSpacing = 1 1 2 1", dimensions="6 5 4 2", below=names)
    for number in (0, 1):
        assert np.array_equal(read_image(path, timepoint=number).array[0], VOXELS * (number + 1))


@pytest.mark.parametrize(
    ("word", "below", "words"),
    [
        ("LIST", ["slice001.raw"], "names 1 files of voxels; expected 4"),
        ("LIST", ["slice001.raw"] * 3 + ["../slice001.raw"], "without a path"),
        ("LIST", ["slice001.raw"] * 3 + ["absent.raw"], "is not there"),
        ("LIST", ["slice001.raw"] * 3 + ["ct.mhd"], "is not there"),
        ("LIST 9", [], "2 to 2 axes"),
        ("slice%03d.raw 1 9999999999 1", [], "the first number, the last one"),
        ("slice%03d.raw 1 4 0", [], "the first number, the last one"),
        ("../slice%03d.raw 1 4 1", [], "without a path"),
        ("slice%s%n.raw 1 4 1", [], "without a path|is not there"),
    ],
)
def test_a_list_that_is_wrong_is_told(tmp_path, slices, word, below, words):
    with pytest.raises(ImageError, match=words):
        read_image(metaimage(tmp_path / "ct.mhd", word, "ElementSpacing = 1 1 1", "HeaderSize = 7", below=below))


def test_a_slice_that_is_cut_short_is_named(tmp_path, slices):
    (tmp_path / slices[2]).write_bytes(b"short")
    with pytest.raises(ImageError, match="slice003.raw: truncated"):
        read_image(metaimage(tmp_path / "ct.mhd", "LIST", "ElementSpacing = 1 1 1", "HeaderSize = 7", below=slices))
