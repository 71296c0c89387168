"""What the results of a cohort depend on beside the images: model, settings, types of files. One key for all cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..cache import Cache, key_of
from ..errors import DownloadError
from ..models.loading import load_facts
from ..models.model import SegmentationModel
from ..models.resolved_job import ResolvedJob, resolve
from ..models.task import task_of
from ..records.job import InferenceSpec, Job
from ..records.serialization import to_json


def settings_key(job: Job, types: tuple[str, ...], split: bool, cache: Cache, server: str | None = None) -> str:
    """The key; it changes with everything that changes labels or files, and with nothing else.

    Args:
        job: Model and settings; images and outputs do not count, nor does how many threads there are.
        types, split: See ``CasePlan``.
        cache: Where the model's facts are kept.
        server: Address of the server that computes: of its models, which it alone can read, the names count. None: this
            computer.

    Raises:
        TuckerSegError: The model cannot be read.
        DownloadError: Networks of it are not on this computer.
    """
    usual = InferenceSpec()
    inference = replace(job.inference, threads=usual.threads, batch_size=usual.batch_size)
    neutral = replace(job, model="model", ensemble=(), previous_stage=None, postprocessing=None, inference=inference)
    settings = to_json(replace(neutral, images=(), output=None, outputs=(), series=None, timepoint=None))
    resolved = resolve(job)
    if server is not None:
        return key_of(settings=settings, models=[server, job.model], types=list(types), split=split, engine=__version__)
    models: list[Any] = [_model_keys(resolved, cache)]
    if resolved.roi_search is not None:
        models.append(_model_keys(resolved.roi_search.fast, cache))
    return key_of(settings=settings, models=models, types=list(types), split=split, engine=__version__)


def key_if_known(job: Job, types: tuple[str, ...], split: bool, cache: Cache) -> str | None:
    """The key; None where the model would have to be downloaded first."""
    try:
        return settings_key(job, types, split, cache)
    except DownloadError:
        return None


def _model_keys(resolved: ResolvedJob, cache: Cache) -> list[str]:
    def facts(path: str | Path, folds: tuple[str, ...] | None, checkpoint: str | None) -> SegmentationModel:
        return load_facts(path, folds, cache, checkpoint)

    task = task_of(resolved, cache, facts)
    return [*(part.facts().key for part in task.parts), *([str(task.cleaning)] if task.cleaning else [])]
