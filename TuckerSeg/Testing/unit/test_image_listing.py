"""Which images a folder holds, and what their results may be called."""

from __future__ import annotations

import zipfile

import pytest

from TuckerSegLib import image
from TuckerSegLib.errors import ImageError

SLICE = bytes(128) + b"DICM" + bytes(40)


@pytest.fixture
def write(tmp_path):
    def write(name, content=b"content"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def names_in(folder):
    return [path.name for path in image.images_in(folder)]


def test_images_are_listed_in_order_and_nothing_else(tmp_path, write):
    for name in ("b.nii.gz", "a.NRRD", "c.mha", "pair.hdr", "pair.img", "alone.img"):
        write(name)
    for name in (".hidden.nii.gz", "a.seg.nrrd", "notes.txt", "c.raw", "labels/liver.nii.gz"):
        write(name)
    assert names_in(tmp_path) == ["a.NRRD", "alone.img", "b.nii.gz", "c.mha", "pair.hdr"]


def test_folders_and_zips_of_slices_are_an_image_each(tmp_path, write):
    write("patient 1/series/0001", SLICE)
    write("patient 2/0001.dcm", SLICE)
    write("patient 4/0001.img", SLICE)  # as some scanners call them
    write("no slices/readme", b"")
    write("a network/checkpoint.pth", b"PK\3\4" + bytes(200))
    write("table.xlsx", b"PK\3\4" + bytes(200))
    with zipfile.ZipFile(tmp_path / "patient 3.zip", "w") as archive:
        archive.writestr("0001.dcm", SLICE)
    images = image.images_in(tmp_path)
    assert [path.name for path in images] == ["patient 1", "patient 2", "patient 3.zip", "patient 4"]
    assert image.image_names(images) == ["patient 1", "patient 2", "patient 3", "patient 4"]


def test_a_folder_of_slices_is_one_image(tmp_path, write):
    write("0001.dcm", SLICE)
    write("0002.dcm", SLICE)
    assert image.images_in(tmp_path) == [tmp_path]


def test_no_two_images_have_the_same_name(tmp_path, write):
    for name in ("ct.nii.gz", "CT.nrrd", "other.nii"):
        write(name)
    assert sorted(image.image_names(image.images_in(tmp_path))) == ["CT.nrrd", "ct.nii.gz", "other"]


def test_a_folder_without_images_is_told(tmp_path, write):
    write("notes.txt")
    with pytest.raises(ImageError, match="holds no image. Expected .nii.gz"):
        image.images_in(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        image.images_in(tmp_path / "elsewhere")
