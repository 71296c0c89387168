"""MHub's models from DICOM to their files, with mhubio's own classes.

Needs an environment of its own, whose Python TUCKERSEG_MHUBIO_PYTHON names: mhubio and segdb from MHub's repositories,
with dcm2niix or plastimatch, and dcmqi. Skipped where there is none. The networks are small and random.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from Testing.unit.dicom_files import places, save_series, stored_values
from TuckerSegLib.catalog.entries import task

pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the dicom extra")
PYTHON = os.environ.get("TUCKERSEG_MHUBIO_PYTHON")
MHUB = Path(__file__).resolve().parents[3] / "Packaging" / "mhub"
CHAIN = Path(__file__).with_name("mhub_chain.py")
SMALL = {"patch_shape": (16, 16, 16)}

pytestmark = pytest.mark.skipif(not PYTHON, reason="needs mhubio: TUCKERSEG_MHUBIO_PYTHON names a Python that has it")


@pytest.fixture
def run_model(tmp_path, install_tasks, monkeypatch):
    """A function that runs a model of MHub on a series; returns the folder of what it wrote."""

    def run(model: str) -> Path:
        install_tasks("total_fast", "total_fastest", **SMALL)
        monkeypatch.setenv("MLOG_STOP_ON_ERROR", "YES")
        monkeypatch.setenv("PATH", f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}")
        save_series(tmp_path / "input_data", np.clip(stored_values(24) // 4 + 900, 0, 2000), places(24))
        script = "import sys; from TuckerSegLib.cli import main; sys.exit(main())"
        command = shlex.join([sys.executable, "-c", script])
        done = subprocess.run([PYTHON, CHAIN, MHUB / model, tmp_path, command], capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (folder,) = (tmp_path / "output_data").iterdir()
        return folder

    return run


def test_the_segmentation_comes_as_dicom_seg_with_the_names_and_voxels_of_its_labels(run_model, tmp_path):
    folder = run_model("tuckerseg")
    segments = pydicom.dcmread(folder / "TuckerSeg.seg.dcm")
    (label_file,) = (tmp_path / "sorted_data").rglob("segmentation.nii.gz")
    labels = np.asarray(nibabel.load(label_file).dataobj)
    names = dict(task("total_fast").structures)
    values = [int(value) for value in np.unique(labels) if value]
    counts = {segment.SegmentNumber: 0 for segment in segments.SegmentSequence}
    for frame, groups in zip(segments.pixel_array, segments.PerFrameFunctionalGroupsSequence):
        counts[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int(frame.sum())
    assert list(counts.values()) == [int((labels == value).sum()) for value in values]
    for segment, value in zip(segments.SegmentSequence, values):
        sides = {side for side in ("left", "right") if side in segment.SegmentLabel.lower()}
        assert sides == {side for side in ("left", "right") if side in names[value].split("_")}
    assert json.loads((folder / "TuckerSeg.statistics.json").read_text())["structures"]


def test_the_utility_gives_findings_and_body_parts(run_model):
    folder = run_model("tuckerseg_ct_utility")
    assert json.loads((folder / "quality.json").read_text())["findings"]
    assert "body part examined tag" in json.loads((folder / "bodyparts.json").read_text())
    assert len((folder / "bodyparts.csv").read_text().splitlines()) == 25
