"""DICOM folders: order, choice of series, gaps, gantry tilt."""

import re
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image

VOLUME = np.random.default_rng(0).integers(-1000, 1500, (8, 12, 10)).astype(np.int16)


def write_series(folder, positions, volume=VOLUME, uid="1.2.3.4", description="chest", directions=(1, 0, 0, 0, 1, 0)):
    """Slices in a shuffled order of names, so that only their positions tell the order."""
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    normal = np.cross(directions[:3], directions[3:])
    matrix = np.column_stack([directions[:3], directions[3:], normal])
    for index, position in enumerate(positions):
        image = SimpleITK.GetImageFromArray(volume[index][None])
        image.SetSpacing([0.7, 0.9, 2.0])
        image.SetOrigin([float(number) for number in position])
        image.SetDirection(matrix.ravel().tolist())
        tags = {
            "0008|0060": "CT",
            "0008|103e": description,
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{index + 1}",
            "0020|0032": "\\".join(f"{number:.6f}" for number in position),
            "0020|0037": "\\".join(f"{number:.6f}" for number in directions),
            "0020|0013": str(index + 1),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{(index * 5) % 8}_{uid}.dcm"))
        writer.Execute(image)
    return folder


def straight(count=8, step=2.0):
    return [(-30, 20, 100 + step * index) for index in range(count)]


def test_slices_are_sorted_by_position_and_placed_by_it(tmp_path):
    image = read_image(write_series(tmp_path / "ct", straight()))
    np.testing.assert_array_equal(image.array[0], VOLUME)
    expected = [[-0.7, 0, 0, 30], [0, -0.9, 0, -20], [0, 0, 2, 100], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.geometry.matrix, expected)
    assert image.notes == () and image.array.dtype == np.int16


def test_slices_that_run_against_their_normal_are_turned_around(tmp_path):
    image = read_image(write_series(tmp_path / "ct", straight()[::-1]))
    np.testing.assert_array_equal(image.array[0], VOLUME[::-1])
    assert image.geometry.matrix[2, 3] == pytest.approx(100)


def test_a_coronal_series_is_placed_as_simpleitk_places_it(tmp_path):
    folder = write_series(
        tmp_path / "ct", [(-30, 20 + 2 * index, 100) for index in range(8)], directions=(1, 0, 0, 0, 0, -1)
    )
    image = read_image(folder)
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    expected = SimpleITK.ReadImage(files)
    np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(expected))
    for index in [(0, 0, 0), (3, 4, 5), (9, 11, 7)]:
        place = image.geometry.matrix @ [*index, 1]
        np.testing.assert_allclose(
            place[:3] * [-1, -1, 1], expected.TransformContinuousIndexToPhysicalPoint(index), atol=1e-4
        )


def test_the_largest_series_is_read_and_the_others_are_named(tmp_path):
    folder = write_series(tmp_path / "ct", straight())
    write_series(folder, [(-30, index, 0) for index in range(3)], uid="1.2.3.5", description="scout")
    (folder / "report.txt").write_text("not DICOM")
    (folder / "broken.dcm").write_text("not DICOM either")
    image = read_image(tmp_path)
    assert image.geometry.shape == (8, 12, 10)
    assert "2 image series" in image.notes[0]
    assert "Read: 'chest'" in image.notes[0] and "Left out: 'scout'" in image.notes[0]


def test_a_missing_slice_is_refused_and_a_small_unevenness_noted(tmp_path):
    positions = straight()
    del positions[4]
    with pytest.raises(ImageError, match="1 slices seem to be missing in series 'chest'.*2.000 to 4.000 mm"):
        read_image(write_series(tmp_path / "missing", positions))
    uneven = straight()
    uneven[4] = (-30, 20, 108.1)
    assert "0.10 mm from even spacing" in read_image(write_series(tmp_path / "uneven", uneven)).notes[0]


def test_two_volumes_in_one_series_are_refused(tmp_path):
    with pytest.raises(ImageError, match="4 slices at a position of another slice"):
        read_image(write_series(tmp_path / "ct", straight(4) * 2))


def test_gantry_tilt_gives_the_sheared_affine_of_the_slice_positions(tmp_path):
    tilted = [(-30, 20 + 2 * np.tan(np.radians(3)) * index, 100 + 2 * index) for index in range(8)]
    image = read_image(write_series(tmp_path / "ct", tilted))
    assert image.geometry.shear_degrees == pytest.approx(3, abs=1e-3)
    np.testing.assert_allclose(image.geometry.matrix @ [0, 0, 7, 1], [30, -tilted[7][1], 114, 1], atol=1e-5)
    assert "sheared by 3.00 degrees" in image.notes[0]


def test_a_single_slice_and_a_single_file_are_refused(tmp_path):
    folder = write_series(tmp_path / "ct", straight(1))
    with pytest.raises(ImageError, match="one single slice"):
        read_image(folder)
    file = (folder / "0_1.2.3.4.dcm").rename(folder / "slice")
    with pytest.raises(ImageError, match="Give the folder that holds"):
        read_image(file)


@pytest.mark.parametrize("lost", [1, 100, 700])
@pytest.mark.parametrize("name", ["5_1.2.3.4.dcm", "0_1.2.3.4.dcm"])
def test_a_truncated_slice_is_refused_and_named_even_at_the_end_of_the_series(tmp_path, name, lost):
    folder = write_series(tmp_path / "ct", straight())
    path = folder / name
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ImageError, match=f"{name}: (truncated|its pixels cannot be read)"):
        read_image(folder)


@pytest.mark.parametrize("value", ["nan", "1e308", "-inf", "0x10"])
def test_a_position_that_is_no_number_is_refused_and_named(tmp_path, value):
    folder = write_series(tmp_path / "ct", straight())
    path = folder / "5_1.2.3.4.dcm"
    content = path.read_bytes()
    written = re.search(rb"-30(\.0+)?\\20(\.0+)?\\[\d.]+", content).group()
    path.write_bytes(content.replace(written, f"{value}\\0\\0".encode().ljust(len(written))))
    with pytest.raises(
        ImageError, match="5_1.2.3.4.dcm: damaged DICOM header, ImagePositionPatient .*expected 3 finite"
    ):
        read_image(folder)


@pytest.mark.slow
def test_a_real_series_equals_simpleitk_and_its_own_segmentation_grid(shared_data, tmp_path):
    source = shared_data / "data" / "dicom_example"
    files = sorted(source.iterdir())[:4]
    for file in files:
        shutil.copy(file, tmp_path / file.name)
    image = read_image(tmp_path)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(names)))
    assert image.geometry.spacing_mm == pytest.approx((2, 0.9765625, 0.9765625))
    whole = read_image(source)
    segmentation = nibabel.load(shared_data / "data" / "dicom_example_seg.nii.gz")
    corners = [whole.geometry.matrix @ [*corner, 1] for corner in [(0, 0, 0), (511, 511, 19)]]
    expected = [segmentation.affine @ [*corner, 1] for corner in [(0, 0, 0), (511, 511, 19)]]
    np.testing.assert_allclose(np.sort(np.stack(corners), axis=0), np.sort(np.stack(expected), axis=0), atol=1e-3)
