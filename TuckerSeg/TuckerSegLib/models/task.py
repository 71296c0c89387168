"""Tasks: a network, or several whose structures make one label map, as those of ``total``.

One type for both, so that whoever runs a task need not know of how many networks it consists. Of several networks no
weights are held: they are loaded when a network's turn comes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import catalog
from .. import model_zoo as installed_models
from ..cache import Cache
from ..catalog.entries import LABELS
from ..errors import DownloadError, SpecError
from ..monitor import Monitor
from ..nnunet.folder import find_model_folder
from ..records.cleaning import Cleaning
from ..records.job import InferenceSpec, Job, steps_at
from .cleaning import cleaning_of
from .loading import load_known, load_model
from .model import SegmentationModel
from .pack_file import read_pack, read_part
from .resolved_job import ResolvedJob, resolve, wanted_structures

Load = Callable[[str | Path, tuple[str, ...] | None, str | None], SegmentationModel]

VOTES, INPUT = "votes", "input"  # roles of networks, beside those of the catalog
UNCOMPRESSED = ResolvedJob(Job(images=()), InferenceSpec().with_step())


@dataclass(frozen=True)
class TaskPart:
    """One network of a task.

    Attributes:
        name: For people.
        load: Gives the model as it is on disk, with its weights.
        facts: Gives the same model, perhaps without weights, see ``loading.load_known``.
        values: Label value of the network to that of the task, for every structure; None: they are the same.
        role: What becomes of its output: ``labels`` are merged with those of the others, ``votes`` are probabilities
            whose mean decides, ``input`` is labels that the next network takes, ``mask`` says where the cleaning
            leaves labels.
    """

    name: str
    load: Callable[[], SegmentationModel]
    facts: Callable[[], SegmentationModel]
    values: Mapping[int, int] | None = None
    role: str = LABELS


@dataclass(frozen=True)
class SegmentationTask:
    """Networks whose structures make one label map.

    Attributes:
        name: For people.
        parts: In the order in which they run; later ones overwrite.
        label_names: Every label value to its name.
        resolved: The job, which says how the networks are compressed; that of a mere model compresses nothing.
        step_fraction: Patch step / patch size where a run leaves it open; None: nnU-Net's.
        structures: Names of the structures that are wanted; None: all.
        cleaning: How the labels are cleaned in the end; None: not at all.
    """

    name: str
    parts: tuple[TaskPart, ...]
    label_names: Mapping[int, str]
    resolved: ResolvedJob = UNCOMPRESSED
    step_fraction: float | None = None
    structures: tuple[str, ...] | None = None
    cleaning: Cleaning | None = None


def load_task(
    name: str,
    structures: Sequence[str] | None = None,
    rank_ratio: float = 1.0,
    folds: tuple[str, ...] | None = None,
    cache: Cache | None = None,
) -> SegmentationTask:
    """Load a task: one or several networks that make one label map, or some structures of it.

    The networks of the catalog's tasks are read one after the other, when ``segment`` comes to them.

    Args:
        name: A task of the catalog that is installed, or name or path of a model.
        structures: Names or groups of the structures that are wanted, as ``liver``; None takes all.
        rank_ratio: Strength by which every network is compressed; 1 runs the originals.
        folds: Of every network; None takes all.
        cache: None takes the user's.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError: A model is not there, damaged, or not handled; as
            :func:`load_model`.
        DownloadError: A network is not on this computer.
        SpecError: No such structure, or a strength out of its range.

    Example:
        >>> task = load_task("total_fast", structures=("liver", "spleen"), rank_ratio=0.5)
        >>> result = segment("CT.nii.gz", task)
    """
    names = None if structures is None else tuple(structures)
    job = Job(images=(), model=name, folds=folds, structures=names, steps=steps_at(rank_ratio))
    return task_of(resolve(job), cache or Cache())


def task_of(resolved: ResolvedJob, cache: Cache, load: Load | None = None) -> SegmentationTask:
    """The task of a job. Weights are loaded when their turn comes, but those of a model of the user's with ``load``.

    Args:
        resolved: The job; its model, folds, structures and steps count.
        cache: Keeps converted models.
        load: Loads a model by path, folds and checkpoint, as one that stays in memory between jobs; None reads it from
            disk.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, DownloadError, SpecError: As :func:`load_task`.
    """
    return replace(_task_of(resolved, cache, load), cleaning=cleaning_of(resolved))


def _task_of(resolved: ResolvedJob, cache: Cache, load: Load | None) -> SegmentationTask:
    job, parts = resolved.job, resolved.networks
    if not parts:
        task = _users_task(resolved, cache, load)
        return replace(task, structures=wanted_structures(job, task.label_names, task.name))
    load = load or (lambda path, folds, checkpoint: load_model(path, folds, cache, checkpoint))
    names = dict(resolved.task.structures)
    located = [
        _located(part, names, folder, (job.folds or part.folds, job.checkpoint), cache, load)
        for part, folder in zip(parts, _folders(resolved.task, parts))
    ]
    name, step_fraction = resolved.task.name, resolved.task.step_fraction
    return SegmentationTask(name, tuple(located), names, resolved, step_fraction, resolved.structures)


def bring_networks(resolved: ResolvedJob, monitor: Monitor | None = None) -> None:
    """Download the networks of a job that are not on this computer.

    Args:
        resolved: The job; its networks count.
        monitor: Hears of a download, and is asked whether to stop it.

    Raises:
        DownloadError: They cannot be had.
        Cancelled: The monitor said so.
    """
    if None in map(installed_models.find_part, resolved.networks):
        from ..model_zoo.installing import ensure_installed

        ensure_installed(resolved.task, resolved.networks, monitor)


def bring_all_networks(resolved: ResolvedJob, monitor: Monitor | None = None) -> None:
    """Download the networks of a job, that which finds its box included; as :func:`bring_networks`."""
    bring_networks(resolved, monitor)
    if resolved.roi_search is not None:
        bring_networks(resolved.roi_search.fast, monitor)


def _folders(task: catalog.Task, parts: Sequence[catalog.Part]) -> list[Path]:
    """Folders of a task's networks.

    Raises:
        DownloadError: One of them is not on this computer.
    """
    if reason := installed_models.refusal(task):
        raise DownloadError(reason)
    folders = [installed_models.find_part(part) for part in parts]
    missing = [part for part, folder in zip(parts, folders) if folder is None]
    if missing:
        names, sizes = ", ".join(part.title for part in missing), [part.size_bytes for part in missing]
        size = "of unknown size" if None in sizes else f"{sum(sizes) / 1e6:.0f} MB"
        raise DownloadError(
            f"{len(missing)} of {len(parts)} networks of {task.name} ({names}) are not on this computer ({size} to "
            f"download): a first segmentation brings them.",
            shell=f"So does 'tuckerseg models download {task.name}'.",
        )
    return folders


def _located(
    part: catalog.Part,
    names: Mapping[int, str],
    folder: Path,
    weights: tuple[tuple[str, ...] | None, str | None],
    cache: Cache,
    load: Load,
) -> TaskPart:
    folds, checkpoint = weights
    find_model_folder(folder, folds, checkpoint)  # a network that cannot be read is told before the others have run
    values = dict(part.labels) or {value: value for value in names}
    facts = functools.partial(load_known, folder, folds, cache, checkpoint)
    return TaskPart(part.title, lambda: load(folder, folds, checkpoint), facts, values, part.role)


def _users_task(resolved: ResolvedJob, cache: Cache, load: Load | None) -> SegmentationTask:
    """The task of a model that is not one of the catalog's; its weights are read when they are needed."""
    job = resolved.job
    packed = None if job.ensemble else _packed_task(resolved)
    if packed is not None:
        return packed
    known = None if job.ensemble else (load or known_by(cache))(job.model, job.folds, job.checkpoint)
    if known is None or known.plans.previous_stage is not None or job.previous_stage is not None:
        from .ensembles import joint_task

        return joint_task(resolved, cache)
    task = single_task(known, resolved)
    if load is not None:
        return task
    if known.has_weights:
        return task
    part = replace(task.parts[0], load=lambda: load_model(job.model, job.folds, cache, job.checkpoint))
    return replace(task, parts=(part,))


