"""Probabilities of all classes as nnU-Net writes them, so that its ``nnUNetv2_ensemble`` and evaluation read them.

``NAME.npz`` holds ``probabilities`` (C, Z, Y, X) on the axes of the model's reader; ``NAME.pkl`` what such a reader
remembers of the image, in Python's own numbers, lists and texts; ``plans.json`` and ``dataset.json`` lie beside them.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..files.atomic_writes import output_error, written_whole
from ..image import Geometry, oriented
from ..records.job import Job
from ..segmentation.result import SegmentationResult
from ..text_files import write_text
from .types import output_files, without_ending

ARRAY, PROPERTIES = ".npz", ".pkl"
DOCUMENTS = ("plans", "dataset")
_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def probability_paths(job: Job) -> tuple[Path, Path] | None:
    """The two files of a job's probabilities, called as its first file of labels; None where none are asked for.

    Raises:
        OutputError: The job writes no file.
    """
    if not job.save_probabilities:
        return None
    files = output_files(job)
    if not files:
        raise OutputError("Probabilities are written beside labels: name a file for these.")
    stem = without_ending(files[0].path)
    return Path(stem + ARRAY), Path(stem + PROPERTIES)


def write_probabilities(result: SegmentationResult, job: Job) -> None:
    """Write the probabilities of a run that kept them, and nnU-Net's documents where they are not there yet.

    Args:
        result: With probabilities, (classes, Z, Y, X).
        job: Its output names the labels, beside which they are written.

    Raises:
        OutputError: They cannot be written.
    """
    array_path, properties_path = probability_paths(job)
    volume, geometry = result.probabilities, result.geometry
    if result.plans.orientation is not None:
        volume, geometry = oriented(volume, geometry, result.plans.orientation)
    properties = _properties(result.geometry, geometry, result.plans.orientation)
    try:
        with written_whole(array_path) as beside, beside.open("wb") as stream:
            np.savez_compressed(stream, probabilities=volume)
        with written_whole(properties_path) as beside:
            beside.write_bytes(pickle.dumps(properties, protocol=4))
    except OSError as error:
        raise output_error(array_path, error) from error
    for name in DOCUMENTS:
        document, path = (result.plans.documents or {}).get(name), array_path.parent / f"{name}.json"
        if document is not None and not os.path.exists(path):
            write_text(path, json.dumps(document, indent=1))


def _properties(stored: Geometry, read: Geometry, orientation: str | None) -> dict[str, Any]:
    """What nnU-Net's readers remember of a file, and need to write labels as it was.

    Args:
        stored: The image's grid as it lies in its file.
        read: The same on the axes of the reader.
        orientation: To which the reader turns images; None: it does not.
    """
    shape = [int(size) for size in read.shape]
    sitk_stuff: dict[str, Any] = _sitk_grid(read)
    if orientation is not None:
        sitk_stuff["original_orientation"] = _sitk_orientation(_sitk_grid(stored)["direction"])
    return {
        "nibabel_stuff": {
            "original_affine": np.asarray(stored.matrix, float).tolist(),
            "reoriented_affine": np.asarray(read.matrix, float).tolist(),
        },
        "sitk_stuff": sitk_stuff,
        "spacing": [float(size) for size in read.spacing_mm],
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, size] for size in shape],
        "shape_after_cropping_and_before_resampling": shape,
    }


def _sitk_grid(geometry: Geometry) -> dict[str, Any]:
    """Spacing, origin and direction as SimpleITK has them: in LPS, indices in the order x, y, z."""
    matrix = np.asarray(geometry.matrix, float)
    axes = _TO_LPS @ matrix[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    return {
        "spacing": spacing.tolist(),
        "origin": (_TO_LPS @ matrix[:3, 3]).tolist(),
        "direction": (axes / spacing).ravel().tolist(),
    }


def _sitk_orientation(direction: list[float]) -> str:
    import SimpleITK

    return SimpleITK.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(direction)
