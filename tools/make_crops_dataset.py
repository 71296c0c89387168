"""Make a small labeled dataset of crops, as nnU-Net keeps raw datasets, to try trainings with on a processor.

Every CT is cut into boxes that do not overlap, some 19 cm wide, and each is a case: a training that holds cases back
then measures on parts that it was not trained with, though of the same bodies. Labels are those of a file, or where
there is none what a model says of the CT; then a training can only be measured by how it agrees with that model::

    python tools/make_crops_dataset.py Dataset901_Crops --labeled ct.nii.gz=labels.nii.gz --unlabeled other.nii.gz

The built-in synthetic torso with its true labels is among them, unless ``--no-torso`` says otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "TuckerSeg"))

from TuckerSegLib import load_model, read_image, segment
from TuckerSegLib.catalog.resources import DEMO_VOLUME
from TuckerSegLib.image import Geometry, Image, cropped
from TuckerSegLib.models.model import SegmentationModel

SIDE_MM = 192.0
LEAST_STRUCTURES = 3
TORSO = (DEMO_VOLUME, DEMO_VOLUME.with_name("synthetic_torso_labels.nii.gz"))


def main() -> None:
    """Cut, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="FOLDER", type=Path, help="DatasetXXX_Name, which is made")
    parser.add_argument("--labeled", nargs="+", default=[], metavar="CT=LABELS", help="numbered as the model's labels")
    parser.add_argument("--unlabeled", nargs="+", default=[], metavar="CT", help="the model's own result labels these")
    parser.add_argument("--no-torso", action="store_true", help="leave the built-in synthetic torso out")
    parser.add_argument("--model", default="demo", help="whose labels these are (default: %(default)s)")
    parser.add_argument("--side", type=float, default=SIDE_MM, metavar="MM", help="of a box (default: %(default)g)")
    parser.add_argument(
        "--least",
        type=int,
        default=LEAST_STRUCTURES,
        metavar="N",
        help="boxes with fewer structures are left out (default: %(default)s)",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        metavar="KIND",
        help="structures whose names begin with these words alone, each kind as one label (as lung, vertebrae)",
    )
    options = parser.parse_args()
    model = load_model(options.model)
    names, table = label_table(model, options.kinds)
    for folder in ("imagesTr", "labelsTr"):
        (options.out / folder).mkdir(parents=True)
    pairs = [tuple(each.split("=", 1)) for each in options.labeled]
    count = 0
    for ct, labels in [*([] if options.no_torso else [TORSO]), *pairs]:
        count += write_boxes(options, read_image(str(ct)), table[read_image(str(labels)).array[0].astype(int)], count)
    for ct in options.unlabeled:
        image = read_image(str(ct))
        count += write_boxes(options, image, table[segment(image, model).labels], count)
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **names},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (options.out / "dataset.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: {count} cases")


def label_table(model: SegmentationModel, kinds: Sequence[str] | None) -> tuple[dict[str, int], np.ndarray]:
    """Names of the labels to their values, and the table from the model's values to these."""
    table = np.zeros(256, dtype=np.uint8)
    names = {label.name: label.value for label in model.plans.labels}
    if kinds is None:
        table[list(names.values())] = list(names.values())
        return names, table
    for value, kind in enumerate(kinds, start=1):
        table[[old for name, old in names.items() if name == kind or name.startswith(f"{kind}_")]] = value
    return {kind: value for value, kind in enumerate(kinds, start=1)}, table


def write_boxes(options: argparse.Namespace, image: Image, labels: np.ndarray, first: int) -> int:
    """Write the boxes of a CT as cases, numbered from ``first`` on; how many these are."""
    count = 0
    for box in boxes(image.geometry, options.side):
        if np.count_nonzero(np.unique(labels[box])) < options.least:
            continue
        part = cropped(image, box)
        name = f"crop_{first + count:03d}"
        write(options.out / "imagesTr" / f"{name}_0000.nii.gz", part.array[0], part.geometry)
        write(options.out / "labelsTr" / f"{name}.nii.gz", labels[box].astype(np.uint8), part.geometry)
        count += 1
    print(f"{image.source}: {count} cases from {first} on")
    return count


def boxes(geometry: Geometry, side_mm: float) -> Iterator[tuple[slice, slice, slice]]:
    """Boxes (Z, Y, X) side by side that fill a grid, each at least so wide where the grid is."""
    edges = []
    for size, spacing in zip(geometry.shape, geometry.spacing_mm, strict=True):
        parts = max(1, int(size * spacing / side_mm))
        edges.append([round(size * part / parts) for part in range(parts + 1)])
    yield from itertools.product(*([slice(*pair) for pair in itertools.pairwise(axis)] for axis in edges))


def write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write an array (Z, Y, X) as NIfTI."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.T), geometry.matrix), path)


if __name__ == "__main__":
    main()
