"""A job together with what follows from it, worked out once, before a model is read.

Whoever takes part in a run, an estimate or a preview gets this record, so that nobody asks the catalog or the
compression methods a second time. It knows nothing of files and weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .. import catalog
from ..catalog.selection import select
from ..compression import ALLOCATOR
from ..compression.policies import is_calibrated, policy_spec, with_improvements
from ..errors import SpecError
from ..records.job import InferenceSpec, Job, Step, at_strength
from .planning import spec_of_step

Steps = tuple[tuple[str, Any], ...]  # method and Spec of each step of a compression


@dataclass(frozen=True)
class ResolvedJob:
    """A job with all that follows from it: settings, networks, structures, steps of the compression.

    Attributes:
        job: As it was asked for.
        inference: The job's own, with a step fraction: the one asked for, else the task's usual one, else nnU-Net's.
        task: The catalog's task that the model's name stands for; None for any other model.
        networks: Those of the task that are run, in their order. Empty for the built-in model and for a model of the
            user's, which is one network that is not downloaded.
        structures: Names of the task's structures that are wanted; None for all. Also None where ``networks`` is
            empty: which structures such a model has is known when it is read, see ``task.task_of``.
        steps: Method and ``Spec`` of each step of the compression; none where the model runs as it is.
        roi_search: How the box that is computed is found; None where the whole volume is computed.
    """

    job: Job
    inference: InferenceSpec
    task: catalog.Task | None = None
    networks: tuple[catalog.Part, ...] = ()
    structures: tuple[str, ...] | None = None
    steps: Steps = ()
    roi_search: RoiSearch | None = None

    def at_strength(self, strength: float) -> ResolvedJob:
        """This job at another strength of the compression's last step, see ``records.job.at_strength``.

        Raises:
            SpecError: The method cannot be asked for so.
        """
        job = at_strength(self.job, strength)
        return replace(self, job=job, steps=_steps_of(job))

    def by_policy(self, policy: str, strength: float) -> ResolvedJob:
        """This job compressed by a named policy in place of its own steps; all policies have one budget.

        Args:
            policy: Name in ``compression.policies``, with ``+refit`` or without.
            strength: Above 0 and below 1.

        Raises:
            SpecError: No such policy, or one that trains.
        """
        base, improvements = with_improvements(policy)
        if "repair" in improvements:
            raise SpecError(f"A repair trains for minutes, and is no compression alone; found {policy}.")
        method, spec = policy_spec(base, strength, comparable=True)
        step = Step(method, {field.name: getattr(spec, field.name) for field in fields(spec)})
        calibrate = self.job.calibrate
        if not is_calibrated(base):
            calibrate = "none"
        elif calibrate == "none":
            calibrate = "auto"
        refit = "refit" in improvements
        own = {"method": None, "compression": {}, "agreement": None}
        job = replace(self.job, **own, steps=(step,), calibrate=calibrate, refit=refit)
        return replace(self, job=job, steps=_steps_of(job))

    def without_refit(self) -> ResolvedJob:
        """This job without the fit to the volume, for previews and measurements of speed.

        The fit takes a minute, and changes nothing of what a run costs.
        """
        return replace(self, job=replace(self.job, refit=False))


@dataclass(frozen=True)
class RoiSearch:
    """How the region of interest of a job is found: the box around some structures, by a fast task.

    Attributes:
        fast: The job of the fast task.
        structures: Names of the structures in that task.
        margin_mm: Margin around them.
        cut: Whether the networks see nothing but the box, as they did in training.
    """

    fast: ResolvedJob
    structures: tuple[str, ...]
    margin_mm: float
    cut: bool


def resolve(job: Job) -> ResolvedJob:
    """Work out what follows from a job. Reads neither images nor models.

    Raises:
        SpecError: No such structure; a box is asked for, but no structures are, or no fast task is known for the
            model; no such compression method, or settings that it does not have.
    """
    task = catalog.task(job.model)
    downloads = task is not None and task.path is None
    _check_ensemble(job)
    structures = wanted_structures(job, dict(task.structures), task.name) if downloads else None
    return ResolvedJob(
        job,
        job.inference.with_step(task.step_fraction if downloads else None),
        task,
        tuple(task.parts_with(structures)) if downloads else (),
        structures,
        _steps_of(job),
        _roi_search_of(job, task),
    )


def is_allocated(resolved: ResolvedJob) -> bool:
    """Whether all means of compression together carry a job out."""
    return any(method == ALLOCATOR for method, _ in resolved.steps)


def _check_ensemble(job: Job) -> None:
    """Raises SpecError where one of an ensemble's models is a task, which may be several networks."""
    for name in (job.model, *job.ensemble) if job.ensemble else ():
        task = catalog.task(name)
        if task is not None and task.path is None:
            raise SpecError(f"An ensemble is made of single models, named by folder or file; found the task {name}.")


def wanted_structures(job: Job, names: Mapping[int, str], where: str) -> tuple[str, ...] | None:
    """Names of the labels that a job asks for; None for all.

    Args:
        job: With names or groups of structures, or None for all.
        names: Every label value of the model to its name.
        where: The model or task that has these labels, for messages.

    Raises:
        SpecError: No such structure.
    """
    return None if job.structures is None else tuple(select(job.structures, names.values(), where))


def _steps_of(job: Job) -> Steps:
    """Method and ``Spec`` of every step of a job that may change a network, each method once."""
    steps = tuple((step.method, spec_of_step(step)) for step in job.recipe)
    methods = [method for method, _ in steps]
    for number, method in enumerate(methods):
        if method in methods[:number]:
            raise SpecError(f"The compression {method} is asked for twice; it has nothing to say of its own layers.")
    if ALLOCATOR in methods and len(methods) > 1:
        raise SpecError(f"{ALLOCATOR} chooses among all methods itself, and stands alone; found {', '.join(methods)}.")
    return tuple((method, spec) for method, spec in steps if not getattr(spec, "keeps_network", False))


def _roi_search_of(job: Job, task: catalog.Task | None) -> RoiSearch | None:
    """How the box of a job is found; None where the whole volume is computed."""
    cut = bool(task and task.crop_structures)
    if job.crop == "none" or (job.crop is None and not cut):
        return None
    if not cut and job.structures is None:
        raise SpecError(
            "A crop is the box of the structures that are wanted: name them.",
            shell="That is --structures liver,spleen, for example.",
        )
    if task is None or task.crop_task is None:
        with_fast_task = ", ".join(each.name for each in catalog.tasks() if each.crop_task)
        raise SpecError(
            f"No fast network is known that finds structures for {job.model}; there is one for {with_fast_task}."
        )
    structures = task.crop_structures if cut else wanted_structures(job, dict(task.structures), task.name)
    fast = resolve(Job(images=(), model=task.crop_task, inference=_search_inference(job.inference)))
    return RoiSearch(fast, structures, task.crop_margin_mm, cut)


def _search_inference(inference: InferenceSpec) -> InferenceSpec:
    """Settings of the fast task's run: the job's device and precision, the task's own steps, the quick output grid."""
    return InferenceSpec(
        device=inference.device,
        precision=inference.precision,
        threads=inference.threads,
        output_grid="nearest",
        skip_empty=inference.skip_empty,
    )
