"""``tuckerseg compress``: a model to a .tuckerseg file, or all networks of a task into the cache."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from ...cache import Cache
from ...errors import SpecError
from ...jobs.progress import ProgressTracker
from ...models.resolved_job import resolve
from ...models.task import bring_networks, task_of
from ...segmentation.prepared_task import prepare_task
from ..compressed_model import compressed, cost_words, model_output, tell_written
from ..jobs_from_options import compression_job, model_of, volume_of
from ..model_download import bring
from ..output import say
from ..terminal import TerminalReporter

DEFAULT_MODEL = "demo"


def compress(options: argparse.Namespace) -> None:
    """``tuckerseg compress OUT --model M --rank R``; ``tuckerseg compress MODEL --rank R`` prepares the cache."""
    named = options.output
    if named is not None and (options.model is not None or Path(named).suffix == ".tuckerseg"):
        options.model = options.model or DEFAULT_MODEL
        _compress_to_file(options)
    else:
        options.model = options.model or named or DEFAULT_MODEL
        _compress_into_cache(options)


def _compress_to_file(options: argparse.Namespace) -> None:
    output = model_output(options.output)
    task = resolve(compression_job(options)).task
    if task is not None and len(task.parts) > 1:
        raise SpecError(
            f"{task.name} has {len(task.parts)} networks, and a file holds one. Leave {options.output} out: "
            f"'tuckerseg compress {task.name}' prepares all of them in the cache."
        )
    bring(options.model, options)
    model = model_of(options)
    model = compressed(options, model, volume_of(options))
    model.save(output)
    say(f"{model.name}: {cost_words(model)} (1 multiply-accumulate = 2 FLOPs)")
    tell_written(output)


def _compress_into_cache(options: argparse.Namespace) -> None:
    """Every network of a task is compressed and compiled, so that segmenting finds it ready."""
    resolved, cache = resolve(compression_job(options)), Cache()
    before = sum(entry.size_bytes for entry in cache.entries())
    with contextlib.closing(TerminalReporter()) as reporter:
        monitor = options.monitor.through(reporter)
        bring_networks(resolved, monitor)
        task = prepare_task(
            task_of(resolved, cache),
            resolved.inference,
            cache,
            monitor.through(ProgressTracker(reporter)),
            volume_of(options),
        )
        with contextlib.closing(task):
            for part in task:
                reporter.close()
                prepared = part.prepared_model
                say(f"{part.name}: {cost_words(prepared.model)} [{prepared.device.id}, {prepared.precision}]")
    added = sum(entry.size_bytes for entry in cache.entries()) - before
    count = "1 network" if task.count == 1 else f"{task.count} networks"
    say(f"{task.name}: {count} ready in {cache.folder}, {added / 1e6:.0f} MB more")
