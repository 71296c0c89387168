"""Tasks of which one network says where the labels of the others end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, Job, load_model, segment
from TuckerSegLib.cache import Cache
from TuckerSegLib.catalog.entries import task as catalog_task
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.models.task import task_of
from TuckerSegLib.postprocessing.vertebrae import clean_vertebrae, refine_vertebrae

REFINED = catalog_task("vertebrae_pp_refined")
PROCESSOR = InferenceSpec(device="torch:cpu", precision="fp32", threads=1, step_fraction=REFINED.step_fraction)


@pytest.fixture
def networks(install_tasks) -> Path:
    """Of which that of bodies finds them in a part of all voxels."""
    root = install_tasks(REFINED.name)
    (file,) = (root / REFINED.parts[0].dataset).rglob("checkpoint_final.pth")
    checkpoint = torch.load(file, weights_only=False)
    for name, weight in checkpoint["network_weights"].items():
        if "seg_layers" in name:
            weight[0] -= 1.0  # what made it find much background
    torch.save(checkpoint, file)
    return root


def test_refined_vertebrae_lie_where_the_network_of_bodies_finds_them(small_image, networks):
    mask, labels = (
        segment(small_image, load_model(networks / part.dataset), PROCESSOR).labels.copy() for part in REFINED.parts
    )
    clean_vertebrae(labels, dict(REFINED.structures), small_image.geometry)
    refine_vertebrae(labels, small_image.geometry, mask == 1)
    job = Job((), model=REFINED.name, inference=PROCESSOR)
    result = segment(small_image, task_of(resolve(job), Cache()), PROCESSOR)
    assert 0 < np.count_nonzero(labels) < labels.size
    np.testing.assert_array_equal(result.labels, labels)
    assert [part.name for part in result.statistics.parts] == ["vertebrae discs", "TotalSegmentator vertebrae inner"]
    assert any("2 mm more" in note for note in result.statistics.notes)


def test_the_mask_belongs_to_every_choice_of_structures_and_to_no_file_of_several_networks(
    run_here, networks, tmp_path
):
    assert REFINED.parts_with(["vertebrae_L5"]) == list(REFINED.parts)
    job = replace(Job((), model=REFINED.name), structures=("vertebrae_L5",))
    assert [part.role for part in task_of(resolve(job), Cache()).parts] == ["mask", "labels"]
    run_here("pack", REFINED.name, "--out", tmp_path / "x.tuckerseg", "--rank", "0.5", code=1)
    assert not (tmp_path / "x.tuckerseg").exists()
