"""Which series of a folder is read, and how another one is chosen."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest

from Testing.unit.dicom_files import multi_frame, places, pydicom, save, save_series, single, stored_values
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image

CT = stored_values().astype(int) - 1024
OTHER = {"SeriesInstanceUID": "9.9.9", "SeriesNumber": 7, "SeriesDescription": "other"}


@pytest.fixture
def folder(tmp_path):
    """A CT of 8 slices."""
    return save_series(tmp_path / "study" / "ct", stored_values(), places())


def assert_ct(image):
    np.testing.assert_array_equal(image.array[0], CT)
    np.testing.assert_allclose(image.geometry.spacing_mm, (2.5, 0.9, 0.7))


@pytest.mark.parametrize("kind", ["PT", "MR"])
def test_a_ct_is_read_before_a_larger_series_of_another_modality(folder, kind):
    save_series(folder, stored_values(20, 1), places(20), "other", kind=kind, RescaleIntercept=0, **OTHER)
    image = read_image(folder)
    assert_ct(image)
    assert "Read: 'chest' (series 4, CT, 8 slices, 0.7 x 0.9 mm, each 2.5 mm)" in image.notes[0]
    assert f"Left out: 'other' (series 7, {kind}, 20 slices" in image.notes[0]
    assert read_image(folder, modality=kind).geometry.shape[0] == 20


@pytest.mark.parametrize("series", ["7", "9.9.9", f"9.{'1' * 70}"])
def test_a_series_is_chosen_by_its_number_or_uid(folder, series):
    other = OTHER if len(series) < 9 else {**OTHER, "SeriesInstanceUID": series}  # longer than it may be, as some are
    save_series(folder, stored_values(5, 1), places(5), "other", ConvolutionKernel="B30f", **other)
    image = read_image(folder, series=series)
    np.testing.assert_array_equal(image.array[0], stored_values(5, 1).astype(int) - 1024)
    assert image.notes == ()


def test_a_series_of_hundreds_of_directions_is_refused_at_once(tmp_path, monkeypatch):
    from TuckerSegLib.image.dicom import series

    monkeypatch.setattr(series, "MOST_DIRECTIONS", 3)
    for index in range(4):
        directions = (np.cos(index), np.sin(index), 0, -np.sin(index), np.cos(index), 0)
        save(single(stored_values(1)[0], places()[index], directions=directions), tmp_path / f"{index}")
    with pytest.raises(ImageError, match="slices of its series have more than 3 directions"):
        read_image(tmp_path)


def test_a_series_that_is_not_there_is_refused_with_those_that_are(folder):
    save_series(folder, stored_values(5, 1), places(5), "other", ConvolutionKernel="B30f", **OTHER)
    with pytest.raises(ImageError, match=r"no series has the UID or number '5'. Choose one of: 'chest' \(series 4, .*"
                       r"'other' \(series 7, CT, 5 slices, 0.7 x 0.9 mm, each 2.5 mm, kernel B30f\)"):  # fmt: skip
        read_image(folder, series="5")


def test_a_number_that_two_series_have_does_not_choose(folder):
    save_series(folder, stored_values(5, 1), places(5), "other", **{**OTHER, "SeriesNumber": 4})
    with pytest.raises(ImageError, match=r"2 series have the number '4'.*series 1.2.3.4, .*series 9.9.9, "):
        read_image(folder, series="4")


def test_localizers_and_captures_come_after_scans(folder):
    large = np.zeros((400, 300), np.uint16)
    for index in range(3):
        at = (0, index * 3, 0)
        save(
            single(large, at, directions=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **OTHER),
            folder / f"localizer{index}",
        )
        capture = single(large, (0, 0, index * 3.0), "capture", **{**OTHER, "SeriesInstanceUID": "9.9.8"})
        capture.Modality = "CT"
        save(capture, folder / f"capture{index}")
    assert_ct(read_image(folder))


def test_a_localizer_that_shares_the_series_is_left_out(folder):
    save(single(np.zeros((400, 300), np.uint16), (0, 0, 0), directions=(1, 0, 0, 0, 0, -1)), folder / "a-localizer")
    image = read_image(folder)
    assert_ct(image)
    assert "2 image series" in image.notes[0]


def test_a_single_image_never_comes_before_a_stack(folder):
    save(single(np.zeros((900, 900), np.uint16), (0, 0, 0), **OTHER), folder / "zz.dcm")
    assert_ct(read_image(folder))


@pytest.mark.parametrize("same_series", [False, True])
def test_captures_and_pictures_with_colors_are_left_out_with_a_note(folder, same_series):
    more = {} if same_series else OTHER
    colors = single(np.zeros((60, 90), np.uint8), None, "capture", **more)
    colors.SamplesPerPixel, colors.PhotometricInterpretation, colors.Columns = 3, "RGB", 30
    colors.PlanarConfiguration = 0
    save(colors, folder / "dose.dcm")
    save(single(np.zeros((200, 200), np.uint16), None, "capture", **more), folder / "screen.dcm")
    image = read_image(folder)
    assert_ct(image)
    assert image.notes == ("Pictures that were left out: 2, such as dose.dcm, with colors.",)


def test_pictures_alone_are_refused(tmp_path):
    save(single(np.zeros((200, 200), np.uint16), None, "capture"), tmp_path / "screen.dcm")
    with pytest.raises(ImageError, match="screen.dcm: a DICOM file, a capture without a place in the patient, not"):
        read_image(tmp_path)


def test_identical_copies_of_slices_are_one(folder):
    for path in sorted(folder.iterdir())[:3]:
        shutil.copy(path, folder / f"copy of {path.name}")
    image = read_image(folder)
    assert_ct(image)
    assert image.notes == ("3 identical copies of slices were left out.",)
    shutil.copytree(folder, folder.parent / "again")
    assert_ct(read_image(folder.parent))


def test_copies_under_new_identifiers_are_one(folder):
    dataset = pydicom.dcmread(sorted(folder.iterdir())[2])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    save(dataset, folder / "new.dcm")
    assert_ct(read_image(folder))


def test_slices_at_one_place_with_other_pixels_are_no_copies(folder):
    save(single(stored_values(1, 5)[0], places()[2]), folder / "new.dcm")
    with pytest.raises(ImageError, match="1 slices at a position of another slice"):
        read_image(folder)


@pytest.mark.parametrize("element, values", [
    ("AcquisitionNumber", (1, 2)), ("TemporalPositionIdentifier", (1, 2)), ("ConvolutionKernel", ("B30f", "B70f")),
    ("ImageType", (["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY"])), ("EchoTime", (2.5, 5.0)),
    ("SliceThickness", (2.5, 5)), ("AcquisitionTime", ("100000", "100100")), ("ContrastBolusAgent", ("none", "Iodine")),
])  # fmt: skip
def test_two_volumes_of_one_series_are_told_apart_and_the_choice_is_said(tmp_path, element, values):
    for part, value in enumerate(values):
        save_series(tmp_path, stored_values(8, part), places(), f"part{part}", **{element: value})
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], CT)
    assert "Read: 'chest' (series 4:1, CT, 8 slices" in image.notes[0] and "(series 4:2, CT, 8" in image.notes[0]
    second = read_image(tmp_path, series="4:2").array[0]
    np.testing.assert_array_equal(second, stored_values(8, 1).astype(int) - 1024)


def test_files_without_preamble_and_without_ending_are_read(tmp_path, folder):
    for index, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        target = tmp_path / "bare" / f"IM{index:04}"
        target.parent.mkdir(exist_ok=True)
        pydicom.dcmwrite(target, dataset, implicit_vr=index % 2 == 0, little_endian=True)
        assert target.read_bytes()[128:132] != b"DICM"
    (tmp_path / "bare" / "notes.txt").write_text("not DICOM")
    (tmp_path / "bare" / "empty").touch()
    assert_ct(read_image(tmp_path / "bare"))


def test_a_damaged_ct_is_not_replaced_by_the_pet_beside_it(folder):
    save_series(folder, stored_values(20, 1), places(20), "other", kind="PT", **OTHER)
    for path in folder.glob("[0-9]*"):
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match="truncated"):
        read_image(folder)
    assert read_image(folder, series="7").geometry.shape[0] == 20


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_a_folder_is_read_as_the_folder(tmp_path, folder, packing):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"study/ct/{file.name}")
        archive.writestr("study/report.pdf", b"%PDF")
        archive.writestr("DICOMDIR", b"\0" * 200)
    assert_ct(read_image(path))
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("e.dcm", save(multi_frame(stored_values(), places()), tmp_path / "e.dcm").read_bytes())
    assert_ct(read_image(path))


def test_zips_that_are_damaged_or_hold_no_images_are_refused(tmp_path, folder, monkeypatch):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("report.pdf", b"%PDF")
    with pytest.raises(ImageError, match="study.zip: no DICOM images in it"):
        read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ImageError, match="study.zip: a damaged zip"):
        read_image(path)
    file = sorted(folder.iterdir())[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(file, "a\x1b[2J.dcm")
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ImageError, match=r"study.zip: a\\x1b\[2J.dcm: damaged in the zip"):
        read_image(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.write(file, "a.dcm")
    with pytest.raises(ImageError, match="a.dcm: packed in a way that is not read"):
        read_image(path)


def test_a_zip_whose_member_claims_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    from TuckerSegLib.image import sizes

    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + bytes(5_000_000))
    monkeypatch.setattr(sizes, "system_memory_bytes", lambda: (2_000_000, 1_000_000))
    with pytest.raises(ImageError, match="a.dcm: .*of memory; this computer has"):
        read_image(path)


def test_other_formats_have_no_series(tmp_path):
    path = tmp_path / "ct.nii"
    path.touch()
    with pytest.raises(ImageError, match="holds no series to choose from"):
        read_image(path, series="4")
