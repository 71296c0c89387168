"""Stored values of DICOM slices become Hounsfield units as pydicom has them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from Testing.unit.dicom_files import (
    COLUMNS,
    ROWS,
    hounsfield,
    multi_frame,
    places,
    pydicom,
    save,
    save_series,
    single,
    stored_values,
)
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome1_is_a_matter_of_display(tmp_path, photometric):
    folder = save_series(tmp_path / "ct", stored_values(), places(), PhotometricInterpretation=photometric)
    image = read_image(folder)
    np.testing.assert_array_equal(image.array[0], hounsfield(folder))
    assert image.array.dtype == np.int16
    path = save(
        multi_frame(stored_values(), places(), PhotometricInterpretation=photometric), tmp_path / "multi" / "e.dcm"
    )
    np.testing.assert_array_equal(read_image(path).array[0], hounsfield(path))


@pytest.mark.parametrize("kind", ["MR", "PT"])
def test_each_slice_is_scaled_by_its_own_slope(tmp_path, kind):
    stored = stored_values(4)
    for index, place in enumerate(places(4)):
        save(
            single(stored[index], place, kind, RescaleSlope=0.5 + index, RescaleIntercept=0), tmp_path / f"{index}.dcm"
        )
    np.testing.assert_array_equal(read_image(tmp_path).array[0], hounsfield(tmp_path).astype(np.float32))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("signed, written, padding", [
    (False, 63536, 63536), (True, -2000, -2000), (False, 4000, 4000), (False, 63536, None),
])  # fmt: skip
def test_padding_of_a_ct_is_air(tmp_path, signed, written, padding, compressed):
    """-2000 written into numbers without sign is 63536, and 62512 HU."""
    outside = np.hypot(*np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]) > 1
    for index, place in enumerate(places(4)):
        stored = stored_values(4)[index].astype(np.int16 if signed else np.uint16)
        stored[outside] = written
        dataset = single(stored, place)
        if padding is not None:
            dataset.add_new(0x00280120, "SS" if signed else "US", padding)
        if compressed:
            dataset.compress(pydicom.uid.RLELossless)
        save(dataset, tmp_path / f"{index}.dcm")
    expected = stored_values(4).astype(int) - 1024
    expected[:, outside] = -2000 - 1024 if signed else -1024  # below air already: it stays as it was
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], expected)
    assert image.array.dtype == np.int16
    assert bool(image.notes) is not signed
    if not signed:
        assert f"{outside.sum() * 4} of {4 * ROWS * COLUMNS} voxels are padding" in image.notes[0]


def test_a_range_of_padding_is_air(tmp_path):
    for index, place in enumerate(places(3)):
        dataset = single(stored_values(3)[index], place)
        dataset.add_new(0x00280120, "US", 65535)
        dataset.add_new(0x00280121, "US", 2000)
        save(dataset, tmp_path / f"{index}.dcm")
    stored = stored_values(3).astype(int)
    np.testing.assert_array_equal(read_image(tmp_path).array[0], np.where(stored >= 2000, -1024, stored - 1024))


def test_padding_of_other_modalities_is_the_smallest_value_of_its_slice(tmp_path):
    stored = stored_values(3)
    stored[:, 0] = 65535
    for index, place in enumerate(places(3)):
        dataset = single(stored[index], place, "MR", RescaleIntercept=0)
        dataset.add_new(0x00280120, "US", 65535)
        save(dataset, tmp_path / f"{index}.dcm")
    expected = stored.astype(int)
    expected[:, 0] = expected[:, 1:].min(axis=(1, 2))[:, None]
    np.testing.assert_array_equal(read_image(tmp_path).array[0], expected)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_of_the_value_are_left_out(tmp_path, signed):
    """Old scanners keep overlays there."""
    numbers = stored_values(3).astype(int) - (2000 if signed else 0)
    stored = (numbers & 0xFFF).astype(np.uint16) | 0x5000
    for index, place in enumerate(places(3)):
        save(
            single(stored[index], place, BitsStored=12, HighBit=11, PixelRepresentation=int(signed)),
            tmp_path / f"{index}.dcm",
        )
    np.testing.assert_array_equal(read_image(tmp_path).array[0], numbers - 1024)
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(files)), numbers - 1024)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ExplicitVRBigEndian", "ImplicitVRLittleEndian",
                                    "DeflatedExplicitVRLittleEndian", "RLELossless"])  # fmt: skip
def test_types_and_transfer_syntaxes_as_pydicom_reads_them(tmp_path, kind, syntax):
    stored = (stored_values(3) % 200).astype(kind)
    for index, place in enumerate(places(3)):
        dataset = single(stored[index], place)
        if syntax == "RLELossless":
            dataset.compress(pydicom.uid.RLELossless)
        elif syntax == "ExplicitVRBigEndian":
            swapped = stored[index].byteswap() if stored.dtype.itemsize > 1 else stored[index]
            dataset.PixelData = swapped.tobytes()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
            path = tmp_path / f"{index}.dcm"
            dataset.save_as(path, little_endian=False, implicit_vr=False, enforce_file_format=True)
            continue
        else:
            dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        save(dataset, tmp_path / f"{index}.dcm")
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], stored.astype(int) - 1024)
    np.testing.assert_array_equal(image.array[0], hounsfield(tmp_path))


def test_jpeg_2000_slices_are_read_as_simpleitk_reads_them(tmp_path):
    """Whole numbers with signs, compressed by GDCM."""
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    array = np.random.default_rng(0).integers(-1000, 1500, (4, 40, 36)).astype(np.int16)
    for index, plane in enumerate(array):
        image = SimpleITK.GetImageFromArray(plane[None])
        tags = {"0008|0060": "CT", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.4.{index + 1}",
                "0020|0032": f"0\\0\\{2 * index}", "0020|0037": "1\\0\\0\\0\\1\\0"}  # fmt: skip
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.Execute(image)
    assert pydicom.dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID.is_compressed
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], array)
    assert image.array.dtype == np.int16


@pytest.mark.parametrize("several", [False, True])
def test_a_slice_without_the_scaling_that_others_have_is_refused(tmp_path, several):
    if several:
        dataset = multi_frame(stored_values(), places(), slopes=[1] * 8)
        del dataset.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence
        save(dataset, tmp_path / "e.dcm")
    else:
        save_series(tmp_path, stored_values(), places())
        save(single(stored_values()[3], places()[3], RescaleSlope=None, RescaleIntercept=None), tmp_path / "7_3.dcm")
    with pytest.raises(ImageError, match="some slices of series 'chest' have RescaleSlope .* has none"):
        read_image(tmp_path)


def test_values_that_go_through_a_table_are_refused(tmp_path):
    dataset = single(stored_values()[0], places()[0])
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2, 0, 16], "HU"
    table.add_new(0x00283006, "US", [0, 1])
    dataset.ModalityLUTSequence = pydicom.Sequence([table])
    save(dataset, tmp_path / "0.dcm")
    with pytest.raises(ImageError, match=r"0.dcm: its values go through a table, ModalityLUTSequence \(0028,3000\)"):
        read_image(tmp_path)
