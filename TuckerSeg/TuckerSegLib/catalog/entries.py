"""Models that are known by name, and facts about models that their own files do not hold."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..text_files import read_json
from .resources import RESOURCES

# Its data sets are named so, or end in the number of their subjects, as Dataset789_kidney_cyst_501subj.
TOTALSEGMENTATOR_NAME = re.compile(r"TotalSegmentator|_\d+subj$")
NNUNET_STEP_FRACTION = 0.5
CATALOG_FILE = RESOURCES / "Models" / "catalog.json"


@dataclass(frozen=True)
class Part:
    """One nnU-Net network of a task.

    Attributes:
        dataset: Name of its folder, as ``Dataset291_TotalSegmentator_part1_organs_1559subj``.
        configuration: Folder in it, ``trainer__plans__configuration``; None where it is not known.
        folds: Folds that are used; None: all.
        url: Of its zip; None where there is none to be had.
        size_bytes: Of that zip; None where it is not known.
        sha256: Of that zip; None where it is not known.
        files: SHA-256 of files in the configuration's folder, as far as they are known.
        labels: Values in the network's output and in the task's label map, background left out; what is not listed
            becomes background. Empty: the values are the same.
    """

    dataset: str
    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    url: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[int, int], ...] = ()

    @property
    def title(self) -> str:
        """For people: ``ribs`` of ``Dataset295_TotalSegmentator_part5_ribs_1559subj``."""
        short = re.sub(r"^Dataset\d+_|_\d+subj.*$", "", self.dataset)
        return re.sub(r"^.*_part\d+_", "", short).replace("_", " ")


@dataclass(frozen=True)
class Task:
    """What a user picks by name.

    Attributes:
        name: What the user types.
        title: One line for people.
        modality: ``CT`` or ``MR``.
        parts: Networks, run one after the other; where they overlap, later ones win.
        spacing_mm: (Z, Y, X) to which the image is resampled; None: as the network's plans say.
        resampling: ``aligned`` (as TotalSegmentator does it before nnU-Net) or ``nnunet``.
        step_fraction: Of the patches.
        structures: Label values and their official names.
        license: Of the weights.
        license_key_required: Their owner gives them away only for a key; they cannot be downloaded here.
        citation: What to cite.
        note: Origin and limits.
        path: Folder of a built-in task; None for the others.
        crop_task: Name of the fast task that finds boxes; None: there is none.
        crop_structures: Structures of ``crop_task`` whose box the networks are made for. Empty: the whole image, or
            the box of the structures that are wanted.
        crop_margin_mm: Around that box.
    """

    name: str
    title: str
    modality: str
    parts: tuple[Part, ...]
    spacing_mm: tuple[float, float, float] | None
    resampling: str
    step_fraction: float
    structures: tuple[tuple[int, str], ...]
    license: str
    license_key_required: bool = False
    citation: str = ""
    note: str = ""
    path: Path | None = None
    crop_task: str | None = None
    crop_structures: tuple[str, ...] = ()
    crop_margin_mm: float = 0.0

    @property
    def size_bytes(self) -> int | None:
        """Of all its zips; None where one of them is not known."""
        sizes = [part.size_bytes for part in self.parts]
        return None if None in sizes else sum(sizes)

    def parts_with(self, structures: Collection[str] | None) -> list[Part]:
        """The networks that know one of some structures; all of them for None."""
        if structures is None:
            return list(self.parts)
        values = {value for value, name in self.structures if name in structures}
        return [part for part in self.parts if not part.labels or values & {value for _, value in part.labels}]


@functools.cache
def tasks() -> tuple[Task, ...]:
    """Every task of the catalog, the built-in one first."""
    document = read_json(CATALOG_FILE)
    return tuple(_task(entry, document) for entry in document["tasks"])


def task(name: str) -> Task | None:
    """The task of a name; None where there is none."""
    return next((known for known in tasks() if known.name == name), None)


def known_models() -> tuple[Task, ...]:
    """Every task that is built in."""
    return tuple(known for known in tasks() if known.path is not None)


def shipped_agreement(source_sha256: str, method: str, strength: float) -> tuple[float, str] | None:
    """Mean Dice against the original network, measured before this program was given away, and on what.

    Between two measured strengths that of the lower one holds, and it is told.

    Args:
        source_sha256: Of the original model's files.
        method: Name of the compression method.
        strength: Of the method's default policy, calibrated.

    Returns:
        None where it was not measured.
    """
    document = _agreements()
    if (document["source_sha256"], document["method"]) != (source_sha256, method):
        return None
    below = [row for row in document["rank_ratios"] if row["rank_ratio"] <= strength]
    if not below:
        return None
    row = max(below, key=lambda row: row["rank_ratio"])
    where = "" if row["rank_ratio"] == strength else f" at strength {row['rank_ratio']:.2f}"
    return row["agreement"], document["volume"] + where


@functools.cache
def _agreements() -> dict[str, Any]:
    """What ``tools/measure_agreement.py`` wrote."""
    return read_json(RESOURCES / "Models" / "agreement.json")


def resampling_convention(dataset_name: str) -> str:
    """How the images of a model were resampled for its training.

    TotalSegmentator resamples with aligned corners (``scipy.ndimage.zoom``) before nnU-Net sees the image, in most of
    its tasks; every other nnU-Net model goes through nnU-Net's own edge-aligned resampling.
    """
    listed = _conventions().get(dataset_name)
    return listed or ("aligned" if TOTALSEGMENTATOR_NAME.search(dataset_name) else "nnunet")


def step_fraction(dataset_name: str) -> float:
    """How far apart the patches of a model lie, as its task says; nnU-Net's own for models that are in no task."""
    steps = (known.step_fraction for known in tasks() for part in known.parts if part.dataset == dataset_name)
    return next(steps, NNUNET_STEP_FRACTION)


@functools.cache
def _conventions() -> dict[str, str]:
    return {part.dataset: known.resampling for known in tasks() for part in known.parts}


def _task(entry: dict[str, Any], document: dict[str, Any]) -> Task:
    known = {field.name for field in dataclasses.fields(Task)}
    names = document["structure_lists"][entry["structures"]]
    values = {key: value for key, value in entry.items() if key in known} | {
        "parts": tuple(map(_part, entry["parts"])),
        "spacing_mm": tuple(entry["spacing_mm"]) if entry["spacing_mm"] else None,
        "structures": tuple(enumerate(names, start=1)),
        "citation": "; ".join(document["citations"][key] for key in entry["citation"]),
        "path": RESOURCES / "Models" / entry["path"] if "path" in entry else None,
        "crop_structures": tuple(entry.get("crop_structures", ())),
    }
    return Task(**values)


def _part(entry: dict[str, Any]) -> Part:
    """``labels`` holds runs there: first value in the network, first value in the task, how many."""
    labels = [(first + n, value + n) for first, value, count in entry.get("labels", ()) for n in range(count)]
    folds = tuple(entry["folds"]) if "folds" in entry else None
    files = tuple(entry.get("files", {}).items())
    return Part(**{**entry, "folds": folds, "files": files, "labels": tuple(labels)})
