"""Reading NIfTI, NRRD and MetaImage, against nibabel and SimpleITK."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image

AFFINE = np.array([[-0.8, 0.1, 0, 40], [0.08, 0.99, 0.2, -30], [0, -0.1, 2.4, 100], [0, 0, 0, 1]], float)
EXTENSIONS = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"]


def orthogonal_affine():
    rotation = nibabel.eulerangles.euler2mat(0.2, 0.1, -0.3)
    return nibabel.affines.from_matvec(rotation @ np.diag([-0.8, 1.0, 2.5]), [40, -30, 100])


def values(shape=(6, 5, 4), dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def itk_image(array, affine):
    image = SimpleITK.GetImageFromArray(array)
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_format_gives_the_same_voxels_in_the_same_place(tmp_path, extension, compress):
    array, affine = values(), orthogonal_affine()
    path = tmp_path / f"ct{extension}"
    SimpleITK.WriteImage(itk_image(array, affine), str(path), useCompression=compress)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, array[None])
    assert image.array.dtype == np.int16
    np.testing.assert_allclose(image.geometry.matrix, affine, atol=1e-4)
    assert image.source == str(path) and image.notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_every_voxel_type_keeps_its_values_in_a_small_type(tmp_path, extension, dtype):
    array = np.abs(values()).astype(dtype) // 6
    SimpleITK.WriteImage(itk_image(array, orthogonal_affine()), str(tmp_path / f"ct{extension}"))
    image = read_image(tmp_path / f"ct{extension}")
    np.testing.assert_array_equal(image.array[0], array)
    assert image.array.dtype.itemsize <= 2 or np.dtype(dtype).kind == "f" and image.array.dtype == np.float32


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_of_either_version_and_byte_order_is_read_with_its_sheared_affine(tmp_path, kind, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    nibabel.save(kind(values().T, AFFINE, header), tmp_path / "ct.nii.gz")
    image = read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(image.array[0], values())
    np.testing.assert_allclose(image.geometry.matrix, AFFINE, atol=1e-5)
    assert image.array.dtype == np.int16 and image.array.dtype.isnative
    assert image.geometry.shear_degrees > 0.5 and "sheared" in image.notes[0]


@pytest.mark.parametrize("slope, intercept, dtype", [(1, -1024, np.int16), (2, 0.5, np.float32), (40, 0, np.int32)])
def test_scaling_of_a_nifti_file_is_applied_and_whole_numbers_stay_whole(tmp_path, slope, intercept, dtype):
    nifti = nibabel.Nifti1Image(values().T, orthogonal_affine())
    nifti.header.set_slope_inter(slope, intercept)
    nibabel.save(nifti, tmp_path / "ct.nii.gz")
    # nibabel stores what it is given as scaled values; put the raw ones back
    raw = bytearray(gzip.decompress((tmp_path / "ct.nii.gz").read_bytes()))
    raw[352:] = values().tobytes()
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    image = read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(image.array[0], np.asarray(nibabel.load(tmp_path / "ct.nii.gz").dataobj).T)
    assert image.array.dtype == dtype


def test_sform_wins_over_qform_and_a_missing_orientation_is_noted(tmp_path):
    nifti = nibabel.Nifti1Image(values().T, AFFINE)
    nifti.set_qform(orthogonal_affine(), 1)
    nifti.set_sform(AFFINE, 1)
    nibabel.save(nifti, tmp_path / "both.nii")
    np.testing.assert_allclose(read_image(tmp_path / "both.nii").geometry.matrix, AFFINE, atol=1e-5)
    nifti.set_sform(AFFINE, 0)
    nibabel.save(nifti, tmp_path / "qform.nii")
    np.testing.assert_allclose(read_image(tmp_path / "qform.nii").geometry.matrix, orthogonal_affine(), atol=1e-4)
    nifti.set_qform(AFFINE, 0)
    nibabel.save(nifti, tmp_path / "none.nii")
    image = read_image(tmp_path / "none.nii")
    np.testing.assert_allclose(image.geometry.matrix, nibabel.load(tmp_path / "none.nii").affine)
    assert "stores no orientation" in image.notes[0]


def test_gzip_members_one_after_the_other_and_padding_are_read_to_the_end(tmp_path):
    nibabel.save(nibabel.Nifti1Image(values().T, AFFINE), tmp_path / "ct.nii")
    raw = (tmp_path / "ct.nii").read_bytes()
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(raw[:401]) + gzip.compress(raw[401:]) + bytes(100))
    np.testing.assert_array_equal(read_image(tmp_path / "ct.nii.gz").array[0], values())


def test_a_sheared_nrrd_in_right_anterior_superior_is_read_as_written(tmp_path):
    columns = " ".join(f"({','.join(str(number) for number in column)})" for column in AFFINE[:3, :3].T)
    header = (
        "NRRD0005\n# comment: with colon\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 4 5 6\n"
        f"space directions: {columns}\nendian: big\nencoding: raw\nspace origin: (40,-30,100)\nkey:=value\n\n"
    )
    (tmp_path / "ct.nrrd").write_bytes(header.encode() + values().astype(">i2").tobytes())
    image = read_image(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(image.array[0], values())
    np.testing.assert_allclose(image.geometry.matrix, AFFINE)


def test_one_time_point_of_a_4d_file_is_read_and_must_be_chosen_among_several(tmp_path):
    array = values((3, 6, 5, 4))
    nibabel.save(nibabel.Nifti1Image(array.T, orthogonal_affine()), tmp_path / "four.nii.gz")
    nibabel.save(nibabel.Nifti1Image(array[:1].T, orthogonal_affine()), tmp_path / "single.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "single.nii.gz").array, array[:1])
    chosen = read_image(tmp_path / "four.nii.gz", timepoint=1)
    np.testing.assert_array_equal(chosen.array, array[1:2])
    assert chosen.notes == ("Time point 1 of 3 (0 to 2) was read.",)
    with pytest.raises(ImageError, match="3 time points.*Choose one of 0 to 2"):
        read_image(tmp_path / "four.nii.gz")
    with pytest.raises(ImageError, match="no time point 3; it holds 0 to 2"):
        read_image(tmp_path / "four.nii.gz", timepoint=3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(tmp_path / "four.mha"))
    np.testing.assert_array_equal(read_image(tmp_path / "four.mha", timepoint=2).array, array[2:])


def test_several_files_become_channels_and_must_share_a_grid(tmp_path):
    for name, affine in (("a", orthogonal_affine()), ("b", orthogonal_affine()), ("c", AFFINE)):
        nibabel.save(nibabel.Nifti1Image(values().T, affine), tmp_path / f"{name}.nii.gz")
    image = read_image([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])
    assert image.array.shape == (2, 6, 5, 4)
    with pytest.raises(ImageError, match=r"c\.nii\.gz: not on the grid of .*a\.nii\.gz"):
        read_image([tmp_path / "a.nii.gz", tmp_path / "c.nii.gz"])


def test_a_real_ct_is_the_same_from_nifti_nrrd_and_metaimage(shared_data, tmp_path):
    source = shared_data / "data" / "example_ct.nii.gz"
    image = read_image(source)
    assert image.geometry.shape == (112, 101, 122) and image.array.dtype == np.int16
    assert image.geometry.spacing_mm == pytest.approx((3, 3, 3)) and image.notes == ()
    expected = nibabel.load(source)
    np.testing.assert_array_equal(image.array[0], np.asarray(expected.dataobj).T)
    np.testing.assert_allclose(image.geometry.matrix, expected.affine)
    for extension in (".nrrd", ".mha"):
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)), str(tmp_path / f"ct{extension}"), True)
        other = read_image(tmp_path / f"ct{extension}")
        np.testing.assert_array_equal(other.array, image.array)
        assert other.geometry.same_grid(image.geometry)


@pytest.mark.parametrize("names", ["a.hdr a.img", "A.HDR A.IMG", "a.hdr.gz a.img.gz", "a.hdr a.img.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_of_nifti_files_is_read_by_either_name(tmp_path, names, kind):
    array = np.random.default_rng(0).integers(-1000, 1500, (6, 5, 4)).astype(np.int16)
    affine = np.array([[-0.7, 0, 0, 30], [0, 0.9, 0, -20], [0, 0, 2, 100], [0, 0, 0, 1]])
    nibabel.save(kind(array.T, affine), tmp_path / "plain.hdr")
    for name in names.split():
        content = (tmp_path / f"plain.{name.lower().split('.')[1]}").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (tmp_path / "ab.img").write_bytes(b"another one")
    for name in names.split():
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.array[0], array)
        np.testing.assert_allclose(image.geometry.matrix, affine, atol=1e-6)


def test_a_pair_that_simpleitk_wrote_is_placed_as_simpleitk_places_it(tmp_path):
    written = SimpleITK.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32))
    written.SetSpacing((0.7, 0.9, 2))
    written.SetOrigin((-1, 2, 3))
    SimpleITK.WriteImage(written, str(tmp_path / "a.hdr"))
    image = read_image(tmp_path / "a.hdr")
    np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(written))
    place = (image.geometry.matrix @ [3, 4, 5, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(place, written.TransformContinuousIndexToPhysicalPoint((3, 4, 5)), atol=1e-5)


def test_pairs_that_are_not_whole_or_tell_no_orientation_are_refused(tmp_path):
    image = nibabel.Nifti1Pair(np.zeros((6, 5, 4), np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:-2])
    with pytest.raises(ImageError, match="a.hdr: truncated; its header promises 240 bytes"):
        read_image(tmp_path / "a.img")
    (tmp_path / "a.img").unlink()
    with pytest.raises(ImageError, match="a.hdr: one of two files, and a.img is not beside it"):
        read_image(tmp_path / "a.hdr")
    nibabel.save(nibabel.AnalyzeImage(np.zeros((6, 5, 4), np.int16), np.eye(4)), tmp_path / "b.hdr")
    with pytest.raises(ImageError, match="b.hdr: an Analyze 7.5 header, which does not tell left from right"):
        read_image(tmp_path / "b.img")
