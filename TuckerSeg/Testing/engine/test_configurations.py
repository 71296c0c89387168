"""Folders and zips that hold several configurations of nnU-Net: which one is run, and what a plan says of several."""

from __future__ import annotations

import json
import re
import shutil

import nibabel
import numpy as np
import pytest

from TuckerSegLib import load_model
from TuckerSegLib.cli.jobs_from_options import model_of
from TuckerSegLib.cli.main import main
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.models.loading import files_stamp

LABELS = {"background": 0, "a": 1, "b": 2}
SECOND = "3d_cascade_fullres"


@pytest.fixture
def results(make_model_folder):
    """The folder of a data set with four configurations."""
    for settings in (
        {"configuration_name": "2d", "patch_shape": (1, 32, 32)},
        {"configuration_name": "3d_fullres", "seed": 1},
        {"configuration_name": "3d_lowres", "spacing": (5.0, 4.0, 4.5)},
        {"configuration_name": SECOND, "previous_stage": "3d_lowres", "seed": 2},
    ):
        folder = make_model_folder(labels=LABELS, **settings)
    return folder.parent


@pytest.fixture
def archive(results, tmp_path):
    return shutil.make_archive(str(tmp_path / "model"), "zip", results.parent, results.name)


def labels_of(run_here, image, output, *options):
    run_here("segment", image, output, "--precision", "fp32", *options)
    return np.asarray(nibabel.load(output).dataobj)


def test_a_configuration_of_a_folder_or_zip_is_the_one_whose_folder_is_named(
    results, archive, small_ct, run_here, tmp_path
):
    found, parser = {}, build_parser()
    for name in ("2d", SECOND):
        whole_name = f"nnUNetTrainer__nnUNetPlans__{name}"
        found[name] = labels_of(run_here, small_ct, tmp_path / "named.nii.gz", "--model", results / whole_name)
        options = ("--model", archive, "--configuration", name)
        assert np.array_equal(labels_of(run_here, small_ct, tmp_path / "o.nii.gz", *options), found[name])
        options = parser.parse_args(["inspect", "--model", str(results), "--configuration", whole_name])
        assert model_of(options).plans.configuration == name
    assert (found["2d"] != found[SECOND]).any()
    place = f"{archive}/{results.name}/nnUNetTrainer__nnUNetPlans__"
    assert files_stamp(f"{place}2d") != files_stamp(f"{place}3d_fullres")  # what is kept ready is told apart by it


def test_an_import_copies_the_configuration_that_is_named(archive, run_here):
    run_here("models", "import", archive, "--name", "flat", "--configuration", "2d")
    assert load_model("flat").plans.configuration == "2d"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("zip", r"model.zip holds no configuration '3d'; it has 'nnUNetTrainer__nnUNetPlans__2d'"),
        ("zip/elsewhere", r"model.zip holds no folder 'elsewhere'"),
        ("folder/3d_fullres", r"holds no configuration '3d'; it has 'nnUNetTrainer__nnUNetPlans__3d_fullres'"),
        ("demo", "the task demo has its own"),
    ],
)
def test_what_is_no_configuration_is_told(results, archive, capsys, model, words):
    places = {
        "zip": archive,
        "zip/elsewhere": f"{archive}/elsewhere",
        "folder/3d_fullres": str(results / "nnUNetTrainer__nnUNetPlans__3d_fullres"),
    }
    assert main(["inspect", "--model", places.get(model, model), "--configuration", "3d"]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_a_plan_tells_of_every_network_of_an_ensemble(results, small_ct, run_here, tmp_path):
    first, second = (results / f"nnUNetTrainer__nnUNetPlans__{name}" for name in ("2d", SECOND))
    alone = json.loads(run_here("plan", small_ct, "--model", second, "--json"))
    told = json.loads(run_here("plan", small_ct, "--model", first, "--ensemble", second, "--json"))
    names = [part["name"].split()[-1] for part in told["parts"]]
    assert names == ["2d", "3d_lowres", SECOND]
    run_here(
        "segment", small_ct, tmp_path / "o.nii.gz", "--model", first, "--ensemble", second, "--stats", tmp_path / "s"
    )
    done = json.loads((tmp_path / "s").read_text())
    assert (told["patches"], told["macs_per_volume"]) == (done["patches"], done["macs_per_volume"])
    probabilities = 24 * 30 * 28 * len(LABELS) * 4
    assert told["peak_memory_bytes"] >= alone["peak_memory_bytes"] + probabilities
