"""``tools/make_crops_dataset.py``: what it cuts is a raw dataset that trainings take, and all of the labels once."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib import load_model
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.preparation import prepare_dataset

TOOL = Path(__file__).resolve().parents[3] / "tools" / "make_crops_dataset.py"


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_crops_dataset", TOOL)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", sys.path[:])
    spec.loader.exec_module(module)
    return module


def test_crops_are_a_dataset_that_holds_every_labeled_voxel_once(
    tool, make_model_folder, shapes, tmp_path, monkeypatch, capsys
):
    labels = {"background": 0, "ball": 1, "cube": 2}
    folder = make_model_folder(labels=labels, patch_shape=(16, 16, 16))
    intensities, truth = shapes(0)
    affine = np.array([[3.0, 0, 0, 5], [0, -3.0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    for name, array in (("ct", intensities), ("seg", truth), ("other", intensities)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    out = tmp_path / "Dataset901_Crops"
    given = [f"{tmp_path}/ct.nii.gz={tmp_path}/seg.nii.gz", "--unlabeled", f"{tmp_path}/other.nii.gz"]
    options = ["--no-torso", "--side", "30", "--least", "1", "--model", folder, "--labeled", *given]
    monkeypatch.setattr(sys, "argv", ["make_crops_dataset.py", str(out), *map(str, options)])
    tool.main()

    model = load_model(folder)
    cases = prepare_dataset(read_raw_dataset(out, model.plans), model.plans).cases
    told = capsys.readouterr().out
    labeled = int(re.search(r"ct\.nii\.gz: (\d+) cases from 0 on", told).group(1))
    assert f"{out}: {len(cases)} cases" in told and len(cases) > labeled
    together = np.zeros_like(truth)
    for path in sorted((out / "labelsTr").glob("*.nii.gz"))[:labeled]:
        part = nibabel.load(path)
        image = nibabel.load(out / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz"))
        first = np.rint(np.linalg.solve(affine, part.affine)[:3, 3]).astype(int)
        box = tuple(slice(start, start + size) for start, size in zip(first, part.shape, strict=True))
        assert np.array_equal(image.affine, part.affine)
        assert np.array_equal(np.asarray(image.dataobj), intensities[box])
        assert not together[box].any()
        together[box] = np.asarray(part.dataobj)
    assert labeled > 1 and np.array_equal(together, truth)
