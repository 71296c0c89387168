"""DICOM files with several frames: each has its own place and scaling, and the same checks as single slices."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK

from Testing.unit.dicom_files import hounsfield, multi_frame, places, pydicom, save, stored_values
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image

ORDER = [3, 0, 7, 2, 5, 1, 6, 4]
EXPECTED_AFFINE = [[-0.7, 0, 0, 30], [0, -0.9, 0, -20], [0, 0, 2.5, 100], [0, 0, 0, 1]]


def shuffled(kind="enhanced CT", **options):
    return multi_frame(stored_values()[ORDER], [places()[index] for index in ORDER], kind, **options)


@pytest.mark.parametrize("kind", ["enhanced CT", "legacy CT", "enhanced MR", "enhanced PT", "gray captures"])
def test_frames_are_sorted_by_their_positions_and_placed_by_them(tmp_path, kind):
    path = save(shuffled(kind), tmp_path / "ct" / "e.dcm")
    for given in (path, path.parent):
        image = read_image(given)
        np.testing.assert_array_equal(image.array[0], hounsfield(path))
        np.testing.assert_allclose(image.geometry.matrix, EXPECTED_AFFINE, atol=1e-9)
        assert image.array.dtype == np.int16 and image.notes == ()


def test_each_frame_is_scaled_by_its_own_slope(tmp_path):
    slopes = [1, 0.5, 2, 0.25, 1, 0.5, 1, 3]
    path = save(multi_frame(stored_values(), places(), slopes=slopes), tmp_path / "e.dcm")
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], hounsfield(path).astype(np.float32))
    assert image.array.dtype == np.float32


@pytest.mark.parametrize("syntax", ["RLELossless", "DeflatedExplicitVRLittleEndian", "ImplicitVRLittleEndian"])
def test_other_transfer_syntaxes_give_the_same(tmp_path, syntax):
    dataset = shuffled()
    if syntax == "RLELossless":
        dataset.compress(pydicom.uid.RLELossless)
    else:
        dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    path = save(dataset, tmp_path / "e.dcm")
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], hounsfield(path))
    np.testing.assert_allclose(image.geometry.matrix, EXPECTED_AFFINE, atol=1e-9)


def test_a_volume_that_simpleitk_wrote_as_one_file_is_placed_as_simpleitk_places_it(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (5, 7, 6)).astype(np.uint8)
    written = SimpleITK.GetImageFromArray(array)
    written.SetSpacing((0.7, 0.9, 2.0))
    written.SetOrigin((1, 2, 3))
    SimpleITK.WriteImage(written, str(tmp_path / "e.dcm"))
    image = read_image(tmp_path / "e.dcm")
    np.testing.assert_array_equal(image.array[0], array)
    assert image.array.dtype == np.uint8
    for index in [(0, 0, 0), (5, 6, 4)]:
        place = (image.geometry.matrix @ [*index, 1])[:3] * [-1, -1, 1]
        np.testing.assert_allclose(place, written.TransformContinuousIndexToPhysicalPoint(index), atol=1e-5)


def test_one_series_in_several_files_is_one_volume(tmp_path):
    stored, at = stored_values(), places()
    for number, frames in enumerate((ORDER[:4], ORDER[4:])):
        save(multi_frame(stored[frames], [at[frame] for frame in frames]), tmp_path / f"{number}.dcm")
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], hounsfield(tmp_path))
    np.testing.assert_allclose(image.geometry.matrix, EXPECTED_AFFINE, atol=1e-9)


def test_missing_frames_are_refused_with_their_positions(tmp_path):
    kept = [0, 1, 2, 5, 6, 7]
    path = save(multi_frame(stored_values()[kept], [places()[index] for index in kept]), tmp_path / "e.dcm")
    with pytest.raises(ImageError, match=r"2 slices seem to be missing in series 'chest', at 107.50, 110.00 mm"):
        read_image(path)


def test_a_spacing_that_changes_between_frames_is_refused(tmp_path):
    spacings = [(0.9, 0.7)] * 5 + [(1.0, 1.0)] * 3
    path = save(multi_frame(stored_values(), places(), spacings=spacings), tmp_path / "e.dcm")
    with pytest.raises(ImageError, match=r"PixelSpacing changes within series 'chest': .*e.dcm \(frame 6\)"):
        read_image(path)


@pytest.mark.parametrize("sequence, name", [
    ("PlanePositionSequence", r"ImagePositionPatient \(0020,0032\)"),
    ("PixelMeasuresSequence", r"PixelSpacing \(0028,0030\)"),
    ("PlaneOrientationSequence", r"ImageOrientationPatient \(0020,0037\)"),
])  # fmt: skip
def test_a_frame_without_its_place_is_refused_by_name(tmp_path, sequence, name):
    dataset = shuffled()
    for group in (dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[2]):
        if sequence in group:
            delattr(group, sequence)
    with pytest.raises(ImageError, match=rf"e.dcm: frame \d of 8: damaged DICOM header, {name}: expected .* nothing"):
        read_image(save(dataset, tmp_path / "e.dcm"))


def test_frames_without_any_place_are_refused(tmp_path):
    dataset = shuffled()
    del dataset.PerFrameFunctionalGroupsSequence
    with pytest.raises(ImageError, match="holds 8 frames and tells the positions of 0"):
        read_image(save(dataset, tmp_path / "e.dcm"))
    del dataset.SharedFunctionalGroupsSequence
    # A place for the whole file is the first frame's, and the distance to the next one was not told
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [1, 1]
    with pytest.raises(ImageError, match="holds 8 frames and tells the positions of 0"):
        read_image(save(dataset, tmp_path / "e.dcm"))


def test_captures_whose_place_nobody_measured_are_refused(tmp_path):
    dataset = multi_frame(stored_values(), places(), "gray captures")
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
    with pytest.raises(ImageError, match="a capture without a place in the patient, not a CT slice"):
        read_image(save(dataset, tmp_path / "e.dcm"))


@pytest.mark.parametrize("content", [
    lambda phase, index: {"StackID": str(phase + 1), "InStackPositionNumber": index + 1},
    lambda phase, index: {"StackID": "1", "TemporalPositionIndex": phase + 1},
    lambda phase, index: {"DimensionIndexValues": [1, index + 1, phase + 1]},
    lambda phase, index: {"FrameAcquisitionNumber": phase + 1},
    lambda phase, index: {"DimensionIndexValues": [1, phase * 256 + 256]},
])  # fmt: skip
def test_two_phases_in_one_file_are_two_volumes_and_the_choice_is_said(tmp_path, content):
    phases = [stored_values(6, seed) for seed in (1, 2)]
    told = [content(phase, index) for index in range(6) for phase in (0, 1)]
    frames = np.stack([phases[phase][index] for index in range(6) for phase in (0, 1)])
    at = [place for place in places(6) for _ in (0, 1)]
    path = save(multi_frame(frames, at, content=told), tmp_path / "e.dcm")
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], phases[0].astype(int) - 1024)
    np.testing.assert_allclose(image.geometry.spacing_mm, (2.5, 0.9, 0.7))
    assert "2 image series. Read: 'chest' (series 4:1, CT, 6 slices" in image.notes[0]
    assert "Left out: 'chest' (series 4:2, CT, 6 slices" in image.notes[0]
    for name in ("4:2", "1.2.3.4:2"):
        np.testing.assert_array_equal(read_image(path, series=name).array[0], phases[1].astype(int) - 1024)


def test_two_phases_that_nothing_tells_apart_are_refused(tmp_path):
    path = save(multi_frame(stored_values(), places(4) * 2), tmp_path / "e.dcm")
    with pytest.raises(ImageError, match="4 slices at a position of another slice: several time points"):
        read_image(path)


def test_groups_of_a_program_that_did_not_know_them_are_read(tmp_path):
    """Such a program writes sequences as UN, in implicit little endian."""
    dataset = shuffled()
    implicit = pydicom.Dataset()
    implicit.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(buffer, implicit)
    del dataset.PerFrameFunctionalGroupsSequence
    path = save(dataset, tmp_path / "e.dcm")
    content, items = path.read_bytes(), buffer.getvalue()[8:]
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x10))
    unknown = struct.pack("<HH2sHI", 0x5200, 0x9230, b"UN", 0, len(items)) + items
    path.write_bytes(content[:pixels] + unknown + content[pixels:])
    np.testing.assert_array_equal(read_image(path).array[0], stored_values().astype(int) - 1024)
