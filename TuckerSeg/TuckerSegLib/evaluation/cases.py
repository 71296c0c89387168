"""Compares predicted label files with reference ones, case by case: what ``tuckerseg evaluate`` measures.

As the Tucker paper evaluates: Dice and NSD of a structure are means over the cases whose reference has it, and the
overall figures are means over those structures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError, SpecError
from .common_grid import on_common_grid
from .dice import StructureMean, StructureScore, mean_of, means_over_cases, overlap
from .label_files import LabelMap, identities, match_values, pair_files, read_layers, unnamed
from .label_names import named_labels
from .surface_distance import check_tolerance, nsd_per_label

TOLERANCE_MM = 3.0  # the Tucker paper's and TotalSegmentator's, at a spacing of 1.5 mm
IGNORE = "ignore"  # nnU-Net's name for voxels that nobody labeled
SHOWN_STRUCTURES = 15


@dataclass(frozen=True)
class EvaluationSpec:
    """How agreement is measured.

    Attributes:
        tolerance_mm: Surfaces that are no farther apart than this agree.
        minimum_voxels: A structure of fewer voxels in a case's reference does not count there.
        labels: Names of the label values in all files, as ``label_names.named_labels`` takes them; None takes the names
            that come with each file.

    Raises:
        SpecError: A negative tolerance or number of voxels.
    """

    tolerance_mm: float = TOLERANCE_MM
    minimum_voxels: int = 0
    labels: str | None = None

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance_mm)
        if self.minimum_voxels < 0:
            raise SpecError(f"The smallest number of voxels is 0 or more; found {self.minimum_voxels}.")


@dataclass(frozen=True)
class Evaluation:
    """Agreement of label files with their references.

    Attributes:
        tolerance_mm, minimum_voxels: As in :class:`EvaluationSpec`.
        cases: Number of cases that were compared.
        unpaired: Files without a partner in the other folder, which were left out.
        notes: What a user should know about the files, one sentence each.
        dice, nsd: Means over the structures that count; None where no structure counts.
        structures: Means per structure, the worst Dice first; structures that count in no case come last.
        scores: One entry per case and structure that either file has.
    """

    tolerance_mm: float
    minimum_voxels: int
    cases: int
    unpaired: tuple[str, ...]
    notes: tuple[str, ...]
    dice: float | None
    nsd: float | None
    structures: tuple[StructureMean, ...]
    scores: tuple[StructureScore, ...]


def evaluate(
    prediction: Path, reference: Path, spec: EvaluationSpec, on_case: Callable[[str, int, int], None] = lambda *_: None
) -> Evaluation:
    """Compare two label files, or the files of two folders.

    Args:
        prediction, reference: Two label files, or two folders of files that are named alike.
        spec: How agreement is measured.
        on_case: Called before each case with its name, its number from 1, and the number of cases.

    Returns:
        Scores of all cases, and their means.

    Raises:
        ImageError: A file cannot be read, or the two of a case lie on different grids.
        SpecError: ``spec.labels`` names no labels.
    """
    names = named_labels(spec.labels) if spec.labels else None
    pairs, unpaired = pair_files(prediction, reference)
    scores: list[StructureScore] = []
    notes: list[str] = []
    for number, pair in enumerate(pairs, 1):
        on_case(pair.case, number, len(pairs))
        layers = on_common_grid(read_layers(pair.prediction, names), read_layers(pair.reference, names))
        case_scores = score_layers(pair.case, *layers, spec.tolerance_mm)
        notes += [f"{labels.source}: {note}" for part in layers for labels in part for note in labels.notes]
        notes += _notes_on_names(pair.case, case_scores)
        scores += case_scores
    structures = means_over_cases(scores, spec.minimum_voxels)
    return Evaluation(
        tolerance_mm=spec.tolerance_mm,
        minimum_voxels=spec.minimum_voxels,
        cases=len(pairs),
        unpaired=tuple(map(str, unpaired)),
        notes=tuple(notes),
        dice=mean_of(structure.dice for structure in structures if structure.cases),
        nsd=mean_of(structure.nsd for structure in structures if structure.cases),
        structures=structures,
        scores=tuple(scores),
    )


def score_layers(
    case: str, predictions: Sequence[LabelMap], references: Sequence[LabelMap], tolerance_mm: float
) -> list[StructureScore]:
    """Scores of two files whose segments may overlap: every structure in the layers that hold it.

    Args:
        case: Name of the case, for the scores.
        predictions, references: The layers of either file, all on the same grid.
        tolerance_mm: As for :func:`score_case`.

    Raises:
        ImageError: Structures can only be told by their values, and layers use a value twice.
    """
    if len(predictions) == len(references) == 1:
        return score_case(case, predictions[0], references[0], tolerance_mm)
    named = all(labels.names for labels in (*predictions, *references))
    homes = _homes(predictions, named), _homes(references, named)
    scores = []
    for first, prediction in enumerate(predictions):
        for second, reference in enumerate(references):
            known_by = {
                name: identity
                for labels in (prediction, reference)
                for identity, name in identities(labels, named).items()
            }
            for score in score_case(case, prediction, reference, tolerance_mm):
                identity = known_by.get(score.name, score.value)
                if (homes[0].get(identity, 0), homes[1].get(identity, 0)) == (first, second):
                    scores.append(score)
    return scores


def _homes(layers: Sequence[LabelMap], named: bool) -> dict[object, int]:
    """Each structure's layer."""
    homes: dict[object, int] = {}
    for number, labels in enumerate(layers):
        for identity, name in identities(labels, named).items():
            if identity in homes:
                raise ImageError(
                    f"{labels.source}: its segments overlap, and {name} has a value that another layer uses, too, "
                    "while the other file names no structures. Give that one as a .seg.nrrd, or with a dataset.json."
                )
            homes[identity] = number
    return homes


