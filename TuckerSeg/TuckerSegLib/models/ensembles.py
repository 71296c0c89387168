"""Tasks of several of the user's models: ensembles, and cascades, whose second network takes the first one's labels.

As nnU-Net does both: of an ensemble the mean of the probabilities decides (``nnUNetv2_ensemble``); of a cascade the
first stage segments the whole image, and its labels are further input channels of the second.
"""

from __future__ import annotations

import functools

from ..cache import Cache
from ..errors import ModelFolderError, SpecError
from ..model_zoo import locate
from ..nnunet.folder import find_model_folder
from ..printable import shown
from .loading import load_known, load_model
from .model import SegmentationModel
from .resolved_job import ResolvedJob
from .task import INPUT, LABELS, VOTES, SegmentationTask, TaskPart

MOST_STAGES = 4  # of a cascade; nnU-Net's has two


def joint_task(resolved: ResolvedJob, cache: Cache) -> SegmentationTask:
    """The task of a job whose model is a cascade's second stage, or that names an ensemble, or both.

    Args:
        resolved: The job; ``model`` and ``ensemble`` name the models, folds and checkpoint count for all.
        cache: Keeps converted models.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, SpecError: As ``load_model``.
        SpecError: Models that take other images or know other labels than the first one, or a first stage where no
            model has one.
        ModelFolderError: The first stage of a cascade is not there.
    """
    job = resolved.job
    places = (job.model, *job.ensemble)
    parts, models = [], []
    for place in places:
        models.append(load_known(place, job.folds, cache, job.checkpoint))
        _check_alike(models[0], models[-1], place)
        parts += _stages(place, models[-1], resolved, cache)
        parts.append(_part(place, models[-1], resolved, cache, VOTES if job.ensemble else LABELS))
    if job.previous_stage is not None and not any(model.plans.previous_stage for model in models):
        raise SpecError(f"{models[0].name} is no cascade, and takes the labels of no first stage: name none.")
    first = models[0]
    names = {label.value: label.name for label in first.plans.labels}
    name = f"{first.name}, {len(places)} models" if job.ensemble else first.name
    return SegmentationTask(name, tuple(parts), names, resolved)


def _part(place: str, model: SegmentationModel, resolved: ResolvedJob, cache: Cache, role: str) -> TaskPart:
    arguments = (place, resolved.job.folds, cache, resolved.job.checkpoint)
    facts = functools.partial(load_known, *arguments)
    name = f"{model.name} {model.plans.configuration}"
    return TaskPart(name, functools.partial(load_model, *arguments), facts, None, role)


def _stages(place: str, model: SegmentationModel, resolved: ResolvedJob, cache: Cache) -> list[TaskPart]:
    """The stages before a network of a cascade, the first one first; none before any other network."""
    stages: list[TaskPart] = []
    job = resolved.job
    while model.plans.previous_stage is not None:
        if len(stages) == MOST_STAGES:
            raise SpecError(f"{place}: a cascade has at most {MOST_STAGES} stages; found more.")
        place = job.previous_stage if job.previous_stage and not stages else _stage_before(place, model)
        before = load_known(place, job.folds, cache, job.checkpoint)
        their_labels = sorted(before.plans.region_values or (label.value for label in before.plans.labels))
        if not set(their_labels) <= set(model.plans.previous_labels):
            raise SpecError(
                f"{place}: the first stage of {model.name} should find the labels "
                f"{shown(model.plans.previous_labels)}; found {shown(their_labels)}."
            )
        stages.insert(0, _part(place, before, resolved, cache, INPUT))
        model = before
    return stages


def _stage_before(place: str, model: SegmentationModel) -> str:
    """The folder of the stage before, where nnU-Net puts it: beside that of its model.

    Raises:
        ModelFolderError: It is not there.
    """
    path, folds = locate(place)
    previous = model.plans.previous_stage
    expected = None
    if path.suffix != ".tuckerseg":
        expected, there = find_model_folder(path, folds).sibling(model.plans.configuration, previous)
        if there:
            return str(expected)
    where = f"in {expected}" if expected else "in a folder beside it"
    raise ModelFolderError(
        f"{place} is the second stage of a cascade, which takes the labels of the configuration {previous}; expected "
        f"its model {where}. Name it as the previous stage.",
        shell="That is --previous-stage FOLDER.",
    )


def _check_alike(first: SegmentationModel, other: SegmentationModel, place: str) -> None:
    for words, fact_of in (
        ("labels", lambda plans: [(label.value, label.name) for label in plans.labels]),
        ("regions", lambda plans: plans.region_values),
        ("outputs", lambda plans: plans.logit_channels),
        ("channels", lambda plans: [name.lower() for name in plans.channel_names]),
    ):
        expected, differing = fact_of(first.plans), fact_of(other.plans)
        if expected != differing:
            raise SpecError(
                f"The models of an ensemble should have the same {words}: {first.name} has {shown(expected)}; found "
                f"{shown(differing)} in {place}."
            )
