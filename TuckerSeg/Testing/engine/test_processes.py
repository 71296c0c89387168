"""What runs beside a run: forked children, and output that cannot be written as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SEGMENT = [sys.executable, "-m", "TuckerSegLib", "segment"]
FORKED = """
import multiprocessing, sys
from TuckerSegLib import InferenceSpec, load_model, segment

def voxels(_):
    inference = InferenceSpec(device="torch:cpu", threads=2)
    return int((segment(sys.argv[1], load_model(sys.argv[2]), inference).labels >= 0).sum())

if __name__ == "__main__":
    before = multiprocessing.get_context("fork").Pool(1)
    print("parent", [voxels(0)])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            print("child", pool.map_async(voxels, [0]).get(60))
        except Exception as error:
            print("child", type(error).__name__, error)
    print("forked before", before.map_async(voxels, [0]).get(120))
    before.terminate()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_child_that_was_forked_after_a_run_is_refused_and_one_from_before_works(
    make_model_folder, small_ct, tmp_path
):
    (tmp_path / "forked.py").write_text(FORKED)
    command = [sys.executable, str(tmp_path / "forked.py"), str(small_ct), str(make_model_folder())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=500)
    lines = dict(
        line.rsplit(" ", 1) if "child" not in line else line.split(" ", 1) for line in done.stdout.splitlines()
    )
    assert lines["child"].startswith("BackendError This process was forked") and "'spawn'" in lines["child"]
    assert lines["forked before"] == lines["parent"] == "[20160]"


@pytest.fixture
def ct_with_a_foreign_name(small_ct):
    """A CT with NaN in it, of which a note tells, in a folder whose name no western encoding has."""
    folder = small_ct.parent / "病院"
    folder.mkdir()
    volume = nibabel.load(small_ct)
    values = np.asarray(volume.dataobj).astype(np.float32)
    values[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, volume.affine), folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def run(*arguments, **settings):
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **settings.pop("environment", {})}
    return subprocess.run(arguments, cwd=ROOT, env=environment, timeout=500, stderr=subprocess.PIPE, **settings)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_output_in_another_encoding_shows_what_it_lacks_as_escapes(
    make_model_folder, ct_with_a_foreign_name, tmp_path, encoding, options
):
    labels = ct_with_a_foreign_name.parent / "labels.nii.gz"
    command = [*SEGMENT, str(ct_with_a_foreign_name), str(labels), "--model", str(make_model_folder()), *options]
    done = run(*command, environment={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr and nibabel.load(labels).shape
    assert b"\\u75c5" in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_standard_output_is_told_in_a_sentence_and_the_labels_are_there(make_model_folder, small_ct, tmp_path):
    labels = tmp_path / "labels.nii.gz"
    with open("/dev/full", "w") as full:
        done = run(*SEGMENT, str(small_ct), str(labels), "--model", str(make_model_folder()), stdout=full)
        short = run(*SEGMENT[:-1], "models", stdout=full)
    for each in (done, short):
        assert each.returncode == 1 and b"Traceback" not in each.stderr and b"Exception ignored" not in each.stderr
        assert b"cannot be written to standard output" in each.stderr
    assert nibabel.load(labels).shape


def test_a_calibration_that_cannot_be_kept_is_an_error_before_it_is_made(make_model_folder, small_ct, tmp_path):
    (tmp_path / "file").write_text("no folder")
    command = [sys.executable, "-m", "TuckerSegLib", "calibrate", str(small_ct), "--model", str(make_model_folder())]
    done = run(*command, environment={"TUCKERSEG_CACHE_DIR": str(tmp_path / "file")}, stdout=subprocess.PIPE)
    assert done.returncode == 1 and b"calibrated" not in done.stdout
    assert b"the cache cannot be written" in done.stderr and b"TUCKERSEG_CACHE_DIR" in done.stderr
