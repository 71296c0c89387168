"""Types and names of outputs: what follows from the file that is named, and what is refused before a run."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs pydicom, of the dicom extra")
pytest.importorskip("highdicom", reason="needs highdicom, of the dicom extra")

from Testing.engine.dicom_results import series_folder  # noqa: E402
from TuckerSegLib.errors import DependencyError, OutputError  # noqa: E402
from TuckerSegLib.outputs import check_outputs, planned_outputs  # noqa: E402
from TuckerSegLib.outputs import types as output_types  # noqa: E402
from TuckerSegLib.records.job import Job, OutputFile  # noqa: E402


def test_what_cannot_be_written_is_told_before_the_run(tmp_path, monkeypatch):
    import nibabel

    ct = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), ct)
    dicom = series_folder(tmp_path / "ct")
    with pytest.raises(OutputError, match="is no DICOM"):
        check_outputs(Job((str(ct),), str(tmp_path / "labels.dcm")))
    with pytest.raises(OutputError, match="report refers to"):
        check_outputs(Job((str(dicom),), outputs=(OutputFile(str(tmp_path / "a.sr.dcm"), "sr"),)))
    with pytest.raises(OutputError, match="written twice"):
        check_outputs(
            Job((str(dicom),), str(tmp_path / "a.nrrd"), outputs=(OutputFile(str(tmp_path / "a.nrrd"), "nrrd"),))
        )
    with pytest.raises(OutputError, match="does not exist"):
        check_outputs(Job((str(dicom),), str(tmp_path / "no" / "labels.dcm")))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pydicom"):
        check_outputs(Job((str(dicom),), str(tmp_path / "labels.dcm")))


@pytest.mark.parametrize(
    ("path", "types", "expected"),
    [
        ("a.nii.gz", None, {"a.nii.gz": "nifti"}),
        ("a.dcm", None, {"a.dcm": "seg"}),
        ("a.rtstruct.dcm", None, {"a.rtstruct.dcm": "rtstruct"}),
        ("a.dcm", ["rtstruct"], {"a.dcm": "rtstruct"}),
        ("a.dcm", ["rtstruct", "seg"], {"a.rtstruct.dcm": "rtstruct", "a.dcm": "seg"}),
        ("a.nii", ["nifti", "slicer"], {"a.nii": "nifti", "a.seg.nrrd": "slicer"}),
        ("folder.1/a", ["nifti"], {"folder.1/a.nii.gz": "nifti"}),
        ("a.v2", ["seg", "seg"], {"a.v2.seg.dcm": "seg"}),
    ],
)
def test_names_of_files_follow_from_the_one_that_is_named(path, types, expected):
    assert {output.path: output.type for output in planned_outputs(path, types)} == expected


def test_types_that_are_none_are_refused():
    with pytest.raises(OutputError, match="unknown extension"):
        planned_outputs("labels.txt")
    with pytest.raises(OutputError, match="types of output"):
        planned_outputs("labels.nii.gz", ["nii"])
    with pytest.raises(OutputError, match="one file per structure"):
        planned_outputs("labels", ["seg", "sr"], split=True)
    with pytest.raises(OutputError, match="refers to the DICOM SEG"):
        planned_outputs("labels", ["sr", "nifti"])
    with pytest.raises(OutputError, match="At least one"):
        planned_outputs("labels", [])
    assert set(output_types.TYPES) == {kind for _, kind in output_types.ENDINGS}