def _packed_task(resolved: ResolvedJob) -> SegmentationTask | None:
    """The task of a file of several models, see ``pack_file``; None for every other model."""
    path, folds = installed_models.locate(resolved.job.model, resolved.job.folds)
    pack = read_pack(path) if path.suffix == ".tuckerseg" else None
    if pack is None:
        return None
    if folds or resolved.job.checkpoint:
        raise SpecError(
            f"{path} holds {len(pack.parts)} networks with the folds that they were packed with; name none."
        )
    parts = (
        TaskPart(
            part.name,
            functools.partial(read_part, path, number),
            functools.partial(read_part, path, number, weights=False),
            part.values,
        )
        for number, part in enumerate(pack.parts)
    )
    stepped = replace(resolved, inference=resolved.job.inference.with_step(pack.step_fraction))
    return SegmentationTask(pack.name, tuple(parts), pack.label_names, stepped, pack.step_fraction)


def known_by(cache: Cache) -> Load:
    """A function that loads models by path, folds and checkpoint as ``load_known``."""
    return lambda path, folds, checkpoint: load_known(path, folds, cache, checkpoint)


def single_task(model: SegmentationModel, resolved: ResolvedJob = UNCOMPRESSED) -> SegmentationTask:
    """A model as a task of one network.

    Args:
        model: With its weights; it is not loaded again.
        resolved: The job, which says how it is compressed.
    """
    names = {label.value: label.name for label in model.plans.labels}
    return SegmentationTask(model.name, (TaskPart(model.name, lambda: model, lambda: model),), names, resolved)


def only_part(task: SegmentationTask) -> TaskPart:
    """The network of a task that has but one.

    Raises:
        SpecError: It has several.
    """
    if len(task.parts) != 1:
        raise SpecError(
            f"{task.name} has {len(task.parts)} networks ({', '.join(part.name for part in task.parts)}), and this "
            "works on one: give the folder of one of them as the model."
        )
    return task.parts[0]
