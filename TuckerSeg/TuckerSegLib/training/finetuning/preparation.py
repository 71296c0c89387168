"""Cases of a raw dataset as arrays on the model's grid, in memory or in files, and the split that holds some back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DatasetError, OutputError
from ...files.atomic_writes import written_whole
from ...image import read_image
from ...monitor import Monitor
from ...nnunet.plans import ModelPlans
from ...preprocessing.label_resampling import OUTSIDE
from ...preprocessing.preprocess import preprocess
from .dataset import RawCase, RawDataset
from .label_grid import labels_on_grid

LARGEST_TRAINED_LABEL = int(np.iinfo(np.int16).max)  # the type of the prepared labels, as in nnU-Net
VOXELS_PER_LABEL = 1000  # places to center patches on; nnU-Net keeps 10,000, which 1,000 cases in memory cannot


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One case on the model's grid.

    Attributes:
        identifier: Its name in the dataset.
        image: (C, Z, Y, X) float32, normalized.
        labels: (Z, Y, X) int16; -1 outside a mask that the normalization used.
        voxels: Foreground label to (N, 3) positions of some of its voxels, for labels that the case has.
        annotated: (N, 3) positions of some voxels that are labeled, background too; None without an ignore label.
    """

    identifier: str
    image: np.ndarray
    labels: np.ndarray
    voxels: dict[int, np.ndarray]
    annotated: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Prepared cases, and the value of voxels that nobody labeled (None: there are none)."""

    cases: tuple[PreparedCase, ...]
    ignore_label: int | None = None

    def split(self, validation_fraction: float, seed: int) -> tuple[tuple[PreparedCase, ...], tuple[PreparedCase, ...]]:
        """Split the cases into those to train with and those to validate with.

        Args:
            validation_fraction: Share of the cases that is held back, in (0, 1); at least one case.
            seed: The same seed gives the same split.

        Raises:
            DatasetError: Fewer than two cases.
        """
        validation = held_back(len(self.cases), validation_fraction, seed)
        return (
            tuple(case for number, case in enumerate(self.cases) if number not in validation),
            tuple(case for number, case in enumerate(self.cases) if number in validation),
        )


def held_back(count: int, validation_fraction: float, seed: int) -> frozenset[int]:
    """Numbers of the cases to validate with, counted from 0 in the order of the dataset.

    Args:
        count: Number of cases.
        validation_fraction: Share of them, in (0, 1); at least one case is held back, and at least one is not.
        seed: The same seed gives the same cases.

    Raises:
        DatasetError: Fewer than two cases.
    """
    if count < 2:
        raise DatasetError(
            f"Fine-tuning needs at least 2 labeled cases, as one is held back to see whether it helps; found {count}."
        )
    validation_count = min(max(1, round(validation_fraction * count)), count - 1)
    return frozenset(np.random.default_rng(seed).permutation(count)[:validation_count].tolist())


def prepare_dataset(
    dataset: RawDataset,
    plans: ModelPlans,
    store: Path | None = None,
    monitor: Monitor | None = None,
) -> TrainingSet:
    """Read every case, normalize and resample it as a prediction would, and its labels with it.

    Args:
        dataset: From ``read_raw_dataset``.
        plans: Of the model.
        store: Folder for the arrays as .npy files, which are then read as they are needed; whoever gives it removes
            it. None keeps them in memory.
        monitor: Hears of the stage ``dataset`` and its progress, and is asked before every case whether to stop.

    Raises:
        ImageError: An image cannot be read.
        DatasetError: Labels off their image's grid, or with values that dataset.json does not name.
        OutputError: The folder cannot be written.
        Cancelled: The monitor said so.
    """
    monitor = (monitor or Monitor()).begin("dataset")
    cases = []
    for number, raw in enumerate(dataset.cases):
        monitor.check("The fine-tuning")
        case = _prepare(raw, plans, dataset.ignore_label, np.random.default_rng(number))
        cases.append(case if store is None else _moved_to_files(case, store, number))
        monitor.progress(number + 1, len(dataset.cases))
    return TrainingSet(tuple(cases), dataset.ignore_label)


def _prepare(raw: RawCase, plans: ModelPlans, ignore_label: int | None, random: np.random.Generator) -> PreparedCase:
    """One case, read, checked and brought to the model's grid."""
    image = read_image(raw.images, modality=plans.modalities)
    labels = read_image(raw.labels, missing_value=0.0)
    if not image.geometry.same_grid(labels.geometry):
        raise DatasetError(
            f"{raw.labels}: expected on the grid of its image, {image.geometry.shape} voxels (Z Y X); found "
            f"{labels.geometry.shape} or another position. Resample the labels to the image's grid."
        )
    allowed = [0, *(label.value for label in plans.labels), *([] if ignore_label is None else [ignore_label])]
    if max(allowed) > LARGEST_TRAINED_LABEL:
        raise DatasetError(f"{raw.labels}: labels up to {LARGEST_TRAINED_LABEL} are trained; found {max(allowed)}.")
    unknown = np.setdiff1d(_present(labels.array[0]), allowed)
    if unknown.size:
        raise DatasetError(
            f"{raw.labels}: expected the labels of dataset.json, 0 to {max(allowed)}; found "
            f"{', '.join(f'{value:g}' for value in unknown[:5])} too. Correct the file."
        )
    convention = plans.resampling_convention
    volume = preprocess(image, plans, convention)
    grid = labels_on_grid(labels.array[0], image.array, volume, plans, convention)
    annotated = None if ignore_label is None else _sample_voxels((grid != ignore_label) & (grid != OUTSIDE), random)
    voxels = {
        int(value): _sample_voxels(grid == value, random)
        for value in _present(grid)
        if value > 0 and value != ignore_label
    }
    return PreparedCase(raw.identifier, volume.data.numpy(), grid, voxels, annotated)


def _present(labels: np.ndarray) -> np.ndarray:
    """Values that occur, ascending; slab by slab, because sorting a whole volume takes many seconds."""
    return np.unique(np.concatenate([np.unique(slab) for slab in labels]))


def _sample_voxels(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions (N, 3) of voxels of a mask, at most VOXELS_PER_LABEL of them."""
    places = np.flatnonzero(mask)
    if len(places) > VOXELS_PER_LABEL:
        places = random.choice(places, VOXELS_PER_LABEL, replace=False)
    return np.stack(np.unravel_index(places, mask.shape), axis=1).astype(np.int32)


def _moved_to_files(case: PreparedCase, store: Path, number: int) -> PreparedCase:
    """A case whose arrays lie in files of a folder, read as they are needed."""
    arrays = {}
    try:
        for kind in ("image", "labels"):
            path = store / f"{number:05d}_{kind}.npy"
            with written_whole(path, getattr(case, kind).nbytes) as beside:
                np.save(beside, getattr(case, kind))
            arrays[kind] = np.load(path, mmap_mode="r")
    except OSError as error:
        raise OutputError(f"{store}: the prepared case {case.identifier} cannot be written ({error}).") from error
    return PreparedCase(case.identifier, **arrays, voxels=case.voxels, annotated=case.annotated)
