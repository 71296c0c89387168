"""DICOM on the command line: listing and choosing series, and labels on the grid that they were resampled to."""

from __future__ import annotations

import json
import zipfile

import nibabel
import numpy as np
import pytest

from Testing.unit.dicom_files import COLUMNS, multi_frame, places, save, save_series, stored_values
from TuckerSegLib.cache import Cache
from TuckerSegLib.cli import main
from TuckerSegLib.image import image_from_array, read_image
from TuckerSegLib.jobs.run import read_volume, run_job
from TuckerSegLib.models.loading import load_model
from TuckerSegLib.models.modality import modalities_of
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.models.task import single_task
from TuckerSegLib.records.job import InferenceSpec, Job
from TuckerSegLib.segmentation.segment import segment

OTHER = {"SeriesInstanceUID": "9.9.9", "SeriesNumber": 7, "SeriesDescription": "AC\x1b[2J"}


@pytest.fixture
def study(tmp_path):
    """A CT of 8 slices, and a PET of 20."""
    folder = save_series(tmp_path / "study", stored_values(), places(), ConvolutionKernel="B30f")
    return save_series(folder, stored_values(20, 1), places(20), "other", kind="PT", RescaleIntercept=0, **OTHER)


def model_of(folder, *channels):
    """The model with channels of these names."""
    document = json.loads((folder / "dataset.json").read_text())
    document["channel_names"] = {str(number): name for number, name in enumerate(channels)}
    (folder / "dataset.json").write_text(json.dumps(document))
    return str(folder)


def test_series_are_listed_with_what_tells_them_apart(study, capsys):
    assert main(["dicom", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["*", "4"], ["7", "PT"]]
    assert lines[1].split()[2:] == ["CT", "8", "10x12", "0.7", "x", "0.9", "2.5", "B30f", "chest"]
    assert lines[2].endswith(r"AC\x1b[2J") and "--series" in lines[-1]
    assert main(["dicom", str(study), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["name"] == "4" and first["uid"] == "1.2.3.4" and first["chosen"] and not second["chosen"]
    assert first["kernel"] == "B30f" and first["slice_distance_mm"] == 2.5 and second["modality"] == "PT"


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_folder_without_images_is_told(tmp_path, name, capsys):
    assert main(["dicom", str(tmp_path / name)]) == 1
    assert "no such file or folder" in capsys.readouterr().err or name == "."


def test_check_and_segment_take_the_series_that_is_named(study, make_model_folder, tmp_path, capsys):
    assert main(["check", str(study), "--series", "8"]) == 1
    assert "no series has the UID or number '8'" in capsys.readouterr().err
    out = tmp_path / "labels.nii.gz"
    arguments = ["segment", str(study), str(out), "--model", str(make_model_folder()), "--device", "torch:cpu"]
    assert main([*arguments, "--series", "7"]) == 0
    assert nibabel.load(out).shape == (10, 12, 20)
    assert main(arguments) == 0
    assert nibabel.load(out).shape == (10, 12, 8)


def test_the_series_follows_the_model(study, make_model_folder):
    ct, pet = (
        Job((str(study),), model=model_of(make_model_folder(f"Dataset001_{name}"), name)) for name in ("CT", "PET")
    )
    assert read_volume(resolve(ct)).geometry.shape[0] == 8 and read_volume(resolve(pet)).geometry.shape[0] == 20
    assert read_volume(resolve(Job((str(study),)))).geometry.shape[0] == 8


def test_a_path_that_is_given_to_segment_is_read_for_its_model(study, make_model_folder):
    for name, slices in (("CT", 8), ("PET", 20)):
        model = load_model(model_of(make_model_folder(f"Dataset001_{name}"), name), cache=Cache())
        for segmentable in (model, single_task(model)):
            result = segment(str(study), segmentable, InferenceSpec(device="torch:cpu"))
            assert result.labels.shape[0] == slices


def test_the_modality_of_a_model_is_read_from_every_kind_of_it(make_model_folder, tmp_path):
    def modalities(model):
        return modalities_of(resolve(Job((), model=model)))

    folder = model_of(make_model_folder(channels=3), "T1", "ct", "PET")
    assert modalities(folder) == ("MR", "CT", "PT")
    load_model(folder, cache=Cache()).save(tmp_path / "a.tuckerseg")
    assert modalities(str(tmp_path / "a.tuckerseg")) == ("MR", "CT", "PT")
    assert modalities("total_mr") == ("MR",) and modalities("demo") == modalities("nothing") == ("CT",)


def test_what_was_not_measured_is_air_in_a_ct_and_the_smallest_value_in_others(make_model_folder, tmp_path):
    array = np.random.default_rng(0).uniform(20, 300, (8, 9, 10)).astype(np.float32)
    array[:, :3] = np.nan
    array[0, 5, 5] = np.inf
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1, 1, 2, 1])), path)
    smallest = array[np.isfinite(array)].min()
    for name, expected in (("CT", -1024), ("MRI", smallest)):
        folder = model_of(make_model_folder(f"Dataset001_{name}"), name)
        image = read_volume(resolve(Job((str(path),), model=folder)))
        assert set(image.array[0, :, :3].ravel()) == {np.float32(expected)} and image.array[0, 0, 5, 5] == expected
        assert f"241 of 720 voxels were NaN or infinite and were set to {'air' if name == 'CT' else 'the'}" in " ".join(
            image.notes
        )
    assert image_from_array(array, (2, 1, 1)).array.min() == -1024
    assert image_from_array(array, (2, 1, 1), modality="MR").array.min() == smallest
    array[7, 8, 9] = -2048  # what the scanner itself wrote outside stays what is outside
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1, 1, 2, 1])), path)
    assert read_image(path).array[0, 0, 0, 0] == -2048


def test_labels_of_a_tilted_gantry_are_given_on_the_grid_that_it_was_resampled_to(make_model_folder, tmp_path):
    angle = np.radians(12)
    at = [(-30, 20, 100 + 2.5 / np.cos(angle) * index) for index in range(8)]
    frames = multi_frame(stored_values(), at, directions=(1, 0, 0, 0, np.cos(angle), np.sin(angle)))
    save(frames, tmp_path / "ct" / "e.dcm")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(tmp_path / "ct" / "e.dcm", "e.dcm")
    out, model = tmp_path / "labels.nii.gz", str(make_model_folder())
    for source in ("ct", "ct.zip", "ct/e.dcm"):
        job = Job((str(tmp_path / source),), str(out), model, inference=InferenceSpec(device="torch:cpu"))
        statistics = run_job(job).statistics
        labels = nibabel.load(out)
        expected = read_image(tmp_path / source).geometry
        assert labels.shape == expected.shape[::-1] and labels.shape[0] == COLUMNS and labels.shape[1] > 12
        np.testing.assert_allclose(labels.affine, expected.matrix, atol=1e-4)
        assert statistics.volume_shape == expected.shape
        assert any("tilted by 12.0 degrees" in note and "Labels are given on that grid" in note
                   for note in statistics.notes)  # fmt: skip
