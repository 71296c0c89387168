"""TotalSegmentator's own program runs a compressed network that was exported into its home."""

from __future__ import annotations

import pytest

from TuckerSegLib import TuckerSpec, catalog, compress, load_model
from TuckerSegLib.benchmark.totalsegmentator import results_folder, write_settings
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings

TASK = catalog.task("total_fast")
PART = TASK.parts[0]


@pytest.fixture
def exported(programs_for, tmp_path):
    """Both programs with a home that has a compressed network in the place of the task's."""
    programs = programs_for(TASK.name)
    original = load_model(results_folder(programs.home) / PART.dataset)
    model = compress(original, TuckerSpec(0.85, rank_mode="auto", rank_multiple=4))
    assert model.cost.macs < original.cost.macs
    write_settings(tmp_path / "home")
    settings = ExportSettings(dataset_name=PART.dataset, trainer_folder=PART.configuration)
    exporter("nnunet").export(model, results_folder(tmp_path / "home"), settings)
    return type(programs)(programs.python, tmp_path / "home", tmp_path)


def test_it_gives_our_labels(exported, programs_for, shared_data, compare):
    image = shared_data / "data" / "example_ct.nii.gz"
    theirs = exported.theirs(image, "--fast", library=True)
    assert compare(theirs, exported.ours(image, TASK.name), "exported at rank 0.85, example_ct.nii.gz") >= 0.999
    original = programs_for(TASK.name).ours(image, TASK.name)
    assert compare(theirs, original, "the same against the original network") < 0.999
