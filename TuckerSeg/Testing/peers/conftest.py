"""TotalSegmentator in an environment of its own, beside this program, with networks that both read.

``make test-peers`` makes that environment. Everything is skipped, with the reason, where it or the CTs are missing.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import catalog
from TuckerSegLib.benchmark import totalsegmentator
from TuckerSegLib.benchmark.bench import PYTHON_VARIABLE
from TuckerSegLib.benchmark.measure import measure

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
SINGLE_PRECISION = Path(__file__).with_name("single_precision.py")
MEASURED = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Programs:
    """Both programs, with one home of TotalSegmentator's.

    Attributes:
        python: Of the environment that has TotalSegmentator.
        home: Its home folder, with the models.
        folder: For label maps.
    """

    python: Path
    home: Path
    folder: Path

    def theirs(self, image: Path, *options: str, single_precision: bool = False, library: bool = False) -> Path:
        """Label map that TotalSegmentator writes of an image.

        Args:
            single_precision: Let nnU-Net sum logits in float32; it does in float16, which decides nearly tied voxels.
            library: Let its Python find this program's package, as where it is installed beside TotalSegmentator.
        """
        output = self.folder / "theirs.nii.gz"
        start = totalsegmentator.start_command(self.python)
        if single_precision:
            start = [self.python, SINGLE_PRECISION]
        command = [*start, "-i", image, "-o", output, "--ml", "-d", "cpu", *options]
        found = {"PYTHONPATH": str(LIBRARY_FOLDER)} if library else {}
        measure(command, {**totalsegmentator.environment(self.home), **found})
        return output

    def ours(self, image: Path, model: str | Path, *options: str) -> Path:
        """Label map that this program writes of an image, in fp32 and on TotalSegmentator's grid.

        Args:
            model: Path, or the name of a task that lies in the home.
        """
        output = self.folder / "ours.nii.gz"
        command = [sys.executable, "-m", "TuckerSegLib", "segment", image, output, "--model", model]
        settings = ["--precision", "fp32", "--output-grid", "nearest"]
        if isinstance(model, Path):  # which does not tell what the task's steps are
            settings += ["--step", "0.8"]
        models = str(totalsegmentator.results_folder(self.home))
        environment = {**os.environ, "PYTHONPATH": str(LIBRARY_FOLDER), "TUCKERSEG_MODELS_DIR": models}
        measure([*command, *settings, *options], environment)
        return output


@pytest.fixture(scope="session")
def their_python() -> Path:
    """Python of the environment that has TotalSegmentator."""
    named = os.environ.get(PYTHON_VARIABLE)
    if not named or not Path(named).exists():
        pytest.skip(f"needs a Python that has TotalSegmentator, named by {PYTHON_VARIABLE}: run 'make test-peers'")
    return Path(named)


@pytest.fixture
def compare(request, capsys):
    """A function of two label maps: the share of voxels with equal labels, which is told at the end of the tests."""

    def share(theirs: Path, ours: Path, words: str) -> float:
        first, second = (nibabel.as_closest_canonical(nibabel.load(path)) for path in (theirs, ours))
        assert first.shape == second.shape and np.allclose(first.affine, second.affine, atol=1e-3)
        expected, found = (np.asarray(image.dataobj) for image in (first, second))
        assert len(np.unique(expected)) > 20, "the comparison would say nothing"
        equal = float((expected == found).mean())
        request.config.stash[MEASURED].append(f"{words}: {equal:.4%} of {expected.size} voxels")
        return equal

    return share


def pytest_configure(config):
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[MEASURED]:
        terminalreporter.section("equal labels")
        for line in config.stash[MEASURED]:
            terminalreporter.line(line)


def install_demonstration(demo_folder: Path, home: Path, task: catalog.Task) -> None:
    """Write a home of TotalSegmentator's in which the demonstration network stands in for a task's networks.

    A part of a task gets the rows of its head for the background and that part's structures: a network whose labels
    are decided as clearly as a trained one's. (Random weights leave a hundredth of all voxels nearly tied.)
    """
    totalsegmentator.write_settings(home)
    (source,) = demo_folder.glob("*__3d_fullres")
    names = dict(task.structures)
    for part in task.parts:
        folder = totalsegmentator.results_folder(home) / part.dataset / part.configuration
        (folder / "fold_0").mkdir(parents=True)
        plans = json.loads((source / "plans.json").read_text())
        plans["dataset_name"] = part.dataset
        plans["configurations"]["3d_fullres"]["spacing"] = list(task.spacing_mm)
        (folder / "plans.json").write_text(json.dumps(plans))
        values = [value for _, value in part.labels or zip(names, names)]
        dataset = json.loads((source / "dataset.json").read_text())
        dataset["labels"] = {"background": 0, **{names[value]: label for label, value in enumerate(values, start=1)}}
        (folder / "dataset.json").write_text(json.dumps(dataset))
        checkpoint = torch.load(source / "fold_0" / "checkpoint_final.pth", weights_only=True)
        weights = checkpoint["network_weights"]
        weights |= {name: weights[name][[0, *values]] for name in weights if ".seg_layers." in name}
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


@pytest.fixture(scope="session")
def make_home(demo_folder, tmp_path_factory):
    """A function from the name of a task to a home of TotalSegmentator's that has it; made once."""

    @functools.cache
    def make(task_name: str) -> Path:
        home = tmp_path_factory.mktemp(task_name)
        install_demonstration(demo_folder, home, catalog.task(task_name))
        return home

    return make


@pytest.fixture
def programs_for(their_python, make_home, tmp_path):
    """A function from the name of a task to both programs with its stand-in."""
    return lambda task_name: Programs(their_python, make_home(task_name), tmp_path)
