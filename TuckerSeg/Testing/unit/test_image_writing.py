"""Label files: round trips through other programs' readers, and failures that leave nothing behind."""

import errno
import os

import nibabel
import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import OutputError
from TuckerSegLib.image import Geometry, Segment, check_output, check_space, read_image, write_labels, writing

ROTATION = nibabel.eulerangles.euler2mat(0.2, 0.1, -0.3)
AFFINE = nibabel.affines.from_matvec(ROTATION @ np.diag([-0.8, 1.0, 2.5]), [40, -30, 100])
SEGMENTS = (
    Segment(1, "spleen", (0.6, 0.4, 0.2)),
    Segment(5, "liver", (0.8, 0.5, 0.3)),
    Segment(9, "kidney left", (1, 0, 0)),
)
EXTENSIONS = [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"]


def labels(dtype=np.uint8):
    array = np.zeros((7, 6, 5), dtype)
    array[2:5, 1:4, 2] = 5
    array[6, 5, 4] = 9
    return array


def geometry():
    return Geometry((7, 6, 5), AFFINE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_labels_come_back_the_same_and_in_the_same_place_from_simpleitk_and_from_us(tmp_path, extension, dtype):
    path = tmp_path / f"labels{extension}"
    write_labels(path, labels(dtype), geometry(), SEGMENTS, "made by a test")
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), labels(dtype))
    assert SimpleITK.GetArrayFromImage(image).dtype == dtype
    for index in [(0, 0, 0), (4, 5, 6), (1, 3, 2)]:
        place = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose(place, (AFFINE @ [*index, 1])[:3], atol=1e-4)
    again = read_image(path)
    np.testing.assert_array_equal(again.array[0], labels(dtype))
    assert again.geometry.same_grid(geometry())
    assert [part.name for part in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_nifti_labels_carry_both_forms_and_are_read_by_nibabel(tmp_path, extension):
    write_labels(tmp_path / f"labels{extension}", labels(), geometry(), SEGMENTS, "x" * 200)
    image = nibabel.load(tmp_path / f"labels{extension}")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, labels())
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-4)
    assert image.header.get_intent()[0] == "label" and int(image.header["sform_code"]) == 1
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("extension", [".mha", ".nrrd"])  # of NIfTI see test_sheared_output.py
def test_a_sheared_grid_is_written_as_it_is(tmp_path, extension):
    sheared = AFFINE.copy()
    sheared[1, 2] += 0.15
    write_labels(tmp_path / f"labels{extension}", labels(), Geometry((7, 6, 5), sheared), SEGMENTS)
    np.testing.assert_allclose(read_image(tmp_path / f"labels{extension}").geometry.matrix, sheared, atol=1e-5)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_labels_in_any_memory_order_are_written_right(tmp_path, extension):
    view = np.asfortranarray(labels())[:, ::-1]
    write_labels(tmp_path / f"labels{extension}", view, geometry(), SEGMENTS)
    np.testing.assert_array_equal(read_image(tmp_path / f"labels{extension}").array[0], view)


def test_a_slicer_segmentation_names_and_colors_the_segments_that_occur(tmp_path):
    path = tmp_path / "labels.seg.nrrd"
    write_labels(path, labels(), geometry(), SEGMENTS, "made by a test")
    image = SimpleITK.ReadImage(str(path))
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert keys["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert keys["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert keys["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert [keys[f"Segment{index}_Name"] for index in (0, 1)] == ["liver", "kidney left"]
    assert [keys[f"Segment{index}_LabelValue"] for index in (0, 1)] == ["5", "9"]
    assert keys["Segment0_ID"] != keys["Segment1_ID"]
    assert keys["Segment0_Color"] == "0.8 0.5 0.3"
    assert keys["Segment0_Extent"] == keys["Segment1_Extent"] == "0 4 0 5 0 6"
    assert keys["Segment0_Layer"] == "0" and "Segment2_ID" not in keys


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_empty_labels_are_written_too(tmp_path, extension):
    write_labels(tmp_path / f"labels{extension}", np.zeros((7, 6, 5), np.uint8), geometry(), SEGMENTS)
    assert not read_image(tmp_path / f"labels{extension}").array.any()


class FullDisk:
    """A file on a disk that takes a few bytes and no more."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_full_disk_is_told_and_leaves_the_older_file_and_nothing_else(tmp_path, extension, monkeypatch):
    path = tmp_path / f"labels{extension}"
    path.write_text("older")
    real_open = writing.Path.open
    monkeypatch.setattr(writing.Path, "open", lambda self, *arguments: FullDisk(real_open(self, *arguments)))
    with pytest.raises(OutputError, match="disk is full"):
        write_labels(path, labels(), geometry(), SEGMENTS)
    monkeypatch.undo()
    assert path.read_text() == "older"
    assert [part.name for part in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_):
        yield b"begin"
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_file_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_labels(tmp_path / "labels.nii.gz", labels(), geometry(), SEGMENTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["labels.png", "labels", "labels.dcm", ".nii.gz", "labels.mhd"])
def test_an_unknown_extension_is_refused_with_the_known_ones(tmp_path, name):
    for check in (check_output, lambda path: write_labels(path, labels(), geometry(), SEGMENTS)):
        with pytest.raises(OutputError, match=r"known: \.mha, \.nii, \.nii\.gz, \.nrrd, \.seg\.nrrd"):
            check(tmp_path / name)


def test_a_missing_folder_and_a_folder_as_target_are_refused(tmp_path):
    (tmp_path / "folder.nii.gz").mkdir()
    for check in (check_output, lambda path: write_labels(path, labels(), geometry(), SEGMENTS)):
        with pytest.raises(OutputError, match="does not exist"):
            check(tmp_path / "missing" / "labels.nii.gz")
        with pytest.raises(OutputError, match="is a folder"):
            check(tmp_path / "folder.nii.gz")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_refused_before_and_during_writing(tmp_path, monkeypatch, number):
    def denied(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing.tempfile, "TemporaryFile", denied)
    monkeypatch.setattr(writing.Path, "open", denied)
    for check in (check_output, lambda path: write_labels(path, labels(), geometry(), SEGMENTS)):
        with pytest.raises(OutputError, match="cannot be written to"):
            check(tmp_path / "labels.nii.gz")


def test_checking_an_output_leaves_nothing_behind(tmp_path):
    check_output(tmp_path / "labels.seg.nrrd")
    check_space(tmp_path / "labels.seg.nrrd", geometry())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="MB are free"):
        check_space(tmp_path / "labels.nii", Geometry((10**6, 10**6, 10**6), np.eye(4)))


def test_labels_of_another_type_or_shape_are_refused(tmp_path):
    for wrong in (labels(np.int64), labels()[1:]):
        with pytest.raises(OutputError, match="uint8 or uint16 on the grid"):
            write_labels(tmp_path / "labels.nii.gz", wrong, geometry(), SEGMENTS)
