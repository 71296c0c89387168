"""Measure a network with the command line of the program: a row of mean Dice in ``RESULTS.md``.

Volumes that training has seen: example_ct, synthetic torso, ts_s0002, ts_s0003; kept out: dicom_example, painted s0001.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from bodies import Between, Body
from network import load
from pack import pack
from painting import paint

GROUPS = {
    "liver": ["liver"],
    "spleen": ["spleen"],
    "kidneys": ["kidney_right", "kidney_left"],
    "lungs": ["lung_"],
    "vertebrae": ["vertebrae_"],
    "ribs": ["rib_"],
    "aorta": ["aorta"],
}
KEPT_OUT = ("dicom_example", "s0001_painted")


def volumes(data: Path, held_out: Path, results: Path) -> dict[str, tuple[Path, Path]]:
    """CT and reference labels by name."""
    return {
        "example_ct": (data / "example_ct.nii.gz", data / "example_seg.nii.gz"),
        "torso": (data / "synthetic_torso.nii.gz", data / "synthetic_torso_labels.nii.gz"),
        "ts_s0002": (data / "ts_s0002.nii.gz", data / "ts_s0002_seg.nii.gz"),
        "ts_s0003": (data / "ts_s0003.nii.gz", data / "ts_s0003_seg.nii.gz"),
        "dicom_example": (held_out / "dicom_example", held_out / "dicom_example_seg.nii.gz"),
        "s0001_painted": (results / "s0001_painted.nii.gz", results / "s0001_labels.nii.gz"),
    }


def paint_held_out(data: Path, labels: Path, results: Path) -> None:
    """Paint the body kept out of training, once."""
    image = results / "s0001_painted.nii.gz"
    if image.exists():
        return
    lab, rng = load(labels, 0), np.random.default_rng(1)
    between = [Between(load(data / "example_ct.nii.gz", 1), load(data / "example_seg.nii.gz", 0))]
    img = paint(Body(lab), rng, between)
    for array, path, kind in ((img, image, np.int16), (lab, results / "s0001_labels.nii.gz", np.uint8)):
        nib.save(nib.Nifti1Image(np.round(array).astype(kind).transpose(2, 1, 0), np.diag([3, 3, 3, 1.0])), path)


def dice(model: Path, ct: Path, reference: Path, out: Path, threads: int, cache: str) -> dict[str, float]:
    """Segment a CT into ``out``; Dice of every structure that the reference has."""
    program, env = [sys.executable, "-m", "TuckerSegLib"], {**os.environ, "TUCKERSEG_CACHE_DIR": cache}
    table = Path(cache) / "dice.csv"
    segment = ["segment", ct, out, "--model", model, "--threads", str(threads)]
    compare = ["evaluate", out, reference, "--labels", model / "dataset.json", "--minimum-voxels", "1", "--out", table]
    for command in (segment, compare):
        subprocess.run([*program, *command], check=True, env=env, stdout=subprocess.DEVNULL)
    with table.open(encoding="utf-8") as file:
        return {row["name"]: float(row["dice"]) for row in csv.DictReader(file) if int(row["reference_voxels"])}


def group_means(scores: dict[str, float]) -> str:
    """Mean Dice of the groups of structures that were measured."""
    means = []
    for group, prefixes in GROUPS.items():
        found = [s for name, s in scores.items() if name.replace(" ", "_").startswith(tuple(prefixes))]
        if found:
            means.append(f"{group} {np.mean(found):.2f}")
    return ", ".join(means)


def add_row(table: Path, columns: list[str], cells: list[str]) -> None:
    if not table.exists():
        table.write_text(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n", encoding="utf-8")
    with table.open("a", encoding="utf-8") as file:
        file.write(f"| {' | '.join(cells)} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the network, in the table")
    parser.add_argument("network", type=Path, help="weights of train.py, or a results folder of nnU-Net")
    parser.add_argument("--data", type=Path, required=True, help="folder that training learned from")
    parser.add_argument("--held-out", type=Path, required=True, help="folder of what it did not learn from")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of label maps and of the table")
    parser.add_argument("--volumes", help="names with commas between; all, if left out")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    known = volumes(options.data, options.held_out, options.results)
    chosen = options.volumes.split(",") if options.volumes else list(known)
    if "s0001_painted" in chosen:
        paint_held_out(options.data, options.held_out / "s0001.nii.gz", options.results)
    scores, step = {}, ""
    with tempfile.TemporaryDirectory() as cache:
        if options.network.suffix == ".pt":
            step = str(torch.load(options.network, map_location="cpu", weights_only=True)["it"])
            model = pack(options.network, Path(cache))
        else:
            model = next(options.network.rglob("plans.json")).parent
        for volume in chosen:
            out = options.results / f"{volume}_{options.name}.nii.gz"
            t = time.time()
            scores[volume] = dice(model, *known[volume], out, options.threads, cache)
            mean = np.mean(list(scores[volume].values()))
            print(f"{volume} {mean:.3f} of {len(scores[volume])} in {time.time() - t:.0f} s", flush=True)
    (options.results / f"{options.name}.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    means = [f"{np.mean(list(scores[v].values())):.3f}" if v in scores else "–" for v in known]
    groups = [group_means(scores.get(v, {})) for v in KEPT_OUT]
    columns = ["network", "step", *known, *(f"kept out: {v}" for v in KEPT_OUT)]
    add_row(options.results / "RESULTS.md", columns, [options.name, step, *means, *groups])


if __name__ == "__main__":
    main()
