"""Results as DICOM SEG, RTSTRUCT and report, read back by others voxel for voxel."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the dicom extra")
highdicom = pytest.importorskip("highdicom", reason="needs highdicom, of the dicom extra")

from Testing.engine.cohort_inputs import PLACE  # noqa: E402
from Testing.engine.dicom_results import AT, COMMON, painted, placed_in, result_on, series_folder  # noqa: E402
from Testing.unit.dicom_files import multi_frame, save, save_series, stored_values  # noqa: E402
from TuckerSegLib.errors import OutputError  # noqa: E402
from TuckerSegLib.image import Geometry, read_image  # noqa: E402
from TuckerSegLib.models.resolved_job import resolve  # noqa: E402
from TuckerSegLib.outputs import check_outputs, planned_outputs, write_outputs  # noqa: E402
from TuckerSegLib.records.job import Job  # noqa: E402

TILTED = np.radians(12)


@pytest.fixture
def write(tmp_path):
    """A function that writes painted labels of a series by types; gives the result and the paths."""

    def written(source: Path, *types: str, split: bool = False, **job):
        geometry = read_image(source, series=job.get("series")).geometry
        result = result_on(geometry, painted(geometry.shape))
        outputs = planned_outputs(str(tmp_path / "labels"), types, split)
        job = Job((str(source),), outputs=outputs, **job)
        check_outputs(job)
        write_outputs(result, resolve(job))
        return result, [Path(output.path) for output in outputs]

    return written


def test_a_seg_has_the_voxels_the_codes_and_what_made_them(write, tmp_path):
    source = series_folder(tmp_path / "ct")
    result, (path,) = write(source, "seg")
    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=False)
    segments = list(segmentation.SegmentSequence)
    assert [item.SegmentLabel for item in segments] == ["Liver", "Left kidney", "Odd / thing", "Spleen"]
    for number, value in enumerate((1, 3, 4, 7)):
        back = placed_in(result.geometry, np.asarray(volume.array)[..., number], volume.affine)
        np.testing.assert_array_equal(back, result.labels == value)
    liver, kidney, odd, _ = segments
    code = liver.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("10200004", "SCT")
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Left"
    assert odd.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator.startswith("99")
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert liver.SegmentAlgorithmType == "AUTOMATIC" and "Tucker 0.5" in algorithm.AlgorithmParameters
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.PatientID == "P1" and segmentation.StudyInstanceUID == COMMON["StudyInstanceUID"]
    referenced = segmentation.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == COMMON["SeriesInstanceUID"]
    known = {pydicom.dcmread(file).SOPInstanceUID for file in source.iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == known
    color = highdicom.color.CIELabColor(*[0, 0, 0]).from_dicom_value(liver.RecommendedDisplayCIELabValue).to_rgb()
    expected = next(each.color for each in result.segments() if each.value == 1)
    np.testing.assert_allclose(np.array(color) / 255, expected, atol=0.02)


def frames_of(path: Path) -> dict[int, np.ndarray]:
    """Frames of each segment by the height of their plane, by pydicom alone."""
    dataset = pydicom.dcmread(path)
    planes: dict[int, dict[float, np.ndarray]] = {}
    for groups, frame in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        height = round(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]), 3)
        planes.setdefault(number, {})[height] = frame.astype(bool)
    return planes


def test_pydicom_and_itk_read_the_same_frames(write, tmp_path):
    import SimpleITK

    result, (path,) = write(series_folder(tmp_path / "ct"), "seg")
    planes = frames_of(path)
    for number, value in enumerate((1, 3, 4, 7), 1):
        for plane, (_, _, height) in zip(result.labels, AT):
            frame = planes[number].get(height, np.zeros(plane.shape, bool))
            np.testing.assert_array_equal(frame, plane == value)
    stacked = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert (stacked > 0).sum() == (result.labels > 0).sum()


def mask_of_contours(dataset, number: int, source: Path, geometry: Geometry) -> np.ndarray:
    """A structure of an RTSTRUCT on the grid of the image: by the centers of its voxels within its polygons."""
    from matplotlib.path import Path as Outline

    mask = np.zeros(geometry.shape, bool)
    back = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.matrix)
    ys, xs = np.mgrid[: geometry.shape[1], : geometry.shape[2]]
    centers = np.stack([xs.ravel(), ys.ravel()], axis=1)
    for contour in dataset.ROIContourSequence[number].ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        at = points @ back[:3, :3].T + back[:3, 3]
        z = np.rint(at[:, 2]).astype(int)
        assert len(set(z)) == 1 and np.abs(at[:, 2] - z).max() < 0.01
        outline = Outline([*at[:, :2], at[0, :2]], closed=True)
        mask[z[0]] |= outline.contains_points(centers).reshape(xs.shape)
    return mask


def test_contours_enclose_exactly_the_voxels_holes_are_holes(write, tmp_path):
    source = series_folder(tmp_path / "ct")
    result, (path,) = write(source, "rtstruct")
    dataset = pydicom.dcmread(path)
    assert [item.ROIName for item in dataset.StructureSetROISequence] == [
        "Liver",
        "Left kidney",
        "Odd / thing",
        "Spleen",
    ]
    for number, value in enumerate((1, 3, 4, 7)):
        np.testing.assert_array_equal(
            mask_of_contours(dataset, number, source, result.geometry), result.labels == value
        )
    assert dataset.ROIContourSequence[0].ROIDisplayColor != dataset.ROIContourSequence[1].ROIDisplayColor
    images = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert images.SeriesInstanceUID == COMMON["SeriesInstanceUID"] and len(images.ContourImageSequence) == len(AT)
    heights = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file).ImagePositionPatient[2] for file in
               source.iterdir()}  # fmt: skip
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        height = heights[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        assert float(contour.ContourData[2]) == pytest.approx(float(height), abs=1e-3)
    code = dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("10200004", "SCT")


def other_kinds(folder: Path) -> dict[str, Path]:
    """Series that are not plain axial slices."""
    oblique = (0.8, 0.6, 0, 0, 0, -1)
    normal = np.cross(oblique[:3], oblique[3:])
    at = [tuple(np.array((5.0, -7, 30)) + 2.0 * index * normal) for index in range(8)]
    series_folder(folder / "oblique", at, directions=oblique)
    series_folder(folder / "downwards", AT[::-1])
    frames = multi_frame(stored_values(), AT[::-1], **COMMON)
    save(frames, folder / "multi-frame" / "ct.dcm")
    series_folder(folder / "zipped", AT)
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        for file in sorted((folder / "zipped").iterdir()):
            archive.write(file, f"study/{file.name}")
    save_series(folder / "bare", stored_values(), AT, StudyInstanceUID=None, SeriesInstanceUID=None)
    places = ("oblique", "downwards", "multi-frame", "zipped.zip", "bare")
    return {name: folder / name for name in places}


@pytest.mark.parametrize("kind", ["oblique", "downwards", "multi-frame", "zipped.zip", "bare"])
def test_series_of_all_kinds_have_their_labels_where_they_were(write, tmp_path, kind):
    source = other_kinds(tmp_path / "kinds")[kind]
    anonymous = pytest.warns(UserWarning, match="have no StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID")
    with anonymous if kind == "bare" else contextlib.nullcontext():
        result, (seg, rtstruct) = write(source, "seg", "rtstruct")
    volume = highdicom.seg.segread(seg).get_volume(combine_segments=False)
    contours = pydicom.dcmread(rtstruct)
    assert contours.StudyInstanceUID == pydicom.dcmread(seg).StudyInstanceUID
    assert contours.FrameOfReferenceUID == pydicom.dcmread(seg).FrameOfReferenceUID
    for number, value in enumerate((1, 3, 4, 7)):
        back = placed_in(result.geometry, np.asarray(volume.array)[..., number], volume.affine)
        np.testing.assert_array_equal(back, result.labels == value)
        mask = mask_of_contours(contours, number, source, result.geometry)
        np.testing.assert_array_equal(mask, result.labels == value)


def test_labels_of_resampled_slices_are_taken_to_the_slices_that_were_measured(write, tmp_path):
    """A tilted gantry: what was read is another grid than the slices, and objects lie on the slices."""
    directions = (1, 0, 0, 0, np.cos(TILTED), np.sin(TILTED))
    at = [(-30.0, 20.0, 100 + 2.5 / np.cos(TILTED) * index) for index in range(8)]
    source = series_folder(tmp_path / "tilted", at, directions=directions)
    result, (path,) = write(source, "seg")
    planes = frames_of(path)
    geometry, back = result.geometry, np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ result.geometry.matrix)
    checked = 0
    for file in sorted(source.iterdir()):
        dataset = pydicom.dcmread(file)
        start = np.array(dataset.ImagePositionPatient, float)
        for row in range(dataset.Rows):
            for column in range(dataset.Columns):
                place = start + column * 0.7 * np.array(directions[:3]) + row * 0.9 * np.array(directions[3:])
                index = np.rint(back[:3, :3] @ place + back[:3, 3]).astype(int)[::-1]
                inside = all(0 <= i < size for i, size in zip(index, geometry.shape))
                value = int(result.labels[tuple(index)]) if inside else 0
                frame = planes[1].get(round(float(start[2]), 3), np.zeros((dataset.Rows, dataset.Columns), bool))
                assert frame[row, column] == (value == 1)
                checked += value == 1
    assert checked > 50


def test_several_types_and_split_files_at_once(write, tmp_path):
    import nibabel

    result, paths = write(series_folder(tmp_path / "ct"), "nifti", "seg", "rtstruct", "sr")
    assert [path.name for path in paths] == ["labels.nii.gz", "labels.seg.dcm", "labels.rtstruct.dcm", "labels.sr.dcm"]
    np.testing.assert_array_equal(np.asarray(nibabel.load(paths[0]).dataobj).T, result.labels)
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in paths[1:]}) == 3
    result, _ = write(tmp_path / "ct", "nifti", "seg", split=True)
    images = sorted(path.name for path in (tmp_path / "labels").glob("*.nii.gz"))
    assert images == ["kidney_left.nii.gz", "liver.nii.gz", "odd _ thing.nii.gz", "spleen.nii.gz"]
    mask = np.asarray(nibabel.load(tmp_path / "labels" / "kidney_left.nii.gz").dataobj).T
    np.testing.assert_array_equal(mask, result.labels == 3)
    alone = highdicom.seg.segread(tmp_path / "labels" / "spleen.seg.dcm")
    assert [item.SegmentLabel for item in alone.SegmentSequence] == ["Spleen"]


def test_a_report_tells_the_volume_of_every_segment(write, tmp_path):
    result, (seg, report) = write(series_folder(tmp_path / "ct"), "seg", "sr")
    dataset = highdicom.sr.srread(report)
    content = highdicom.sr.Comprehensive3DSR.from_dataset(dataset).content
    groups = content.get_volumetric_roi_measurement_groups()
    volume_of = {group.tracking_identifier: group.get_measurements()[0].value for group in groups}
    expected = {segment.name.replace("\\", "/"): structure.volume_ml for segment, structure in
                zip(result.segments(), result.statistics.structures)}  # fmt: skip
    assert volume_of == pytest.approx(expected, abs=1e-5)
    uid = pydicom.dcmread(seg).SOPInstanceUID
    assert all(group.referenced_segment.referenced_sop_instance_uid == uid for group in groups)


def complaints_of(path: Path) -> list[str]:
    """Errors that dicom3tools' validator tells."""
    tool = shutil.which("dciodvfy", path=os.pathsep.join([str(Path(sys.executable).resolve().parent),
                                                         str(Path(shutil.__file__).parent), os.environ["PATH"],
                                                         *(str(Path(each, "..", "..", "..", "bin").resolve())
                                                           for each in sys.path)]))  # fmt: skip
    if tool is None:
        pytest.skip("needs dciodvfy, of the package dicom3tools in the test extra")
    done = subprocess.run([tool, str(path)], capture_output=True, encoding="utf-8", errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "the validator said nothing at all"
    return [line for line in lines if line.startswith("Error")]


def test_a_validator_finds_no_error(write, tmp_path):
    _, paths = write(series_folder(tmp_path / "ct"), "seg", "rtstruct", "sr")
    assert [complaint for path in paths for complaint in complaints_of(path)] == []


def test_a_field_that_is_none_is_told_with_the_file_and_images_are_kept(write, tmp_path, monkeypatch):
    from TuckerSegLib.outputs.dicom import seg

    def refuses(**arguments):
        raise ValueError("PatientSex cannot be 9")

    monkeypatch.setattr(seg, "Segmentation", refuses)
    with pytest.raises(OutputError, match="missing or not as it should be .PatientSex cannot be 9"):
        write(series_folder(tmp_path / "ct"), "nifti", "seg")
    assert (tmp_path / "labels.nii.gz").is_file() and not (tmp_path / "labels.seg.dcm").exists()


def test_the_command_line_writes_what_it_is_asked_for(run_here, make_model_folder, tmp_path):
    source, model = series_folder(tmp_path / "ct"), make_model_folder(patch_shape=(16, 16, 16))
    words = ["segment", source, tmp_path / "out.dcm", "--model", model, "--json", *PLACE]
    last = json.loads(run_here(*words, "--output-type", "seg,rtstruct,nifti").splitlines()[-1])
    names = {structure["name"] for structure in last["statistics"]["structures"]}
    segmentation = highdicom.seg.segread(tmp_path / "out.dcm")
    assert len(segmentation.SegmentSequence) == len(names) > 2
    assert len(pydicom.dcmread(tmp_path / "out.rtstruct.dcm").StructureSetROISequence) == len(names)
    assert (tmp_path / "out.nii.gz").is_file()
    run_here("segment", source, tmp_path / "split.dcm", "--model", model, "--split", *PLACE)
    assert len(list((tmp_path / "split").glob("*.dcm"))) == len(names)
    assert replace(Job(("a",)), outputs=()) == Job(("a",))


def test_a_cohort_of_dicom_has_dicom_results(run_here, make_model_folder, tmp_path):
    series_folder(tmp_path / "cts" / "anna")
    model = make_model_folder(patch_shape=(16, 16, 16))
    words = ["segment", tmp_path / "cts", tmp_path / "out", "--model", model, "--output-type", "seg,nifti", *PLACE]
    run_here(*words)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"anna.seg.dcm", "anna.nii.gz"}
    events = [json.loads(line) for line in run_here(*words, "--json").splitlines()]
    assert [event["state"] for event in events if event["event"] == "case"] == ["skipped"]