def score_case(case: str, prediction: LabelMap, reference: LabelMap, tolerance_mm: float) -> list[StructureScore]:
    """Dice and NSD of every structure that either map has; voxels that the reference ignores count nowhere.

    Args:
        case: Name of the case, for the scores.
        prediction, reference: On the same grid.
        tolerance_mm: Surfaces that are no farther apart than this agree.
    """
    predicted, names = match_values(prediction, reference)
    predicted, expected = _without_ignored(predicted, reference.array, names)
    counts = overlap(predicted, expected)
    nsd = nsd_per_label(predicted, expected, reference.geometry.spacing_mm, tolerance_mm)
    return [
        StructureScore(
            case=case,
            value=value,
            name=names.get(value, unnamed(value)),
            reference_voxels=int(counts.reference[value]),
            predicted_voxels=int(counts.predicted[value]),
            dice=dice,
            nsd=nsd[value],
        )
        for value, dice in counts.dice().items()
    ]


def _without_ignored(
    predicted: np.ndarray, expected: np.ndarray, names: dict[int, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Both label maps with background wherever the reference is labeled "ignore", and where the prediction is."""
    ignored = next((value for value, name in names.items() if name == IGNORE), None)
    if ignored is None:
        return predicted, expected
    outside = expected == ignored
    return np.where(outside | (predicted == ignored), 0, predicted), np.where(outside, 0, expected)


def _notes_on_names(case: str, scores: Sequence[StructureScore]) -> list[str]:
    """A note that names may be spelled differently, where no structure is in both maps."""
    predicted = [score.name for score in scores if score.predicted_voxels]
    expected = [score.name for score in scores if score.reference_voxels]
    if not predicted or not expected or set(predicted) & set(expected):
        return []
    return [
        f"{case}: no structure is in both files; predicted: {', '.join(predicted)}; reference: {', '.join(expected)}. "
        "Where these are the same, give their values the same names."
    ]
