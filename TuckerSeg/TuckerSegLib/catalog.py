"""Models that are known by name, and facts about models that their own files do not hold."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ModelFolderError

_LIBRARY = Path(__file__).resolve().parent
# Beside the library in a source tree and inside Slicer, within it in an installed wheel.
RESOURCES = _LIBRARY.parent / "Resources"
if not RESOURCES.is_dir():
    RESOURCES = _LIBRARY / "Resources"

DEMO_VOLUME = RESOURCES / "Data" / "synthetic_torso.nii.gz"


@dataclass(frozen=True)
class CatalogModel:
    """A model with a name.

    Attributes:
        name: What the user types.
        title: One line for people.
        path: Where its files are.
        note: Origin, license, limits.
    """

    name: str
    title: str
    path: Path
    note: str


# Its data sets are named so, or end in the number of their subjects, as Dataset258_lung_vessels_248subj.
TOTALSEGMENTATOR_NAME = re.compile(r"TotalSegmentator|_\d+subj$")

DEMO = CatalogModel(
    "demo",
    "Demonstration network: 117 CT structures at 3 mm, 5.7 million parameters",
    RESOURCES / "Models" / "Dataset900_TuckerSegDemo",
    "A demonstration, not for clinical use. Trained briefly on a handful of volumes.",
)
MODELS = (DEMO,)


def known_models() -> tuple[CatalogModel, ...]:
    """Every model that can be named instead of giving a path."""
    return MODELS


def model_path(name_or_path: str) -> Path:
    """Path of a model given by name or path; names win.

    Raises:
        ModelFolderError: Neither a known name nor an existing path.
    """
    for model in MODELS:
        if model.name == name_or_path:
            return model.path
    path = Path(name_or_path).expanduser()
    if not path.exists():
        names = ", ".join(model.name for model in MODELS)
        raise ModelFolderError(f"'{name_or_path}' is neither a known model ({names}) nor an existing file or folder.")
    return path


def shipped_agreement(source_sha256: str, method: str, rank_ratio: float) -> tuple[float, str] | None:
    """Mean Dice against the original network, measured before this program was given away, and on what.

    Between two measured ratios that of the lower one holds, and its ratio is told.

    Args:
        source_sha256: Of the original model's files.
        rank_ratio: Of the method's default policy, calibrated.

    Returns:
        None where it was not measured.
    """
    document = _agreements()
    if (document["source_sha256"], document["method"]) != (source_sha256, method):
        return None
    below = [row for row in document["rank_ratios"] if row["rank_ratio"] <= rank_ratio]
    if not below:
        return None
    row = max(below, key=lambda row: row["rank_ratio"])
    where = "" if row["rank_ratio"] == rank_ratio else f" at rank {row['rank_ratio']:.2f}"
    return row["agreement"], document["volume"] + where


@functools.cache
def _agreements() -> dict[str, Any]:
    """What ``tools/measure_agreement.py`` wrote."""
    return json.loads((RESOURCES / "Models" / "agreement.json").read_text(encoding="utf-8"))


def resampling_convention(dataset_name: str) -> str:
    """How the images of a model were resampled for its training.

    TotalSegmentator resamples with aligned corners (``scipy.ndimage.zoom``) before nnU-Net sees the image; every
    other nnU-Net model goes through nnU-Net's own edge-aligned resampling.
    """
    return "aligned" if TOTALSEGMENTATOR_NAME.search(dataset_name) else "nnunet"
