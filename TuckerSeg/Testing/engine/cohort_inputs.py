"""Small CTs of a cohort, and a model with small patches."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

PLACE = ("--device", "torch:cpu", "--precision", "fp32", "--threads", "1")


def write_ct(path: Path, seed: int, size: int = 18) -> Path:
    """Noise in the range of HU, on a grid of 3 mm."""
    values = np.random.default_rng(seed).normal(0, 400, (size, size, size)).clip(-1000, 1500)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


def write_cts(folder: Path, count: int) -> Path:
    """A folder of them."""
    for number in range(count):
        write_ct(folder / f"ct{number}.nii.gz", number)
    return folder


def labels_of(path: Path) -> np.ndarray:
    """The labels in a NIfTI file."""
    return np.asarray(nibabel.load(path).dataobj)


def states_of(run_here, model: Path, folder: Path):
    """A function that runs the command line over ``folder / 'cts'`` and gives what became of each image."""

    def run(*more, images=folder / "cts", out=folder / "out", code=0) -> dict[str, str]:
        words = ["segment", images, out, "--model", model, "--json", *PLACE, *more]
        events = [json.loads(line) for line in run_here(*words, code=code).splitlines()]
        return {event["case"]: event["state"] for event in events if event["event"] == "case"}

    return run
