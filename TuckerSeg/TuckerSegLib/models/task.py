"""What gives one label map: a network, or several whose structures go together, as those of ``total``.

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
from ..catalog.selection import select
from ..errors import DownloadError, SpecError
from ..monitor import Monitor
from ..nnunet.folder import find_model_folder
from ..records.job import InferenceSpec, Job, steps_at
from .loading import load_facts, load_model
from .model import SegmentationModel

Load = Callable[[str | Path, tuple[str, ...] | None], SegmentationModel]

AS_IT_IS = Job(images=())


@dataclass(frozen=True)
class TaskPart:
    """One network of a task.

    Attributes:
        name: For people.
        load: Gives the model as it is on disk.
        facts: Gives the same without weights, see ``loading.load_facts``.
        values: Network's label value to the task's, of every structure; None: they are the same.
    """

    name: str
    load: Callable[[], SegmentationModel]
    facts: Callable[[], SegmentationModel]
    values: Mapping[int, int] | None = None


@dataclass(frozen=True)
class SegmentationTask:
    """Networks whose structures make one label map.

    Attributes:
        name: For people.
        parts: In the order in which they run; later ones overwrite.
        label_names: Every label value to its name.
        job: How the networks are compressed; what else it says is not looked at.
        step_fraction: Where a run does not say; None: nnU-Net's.
        structures: Names of the structures that are wanted; None: all.
        search: What the box that is computed is to be found by; None where the whole volume is meant.
    """

    name: str
    parts: tuple[TaskPart, ...]
    label_names: Mapping[int, str]
    job: Job = AS_IT_IS
    step_fraction: float | None = None
    structures: tuple[str, ...] | None = None
    search: Search | None = None


def load_task(
    name: str,
    structures: Sequence[str] | None = None,
    rank_ratio: float = 1.0,
    folds: tuple[str, ...] | None = None,
    cache: Cache | None = None,
) -> SegmentationTask:
    """A task for ``segment``.

    Args:
        name: A task of the catalog that is installed, or name or path of a model.
        structures: Names or groups of what is wanted, see ``structure_selection.select``; None takes all.
        rank_ratio: Strength by which every network is compressed; 1 runs the originals.
        folds: Of every network; None takes all.
        cache: None takes the user's.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError: See ``loading.load_model``.
        DownloadError: A network is not on this computer.
        SpecError: No such structure, or a strength out of its range.
    """
    wanted = None if structures is None else tuple(structures)
    job = Job(images=(), model=name, folds=folds, structures=wanted, steps=steps_at(rank_ratio))
    return task_of(job, cache or Cache())


def task_of(job: Job, cache: Cache, load: Load | None = None) -> SegmentationTask:
    """The task of a job. A model of the user's is loaded at once, networks of the catalog when their turn comes.

    Args:
        load: Loads a model that is to stay in memory; None reads it.

    Raises:
        See :func:`load_task`.
    """
    load = load or (lambda path, folds: load_model(path, folds, cache))
    search, networks = search_of(job), _networks_of(job)
    if networks is None:
        task = single_task(load(job.model, job.folds), job)
        return replace(task, structures=wanted_structures(job, task.label_names, task.name), search=search)
    known, wanted, parts = networks
    names = dict(known.structures)
    located = [
        _located(part, names, folder, job.folds or part.folds, cache, load)
        for part, folder in zip(parts, _folders(known, parts))
    ]
    return SegmentationTask(known.name, tuple(located), names, job, known.step_fraction, wanted, search)


def bring_networks(job: Job, monitor: Monitor | None = None) -> None:
    """Download the networks that a job needs and that are not on this computer.

    Args:
        monitor: Hears of a download, and is asked whether to stop it.

    Raises:
        DownloadError: They cannot be had.
        Cancelled: The monitor said so.
        SpecError: No such structure.
    """
    networks = _networks_of(job)
    if networks is None:
        return
    known, _, parts = networks
    if None in map(installed_models.find_part, parts):
        from ..model_zoo.installing import ensure_installed

        ensure_installed(known, parts, monitor)


def _networks_of(job: Job) -> tuple[catalog.Task, tuple[str, ...] | None, Sequence[catalog.Part]] | None:
    """The catalog's task of a job, the structures that are wanted of it, and the networks that know one of them.

    Returns:
        None for a model that is not downloaded: the built-in one, or one of the user's.

    Raises:
        SpecError: No such structure.
    """
    known = catalog.task(job.model)
    if known is None or known.path is not None:
        return None
    wanted = wanted_structures(job, dict(known.structures), known.name)
    return known, wanted, known.parts_with(wanted)


def wanted_structures(job: Job, names: Mapping[int, str], where: str) -> tuple[str, ...] | None:
    """Names of the labels that a job asks for; None for all.

    Raises:
        SpecError: No such structure.
    """
    return None if job.structures is None else tuple(select(job.structures, names.values(), where))


def _folders(known: catalog.Task, parts: Sequence[catalog.Part]) -> list[Path]:
    """Where networks lie.

    Raises:
        DownloadError: One of them is not here.
    """
    if reason := installed_models.refusal(known):
        raise DownloadError(reason)
    folders = [installed_models.find_part(part) for part in parts]
    missing = [part for part, folder in zip(parts, folders) if folder is None]
    if missing:
        names, sizes = ", ".join(part.title for part in missing), [part.size_bytes for part in missing]
        size = "of unknown size" if None in sizes else f"{sum(sizes) / 1e6:.0f} MB"
        raise DownloadError(
            f"{len(missing)} of {len(parts)} networks of {known.name} ({names}) are not on this computer ({size} to "
            f"download): a first segmentation brings them.",
            shell=f"So does 'tuckerseg models download {known.name}'.",
        )
    return folders


def _located(
    part: catalog.Part,
    names: Mapping[int, str],
    folder: Path,
    folds: tuple[str, ...] | None,
    cache: Cache,
    load: Load,
) -> TaskPart:
    find_model_folder(folder, folds)  # a network that cannot be read is told before the others have run
    values = dict(part.labels) or {value: value for value in names}
    facts = functools.partial(load_facts, folder, folds, cache)
    return TaskPart(part.title, lambda: load(folder, folds), facts, values)


def single_task(model: SegmentationModel, job: Job = AS_IT_IS) -> SegmentationTask:
    """A model as a task of one network."""
    names = {label.value: label.name for label in model.plans.labels}
    return SegmentationTask(model.name, (TaskPart(model.name, lambda: model, lambda: model),), names, job)


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


@dataclass(frozen=True)
class Search:
    """What is looked for.

    Attributes:
        job: Of the fast task.
        structures: Names in that task.
        margin_mm: Around them.
        cut: Whether the networks see nothing but the box, as they did in training.
    """

    job: Job
    structures: tuple[str, ...]
    margin_mm: float
    cut: bool


def search_of(job: Job) -> Search | None:
    """What a job's box is to be found by; None where the whole volume is meant.

    Raises:
        SpecError: A box is asked for, but no structures are, or no fast network is known for the model.
    """
    task = catalog.task(job.model)
    cut = bool(task and task.crop_structures)
    if job.crop == "none" or (job.crop is None and not cut):
        return None
    if not cut and job.structures is None:
        raise SpecError(
            "A crop is the box of the structures that are wanted: name them.",
            shell="That is --structures liver,spleen, for example.",
        )
    if task is None or task.crop_task is None:
        known = ", ".join(each.name for each in catalog.tasks() if each.crop_task)
        raise SpecError(f"No fast network is known that finds structures for {job.model}; there is one for {known}.")
    if cut:
        structures = task.crop_structures
    else:
        structures = tuple(select(job.structures, [name for _, name in task.structures], task.name))
    fast = Job(images=(), model=task.crop_task, inference=_fast(job.inference))
    return Search(fast, structures, task.crop_margin_mm, cut)


def bring_all_networks(job: Job, monitor: Monitor | None = None) -> None:
    """Download the networks that a job needs, that which finds its box included; see ``bring_networks``."""
    bring_networks(job, monitor)
    if search := search_of(job):
        bring_networks(search.job, monitor)


def _fast(inference: InferenceSpec) -> InferenceSpec:
    """As the job's own run, but in the fast task's steps, and with what is quick where nobody sees the result."""
    return InferenceSpec(
        device=inference.device,
        precision=inference.precision,
        threads=inference.threads,
        output_grid="nearest",
        skip_empty=inference.skip_empty,
    )
