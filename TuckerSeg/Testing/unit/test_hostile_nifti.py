"""NIfTI headers that are damaged or lie: what nibabel and ITK agree on, or one clear refusal."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from Testing.unit.damaged_images import by_itk
from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image, sizes, stored

VOXELS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)  # Z, Y, X
QFORM = {"qform_code": 1, "quatern_b": 0.1, "quatern_c": -0.2, "quatern_d": 0.3, "qoffset_x": -10, "qoffset_y": 20}
FLIPPED = {"srow_x": [-0.8, 0, 0, 40], "srow_y": [0, 0.9, 0, -30], "srow_z": [0, 0, -2.5, 100]}
SAME_QFORM = {"quatern_c": 1, "qoffset_x": 40, "qoffset_y": -30, "qoffset_z": 100}
VERSIONS = [nibabel.Nifti1Header, nibabel.Nifti2Header]


def header_with(kind=nibabel.Nifti1Header, order="<", **fields) -> nibabel.Nifti1Header:
    """A good header of ``VOXELS`` without form codes; a value may be {index: number}."""
    header = kind(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape(VOXELS.shape[::-1])
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    header["pixdim"][:4] = 1, 0.8, 0.9, 2.5
    header["scl_slope"], header["scl_inter"], header["xyzt_units"] = 1, 0, 2
    for name, value in fields.items():
        for index, number in value.items() if isinstance(value, dict) else [((), value)]:
            header[name][index] = number
    return header


def written(path: Path, header, voxels: bytes | None = None) -> Path:
    voxels = VOXELS.astype(VOXELS.dtype.newbyteorder(header.endianness)).tobytes() if voxels is None else voxels
    content = header.binaryblock + bytes(4) + voxels
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    nibabel.imageglobals.logger.setLevel(100)
    image = nibabel.load(path)
    return np.asarray(image.dataobj).T, image.affine


def assert_same(path: Path, expected: tuple[np.ndarray, np.ndarray]) -> None:
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], expected[0])
    np.testing.assert_allclose(image.geometry.matrix, expected[1], atol=1e-4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", VERSIONS)
@pytest.mark.parametrize("sform, qform", itertools.product(range(3), range(3)))
def test_every_pair_of_form_codes_is_read_as_nibabel_and_itk_do(tmp_path, kind, order, sform, qform):
    header = header_with(kind, order, sform_code=sform, qform_code=qform, **FLIPPED, **SAME_QFORM)
    path = written(tmp_path / "ct.nii", header)
    assert_same(path, by_nibabel(path))
    if sform or qform:
        assert read_image(path).notes == ()
        if kind is nibabel.Nifti1Header:  # ITK reads no other
            assert_same(path, by_itk(path))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_turned_grid_is_read_as_nibabel_and_itk_do(tmp_path, sign):
    path = written(tmp_path / "ct.nii", header_with(pixdim={0: sign}, **QFORM))
    assert_same(path, by_nibabel(path))
    assert_same(path, by_itk(path))


READ_ALIKE = {
    "qfac 0": {"pixdim": {0: 0}, **QFORM},
    "qfac 0.5": {"pixdim": {0: 0.5}, **QFORM},
    "qfac NaN": {"pixdim": {0: np.nan}, **QFORM},
    "bits of another type": {"bitpix": 8, **QFORM},
    "sform code -1": {"sform_code": -1, **FLIPPED, **QFORM},
    "sform code 99": {"sform_code": 99, **FLIPPED, **QFORM},
    "slope infinite": {"scl_slope": np.inf, "scl_inter": 0, **QFORM},
}


@pytest.mark.parametrize("name", READ_ALIKE)
def test_damage_that_nibabel_and_itk_read_alike_is_read_so_and_noted(tmp_path, name):
    path = written(tmp_path / "ct.nii", header_with(**READ_ALIKE[name]))
    assert_same(path, by_nibabel(path))
    assert_same(path, by_itk(path))
    assert len(read_image(path).notes) == 1


@pytest.mark.parametrize("slope, intercept", [(0, 0), (0, np.nan), (np.nan, np.nan), (2, -1024), (-1, 0), (0.5, 3)])
def test_scaling_is_that_of_nibabel_and_itk(tmp_path, slope, intercept):
    path = written(tmp_path / "ct.nii", header_with(scl_slope=slope, scl_inter=intercept, **QFORM))
    assert_same(path, by_nibabel(path))
    assert_same(path, by_itk(path))
    assert read_image(path).notes == ()


@pytest.mark.parametrize("slope", [0, np.nan, np.inf])
def test_an_intercept_without_a_slope_does_not_count_and_is_noted(tmp_path, slope):
    path = written(tmp_path / "ct.nii", header_with(scl_slope=slope, scl_inter=-1024, **QFORM))
    assert_same(path, by_nibabel(path))
    assert "scl_inter -1024" in read_image(path).notes[0]


@pytest.mark.parametrize("unit, factor", [(1, 1e-3), (3, 1e3)])
def test_meters_and_micrometers_become_millimeters_as_in_itk(tmp_path, unit, factor):
    pixdim = {1: 0.8 * factor, 2: 0.9 * factor, 3: 2.5 * factor}
    fields = {**QFORM, "qoffset_x": -10 * factor, "qoffset_y": 20 * factor, "xyzt_units": unit + 8}
    path = written(tmp_path / "ct.nii", header_with(pixdim=pixdim, **fields))
    assert_same(path, by_itk(path))
    np.testing.assert_allclose(read_image(path).geometry.spacing_mm, (2.5, 0.9, 0.8), rtol=1e-6)
    assert "converted to 0.8 x 0.9 x 2.5 mm" in read_image(path).notes[0]


@pytest.mark.parametrize("unit", [1, 3])
def test_units_that_cannot_be_are_not_believed_and_that_is_noted(tmp_path, unit):
    image = read_image(written(tmp_path / "ct.nii", header_with(xyzt_units=unit, **QFORM)))
    np.testing.assert_allclose(image.geometry.spacing_mm, (2.5, 0.9, 0.8), rtol=1e-6)
    assert "taken as mm" in image.notes[0]


@pytest.mark.parametrize("fields", [{"pixdim": {1: 1.5}}, {"pixdim": {3: np.nan}}, {"pixdim": {2: -0.9}}])
def test_a_spacing_that_is_not_the_sforms_is_noted(tmp_path, fields):
    path = written(tmp_path / "ct.nii", header_with(sform_code=1, **FLIPPED, **fields))
    assert_same(path, by_nibabel(path))
    assert "(pixdim) and of 0.8 x 0.9 x 2.5 mm (sform)" in read_image(path).notes[0]


def test_a_qform_that_is_not_the_sform_is_noted(tmp_path):
    path = written(tmp_path / "ct.nii", header_with(sform_code=1, **FLIPPED, **QFORM))
    assert_same(path, by_nibabel(path))
    assert "different places" in read_image(path).notes[0]


HUGE = 32767
REFUSED = [
    # Where a single file has its voxels
    *(({"vox_offset": value}, "vox_offset: expected a whole number of bytes, 352 or more, found") for value in
      (0, 1, 347, 348, -1, -352, np.nan, np.inf, -np.inf, 352.5)),
    ({"vox_offset": 1e9}, "truncated"),
    ({"vox_offset": 1e30}, "truncated"),
    # Spacing and position, where no sform says them
    *(({"pixdim": {axis: value}, "qform_code": code}, rf"pixdim\[{axis}\]: expected a positive spacing in mm, found")
      for code in (0, 1) for axis in (1, 3) for value in (0, -0.8, np.nan, np.inf)),
    ({"pixdim": {1: 1e-30}}, "cannot be a patient's scan"),
    ({"pixdim": {1: 1e30}}, "1.5e.30"),
    ({"qform_code": 1, "pixdim": {0: -2}}, r"pixdim\[0\] \(qfac\): expected 1 or -1, found '-2'"),
    ({"qform_code": 1, "quatern_b": np.nan}, "quatern_b: expected no NaN"),
    ({"qform_code": 1, "quatern_c": np.inf}, "quatern_c: expected no NaN"),
    ({"qform_code": 1, "quatern_b": 0.6, "quatern_c": 0.6, "quatern_d": 0.6}, "squares with a sum of 1 at most"),
    ({"qform_code": 1, "qoffset_z": np.nan}, "qoffset_z: expected no NaN"),
    ({"qform_code": 1, "qoffset_x": 1e30}, "first voxel lies at 1e.30"),
    ({"qform_code": 99}, "qform_code: expected 0 to 5, found '99'"),
    ({"qform_code": -1}, "qform_code: expected 0 to 5, found '-1'"),
    ({"sform_code": 1, **FLIPPED, "srow_y": [0, np.nan, 0, 0]}, "srow_y: expected no NaN"),
    ({"sform_code": 1, **FLIPPED, "srow_y": [0, 1, 0, np.inf]}, "srow_y: expected no NaN"),
    ({"sform_code": 1, **FLIPPED, "srow_y": [0, 0, 0, 0]}, "voxels without a volume"),
    ({"sform_code": 1, **FLIPPED, "srow_x": [1e30, 0, 0, 0]}, "cannot be a patient's scan"),
    ({"sform_code": 1, **FLIPPED, "srow_x": [1, 0, 0, 1e30]}, "first voxel lies at 1e.30"),
    # Values
    *(({"scl_slope": 1, "scl_inter": value}, "scl_inter: expected") for value in (np.nan, np.inf, 1e30)),
    *(({"scl_slope": value}, "scl_slope: expected") for value in (1e-40, 1e30, -1e30)),
    *(({"datatype": code}, "datatype: expected the code of a voxel type") for code in (0, 1, 255, 9999, -4, 1536)),
    *(({"datatype": code}, "colors|complex") for code in (32, 128, 1792, 2048, 2304)),
    ({"datatype": 64, "bitpix": 64}, "truncated"),
    # Sizes
    *(({"dim": {0: count}}, "3 to 7 dimensions|with 3 dimensions") for count in (0, 1, 2, 8, -1, HUGE)),
    ({"dim": {3: -6}}, "dim: expected no negative number"),
    ({"dim": {1: -4, 3: -6}}, "dim: expected no negative number"),
    ({"dim": {3: 0}}, "empty"),
    ({"dim": {0: 4, 4: 0}}, "empty"),
    ({"dim": {3: 7}}, "truncated"),
    ({"dim": {1: HUGE, 2: HUGE, 3: HUGE}}, "truncated"),
    ({"dim": dict(enumerate([7] + [HUGE] * 7))}, "holds vectors"),
    ({"dim": {0: 4, 4: HUGE}}, "32767 time points"),
    # What kind of file it is
    *(({"sizeof_hdr": size}, "not a NIfTI file") for size in (0, -1, 347)),
    *(({"magic": magic}, "not a single-file NIfTI-1; its magic should be") for magic in (b"ni1", b"", b"n+2", b"n+1x")),
]  # fmt: skip


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("fields, text", REFUSED, ids=[str(fields) for fields, _ in REFUSED])
def test_a_field_that_cannot_be_is_refused_by_name(tmp_path, fields, text, extension):
    path = written(tmp_path / f"ct{extension}", header_with(**fields))
    with pytest.raises(ImageError, match=text) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))


def test_sizes_of_nifti_2_that_no_memory_holds_are_refused_before_they_are_tried(tmp_path):
    header = header_with(nibabel.Nifti2Header, dim={1: 1 << 40, 2: 1 << 40, 3: 1 << 40}, qform_code=1)
    for name in ("ct.nii", "ct.nii.gz"):
        with pytest.raises(ImageError, match="truncated"):
            read_image(written(tmp_path / name, header))


def test_text_transfer_that_changed_ends_of_lines_is_seen_in_nifti_2(tmp_path):
    path = written(tmp_path / "ct.nii", header_with(nibabel.Nifti2Header, eol_check=[10, 26, 10, 0]))
    with pytest.raises(ImageError, match="eol_check"):
        read_image(path)


def test_a_small_compressed_file_that_promises_much_takes_no_memory(tmp_path):
    path = written(tmp_path / "ct.nii.gz", header_with(dim={1: 2000, 2: 2000, 3: 2000}), bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="truncated; its header promises 16000000352 bytes"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_an_image_larger_than_the_memory_is_refused_with_both_sizes(tmp_path, monkeypatch, extension):
    path = written(tmp_path / f"ct{extension}", header_with(dim={1: 100, 2: 100, 3: 50}), bytes(1_000_000))
    read_image(path)
    monkeypatch.setattr(sizes, "system_memory_bytes", lambda: (2_000_000, 900_000))
    with pytest.raises(ImageError, match=r"100x100x50 voxels of int16, .* need 0.0 GB .* this computer has 0.0 GB"):
        read_image(path)
    monkeypatch.setattr(sizes, "system_memory_bytes", lambda: (2_000_000, None))
    read_image(path)
    monkeypatch.setattr(sizes, "system_memory_bytes", lambda: (None, None))
    read_image(path)


def test_a_stream_that_unpacks_into_far_more_than_its_header_says_is_not_read_to_its_end(tmp_path, monkeypatch):
    path = written(tmp_path / "ct.nii.gz", header_with(**QFORM), VOXELS.tobytes() + bytes(64 << 20))
    assert path.stat().st_size < 100_000
    read, inflated = [], stored.inflated

    def counted(*arguments):
        for piece in inflated(*arguments):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(stored, "inflated", counted)
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], VOXELS)
    assert image.notes == ("The file holds more data than its header says; what follows was not read.",)
    assert sum(read) < 16 << 20


def test_data_after_the_voxels_are_noted(tmp_path):
    image = read_image(written(tmp_path / "ct.nii", header_with(**QFORM), VOXELS.tobytes() + b"more"))
    np.testing.assert_array_equal(image.array[0], VOXELS)
    assert "more data than its header says" in image.notes[0]


def test_many_empty_gzip_members_are_read_in_little_pieces(tmp_path):
    path = tmp_path / "ct.nii.gz"
    content = header_with(**QFORM).binaryblock + bytes(4) + VOXELS.tobytes()
    path.write_bytes(gzip.compress(content[:100]) + gzip.compress(b"") * 5000 + gzip.compress(content[100:]))
    np.testing.assert_array_equal(read_image(path).array[0], VOXELS)


def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path):
    (tmp_path / "ct.nii").symlink_to("/dev/null")
    with pytest.raises(ImageError, match="neither a plain file nor a folder"):
        read_image(tmp_path / "ct.nii")
