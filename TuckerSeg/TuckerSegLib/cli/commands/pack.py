"""``tuckerseg pack``: all networks of a task, compressed, in one file."""

from __future__ import annotations

import argparse

from ...cache import Cache
from ...catalog.entries import MASK
from ...errors import SpecError
from ...models.job_compression import compress_for_job
from ...models.pack_file import Pack, PackedPart, write_pack
from ...models.resolved_job import ResolvedJob, resolve
from ...models.task import bring_networks, task_of
from ..compressed_model import cost_words, model_output, tell_written
from ..jobs_from_options import compression_job, volume_of
from ..model_download import bring
from ..output import say


def pack(options: argparse.Namespace) -> None:
    """``tuckerseg pack TASK --out FILE --rank R``; one network after the other is read, compressed and let go."""
    output = model_output(options.out)
    resolved, cache = resolve(compression_job(options)), Cache()
    _require_labels_alone(resolved)
    bring(options.model, options)
    monitor = options.monitor.quiet()
    bring_networks(resolved, monitor)
    task = task_of(resolved, cache)
    models, volume = [], volume_of(options)
    for part in task.parts:
        model = compress_for_job(part.load(), resolved, cache, monitor, volume)
        say(f"{part.name}: {cost_words(model)}")
        models.append(model)
    parts = tuple(PackedPart(part.name, None if part.values is None else dict(part.values)) for part in task.parts)
    write_pack(output, Pack(task.name, dict(task.label_names), parts, task.step_fraction), models)
    tell_written(output)


def _require_labels_alone(resolved: ResolvedJob) -> None:
    """Raise SpecError where a network does not make labels that are merged with those of the others."""
    masks = [part.title for part in resolved.networks if part.role == MASK]
    if masks:
        raise SpecError(
            f"A file of several networks holds those whose labels are merged; of {resolved.task.name}, {masks[0]} only "
            "says where labels end. Run the task by its name: the same options compress its networks."
        )
