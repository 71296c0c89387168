"""What is written beside labels, statistics and a picture; labels cleaned by nnU-Net's rules from the command line."""

from __future__ import annotations

import json
import pickle

import nibabel
import numpy as np
import pytest

from TuckerSegLib import image_from_array
from TuckerSegLib.outputs.preview import picture, write_preview
from TuckerSegLib.outputs.structure_statistics import structure_statistics

LABELS = {"background": 0, "a": 1, "b": 2, "c": 3}


def test_labels_are_cleaned_as_nnunet_does_it(make_model_folder, small_ct, run_here, tmp_path):
    from nnunetv2.postprocessing.remove_connected_components import (
        apply_postprocessing,
        remove_all_but_largest_component_from_segmentation,
    )

    arguments = [{"labels_or_regions": each} for each in (1, [2], (3,), [1, 2, 3], [(2, 3)])]
    rules = [remove_all_but_largest_component_from_segmentation] * len(arguments), arguments
    (tmp_path / "postprocessing.pkl").write_bytes(pickle.dumps(rules))
    common = ("segment", small_ct, "--model", make_model_folder(labels=LABELS), "--precision", "fp32")
    run_here(*common[:2], tmp_path / "raw.nii.gz", *common[2:])
    run_here(*common[:2], tmp_path / "clean.nii.gz", *common[2:], "--postprocessing", tmp_path / "postprocessing.pkl")
    raw, cleaned = (np.asarray(nibabel.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("raw", "clean"))
    assert (raw != cleaned).any()
    assert np.array_equal(cleaned, apply_postprocessing(raw, *rules))


def test_statistics_and_a_picture_lie_beside_the_labels(make_model_folder, small_ct, run_here, tmp_path):
    model = make_model_folder(labels=LABELS)
    words = ("--model", model, "--statistics", "all", "--preview")
    told = run_here("segment", small_ct, tmp_path / "out.nii.gz", *words)
    assert all(
        f"Written: {tmp_path / name}\n" in told for name in ("out.nii.gz", "out_statistics.json", "out_preview.png")
    )
    labels, image = (np.asarray(nibabel.load(path).dataobj) for path in (tmp_path / "out.nii.gz", small_ct))
    found = json.loads((tmp_path / "out_statistics.json").read_text())
    voxel_mm3 = np.prod(nibabel.load(small_ct).header.get_zooms())
    assert list(found) == ["a", "b", "c"]
    for value, name in enumerate("abc", 1):
        assert found[name]["volume"] == pytest.approx((labels == value).sum() * voxel_mm3, rel=1e-5)
        assert found[name]["intensity"] == pytest.approx(image[labels == value].mean(), abs=1e-4)
    assert (tmp_path / "out_preview.png").read_bytes()[:4] == b"\x89PNG"


def test_structures_that_the_border_cuts_have_no_statistics():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[4:7, 4:7, 4:7], labels[2:6, 8, 8] = 1, 2
    values = np.full(labels.shape, -50.9)
    geometry = image_from_array(labels, spacing_mm=(1.0, 2.0, 3.0)).geometry
    names = {1: "whole", 2: "cut", 3: "absent"}
    nothing = {"volume": 0.0, "intensity": 0.0}
    found = structure_statistics(labels, values, geometry, names)
    assert found == {"whole": {"volume": 162.0, "intensity": -50.0}, "cut": nothing, "absent": nothing}
    assert structure_statistics(labels, values, geometry, names, cut_ones=True)["cut"]["volume"] == 24.0


def test_a_picture_shows_structures_from_the_front_and_from_the_left(tmp_path):
    import matplotlib.image

    labels = np.zeros((20, 16, 16), np.uint8)  # +x is right, +y front, +z up, as of RAS
    labels[5:15, 4:12, 4:12], labels[5:15, 13:15, 4:8] = 1, 2  # 2 stands before the left half of 1
    geometry = image_from_array(labels, affine=np.diag([2.0, 2.0, 2.0, 1.0])).geometry
    colors = {1: (1.0, 0.0, 0.0), 2: (0.0, 1.0, 0.0)}
    write_preview(tmp_path / "preview.png", labels, geometry, colors)
    shown = picture(labels, geometry, colors)
    assert np.allclose(matplotlib.image.imread(tmp_path / "preview.png")[..., :3], shown / 255)
    front = shown[:, : shown.shape[1] // 3]
    middle = front[len(front) // 2]
    red, green = np.flatnonzero(middle[:, 0]), np.flatnonzero(middle[:, 1])
    assert red.size and green.size and red.max() < green.min()  # the patient's right is on the left
    assert not picture(np.zeros_like(labels), geometry, colors).any()
