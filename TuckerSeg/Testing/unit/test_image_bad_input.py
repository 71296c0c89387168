"""Every kind of bad image ends in one clear error, or in a note; never in a wrong result."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import is_constant, read_image


def ct(shape=(12, 11, 10)):
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(np.int16)


def write(path, array=None, affine=None):
    array = ct() if array is None else array
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1, 1, 2, 1]) if affine is None else affine), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=False)
    return path


def refused(path, text):
    with pytest.raises(ImageError, match=text) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("lost", [1, 9, 600])
@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_truncated_file_is_refused(tmp_path, extension, lost, compress):
    path = tmp_path / f"ct{extension}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ct()), str(path), useCompression=compress)
    read_image(path)
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path, "truncated")


def test_a_whole_gzip_stream_that_holds_too_little_is_refused(tmp_path):
    path = write(tmp_path / "ct.nii")
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(path.read_bytes()[:-2]))
    refused(tmp_path / "ct.nii.gz", "promises 2992 bytes of data, and 2990 are there")


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_a_damaged_compressed_stream_is_refused(tmp_path, extension):
    path = tmp_path / f"ct{extension}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ct()), str(path), useCompression=True)
    data = bytearray(path.read_bytes())
    data[-6] ^= 0x10  # inside the checksum: ITK reads on
    path.write_bytes(data)
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.txt", "a"])
@pytest.mark.parametrize("content", [b"", b"hello, this is no image\n" * 40, gzip.compress(b"hello" * 200, mtime=0)])
def test_what_is_not_an_image_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "not an? ")


def test_a_missing_file_an_empty_folder_and_no_path_are_refused(tmp_path):
    refused(tmp_path / "nothing.nii.gz", "no such file")
    refused(tmp_path, "no DICOM images")
    with pytest.raises(ImageError, match="No image was given"):
        read_image([])


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_colors_and_vectors_are_refused(tmp_path, extension):
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / f"rgb{extension}"))
    refused(tmp_path / f"rgb{extension}", "RGB|vectors")


def test_nifti_colors_and_complex_numbers_are_refused(tmp_path):
    rgb = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    refused(tmp_path / "rgb.nii", "RGB")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.complex64), np.eye(4)), tmp_path / "complex.nii")
    refused(tmp_path / "complex.nii", "complex64")


@pytest.mark.parametrize("shape, text", [((0, 5, 6), "empty"), ((1, 1, 1), "not a volume"), ((1, 50, 60), "not a vol")])
def test_empty_and_one_voxel_volumes_are_refused(tmp_path, shape, text):
    refused(write(tmp_path / "ct.nii", np.zeros(shape, np.int16)), text)


@pytest.mark.parametrize("extension, shape", [(".nii.gz", (20, 30)), (".nrrd", (20, 30)), (".mha", (20, 30))])
def test_two_dimensional_images_are_refused(tmp_path, extension, shape):
    refused(write(tmp_path / f"ct{extension}", ct(shape)), "a volume with 3")


@pytest.mark.parametrize("pixdim", [0, -1.5, np.nan, np.inf])
def test_zero_negative_and_nan_spacing_in_nifti_are_refused(tmp_path, pixdim):
    path = write(tmp_path / "ct.nii")
    data = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    header["sform_code"], header["qform_code"] = 0, 1
    header["pixdim"][2] = pixdim
    path.write_bytes(header.binaryblock + data[348:])
    refused(path, r"pixdim\[2\]: expected a positive spacing in mm")


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1]), np.ones((4, 4))])
def test_singular_and_nan_affines_are_refused(tmp_path, affine):
    path = write(tmp_path / "ct.nii")
    data = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    path.write_bytes(header.binaryblock + data[348:])
    refused(path, "voxels without a volume|NaN or infinite")


@pytest.mark.parametrize("spacing", ["0", "-1", "nan"])
@pytest.mark.parametrize("extension, line", [(".mha", "ElementSpacing = {} 1 1"), (".nrrd", "spacings: {} 1 1")])
def test_zero_negative_and_nan_spacing_in_nrrd_and_metaimage_are_refused(tmp_path, extension, line, spacing):
    path = write(tmp_path / f"ct{extension}")
    text, voxels = path.read_bytes()[: -ct().nbytes].decode(), ct().tobytes()
    known = ("ElementSpacing", "space directions")
    text = "\n".join(line.format(spacing) if row.startswith(known) else row for row in text.split("\n"))
    path.write_bytes(text.encode() + voxels)
    refused(path, "pacings?: expected 3 positive numbers, found")


@pytest.mark.parametrize("spacing", [0.0008, 1500])
def test_absurd_spacing_is_refused_and_unusual_spacing_noted(tmp_path, spacing):
    refused(write(tmp_path / "ct.nii", affine=np.diag([spacing, 1, 1, 1])), "cannot be a patient's scan")
    unusual = np.clip(spacing, 0.05, 30)
    image = read_image(write(tmp_path / "unusual.nii", affine=np.diag([unusual, 1, 1, 1])))
    assert "unusual" in image.notes[0]


def test_strong_shear_is_refused_with_advice_and_little_shear_noted(tmp_path):
    affine = np.diag([1.0, 1, 2, 1])
    affine[1, 2] = 2 * np.tan(np.radians(12))
    refused(write(tmp_path / "ct.nii", affine=affine), "sheared by 12.0 degrees.*Resample it to an orthogonal grid")
    affine[1, 2] = 2 * np.tan(np.radians(2))
    assert "sheared by 2.00 degrees" in read_image(write(tmp_path / "little.nii", affine=affine)).notes[0]


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_nan_and_infinite_voxels_become_the_smallest_value_and_are_counted(tmp_path, extension):
    array = ct().astype(np.float32)
    array[3, 4, :3] = np.nan, np.inf, -np.inf
    image = read_image(write(tmp_path / f"ct{extension}", array))
    expected = np.where(np.isfinite(array), array, array[np.isfinite(array)].min())
    np.testing.assert_array_equal(image.array[0], expected)
    assert image.notes[-1].startswith("3 of 1320 voxels were NaN or infinite")
    refused(write(tmp_path / f"all{extension}", np.full((4, 4, 4), np.nan, np.float32)), "no voxel holds a finite")


def test_a_constant_volume_is_seen(tmp_path):
    array = np.full((40, 6, 7), 40, np.int16)
    assert is_constant(read_image(write(tmp_path / "ct.nii", array)).array[0])
    array[3, 3, 4] = 41  # a slab that a first look leaves out
    assert not is_constant(read_image(write(tmp_path / "other.nii", array)).array[0])


@pytest.mark.parametrize("extension, key", [(".mhd", "ElementDataFile"), (".nhdr", "data file")])
def test_a_header_whose_data_file_is_missing_is_refused(tmp_path, extension, key):
    path = write(tmp_path / f"ct{extension}")
    assert key in path.read_text()
    next(part for part in tmp_path.iterdir() if part != path).unlink()
    refused(path, "is not there")
