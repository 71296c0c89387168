"""The tasks that are known by name, and facts about models that their own files do not hold."""

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
LABELS, MASK = "labels", "mask"  # what becomes of a network's output
CATALOG_FILE = RESOURCES / "Models" / "catalog.json"


@dataclass(frozen=True)
class Part:
    """One nnU-Net network of a task.

    Attributes:
        dataset: Name of its folder, such as ``Dataset291_TotalSegmentator_part1_organs_1559subj``.
        configuration: Name of the folder in it, ``trainer__plans__configuration``; None where it is not known.
        folds: The folds that are used; None: all.
        url: Address of its zip; None where it cannot be downloaded.
        size_bytes, sha256: Size and digest of that zip; None where they are not known.
        files: Path and SHA-256 of files in the configuration's folder, as far as they are known.
        labels: Pairs of a value in the network's output and its value in the task's label map, without background;
            values that are not listed become background. Empty: the values are the same.
        role: ``labels``, which are merged with those of the others; or ``mask``: where the network finds the values of
            ``labels``, in what the task's cleaning leaves of the others.
    """

    dataset: str
    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    url: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[int, int], ...] = ()
    role: str = LABELS

    @property
    def title(self) -> str:
        """Short name for users, such as ``ribs`` for ``Dataset295_TotalSegmentator_part5_ribs_1559subj``."""
        short = re.sub(r"^Dataset\d+_|_\d+subj.*$", "", self.dataset)
        return re.sub(r"^.*_part\d+_", "", short).replace("_", " ")


@dataclass(frozen=True)
class Task:
    """A segmentation task, which a user chooses by name.

    Attributes:
        name: The name that the user types.
        title: One line that describes it.
        modality: ``CT`` or ``MR``.
        parts: Its networks, run one after the other; where they overlap, later ones win.
        spacing_mm: Spacing (Z, Y, X) to which the image is resampled; None: as the network's plans say.
        resampling: ``aligned`` (as TotalSegmentator does it before nnU-Net) or ``nnunet``.
        step_fraction: Step between patches as a fraction of the patch.
        structures: Label values and their official names.
        license: License of the weights.
        license_key_required: Whether the weights are given only to holders of a key, so that they cannot be downloaded
            here.
        citation: The publications to cite.
        note: Origin and limits of the weights.
        path: Folder of a built-in task; None for the others.
        crop_task: Name of the fast task that finds boxes of structures; None: there is none.
        crop_structures: Structures of ``crop_task`` whose box the networks are trained on. Empty: they are trained on
            whole images, and may be run on the box of the structures that the user chooses.
        crop_margin_mm: Margin around that box.
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
        """Size of all its zips together; None where one of them is not known."""
        sizes = [part.size_bytes for part in self.parts]
        return None if None in sizes else sum(sizes)

    def parts_with(self, structures: Collection[str] | None) -> list[Part]:
        """The networks whose labels include one of the structures, and masks of these; all networks for None."""
        if structures is None:
            return list(self.parts)
        values = {value for value, name in self.structures if name in structures}
        makes = {part: not part.labels or values & {value for _, value in part.labels} for part in self.parts}
        return [part for part in self.parts if makes[part] or part.role == MASK]


@functools.cache
def tasks() -> tuple[Task, ...]:
    """Every task of the catalog, the built-in one first."""
    document = read_json(CATALOG_FILE)
    return tuple(_task(entry, document) for entry in document["tasks"])


def task(name: str) -> Task | None:
    """The task of this name; None where there is none."""
    return next((each for each in tasks() if each.name == name), None)


def known_models() -> tuple[Task, ...]:
    """The tasks whose weights come with the program."""
    return tuple(each for each in tasks() if each.path is not None)


def shipped_agreement(source_sha256: str, method: str, strength: float) -> tuple[float, str] | None:
    """Agreement of a compressed built-in model with its original, as measured before the program was released.

    Args:
        source_sha256: Digest of the original model's files.
        method: Name of the compression method.
        strength: Strength of the compression, by the method's default policy and with a calibration.

    Returns:
        Mean Dice against the original network and, in words, the volume; between two measured strengths that of the
        lower one, which the words then name. None where it was not measured.
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
    """The measured agreements, as ``tools/measure_agreement.py`` wrote them."""
    return read_json(RESOURCES / "Models" / "agreement.json")


def resampling_convention(dataset_name: str) -> str:
    """The convention by which the images of a model were resampled for its training, ``aligned`` or ``nnunet``.

    TotalSegmentator resamples with aligned corners (``scipy.ndimage.zoom``) before nnU-Net sees the image, in most of
    its tasks; every other nnU-Net model goes through nnU-Net's own edge-aligned resampling.
    """
    listed = _conventions().get(dataset_name)
    return listed or ("aligned" if TOTALSEGMENTATOR_NAME.search(dataset_name) else "nnunet")


def step_fraction(dataset_name: str) -> float:
    """Step between a model's patches as a fraction of the patch: its task's, else nnU-Net's."""
    steps = (each.step_fraction for each in tasks() for part in each.parts if part.dataset == dataset_name)
    return next(steps, NNUNET_STEP_FRACTION)


def warning(dataset_name: str) -> str:
    """What one is to be warned of before one relies on a model, wherever it lies and whatever it is called.

    Only the networks that come with the program are such; empty for any other.
    """
    built_in = (each for each in known_models() if dataset_name in [part.dataset for part in each.parts])
    return next((each.note for each in built_in), "")


@functools.cache
def _conventions() -> dict[str, str]:
    return {part.dataset: each.resampling for each in tasks() for part in each.parts}


def _task(entry: dict[str, Any], document: dict[str, Any]) -> Task:
    fields = {field.name for field in dataclasses.fields(Task)}
    names = document["structure_lists"][entry["structures"]]
    values = {key: value for key, value in entry.items() if key in fields} | {
        "parts": tuple(map(_part, entry["parts"])),
        "spacing_mm": tuple(entry["spacing_mm"]) if entry["spacing_mm"] else None,
        "structures": tuple(enumerate(names, start=1)),
        "citation": "; ".join(document["citations"][key] for key in entry["citation"]),
        "path": RESOURCES / "Models" / entry["path"] if "path" in entry else None,
        "crop_structures": tuple(entry.get("crop_structures", ())),
    }
    return Task(**values)


def _part(entry: dict[str, Any]) -> Part:
    """A part of a catalog entry, whose ``labels`` are runs: first value in the network, first in the task, count."""
    labels = [(first + n, value + n) for first, value, count in entry.get("labels", ()) for n in range(count)]
    folds = tuple(entry["folds"]) if "folds" in entry else None
    files = tuple(entry.get("files", {}).items())
    return Part(**{**entry, "folds": folds, "files": files, "labels": tuple(labels)})
