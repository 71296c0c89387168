"""``tuckerseg pack``: all networks of a task, compressed, in one file."""

from __future__ import annotations

import argparse

from ...cache import Cache
from ...models.job_compression import compress_for_job
from ...models.pack_file import Pack, PackedPart, write_pack
from ...models.resolved_job import resolve
from ...models.task import bring_networks, task_of
from ..compressed_model import cost_words, model_output, tell_written
from ..jobs_from_options import compression_job, volume_of
from ..model_download import bring
from ..output import say


def pack(options: argparse.Namespace) -> None:
    """``tuckerseg pack TASK --out FILE --rank R``; one network after the other is read, compressed and let go."""
    output = model_output(options.out)
    bring(options.model, options)
    resolved, cache = resolve(compression_job(options)), Cache()
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
