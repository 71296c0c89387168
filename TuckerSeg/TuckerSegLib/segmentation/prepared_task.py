"""The networks of a task on their device, one after the other.

While one runs, the weights of the next are read, unless all that is to be computed of them is in the cache; before the
next is prepared, the one before is closed. So a task of five networks needs hardly more memory than its largest one.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from .. import hardware
from ..cache import Cache
from ..errors import ModelFolderError
from ..image import Image
from ..models.job_compression import compress_as_asked, facts_as_asked
from ..models.model import SegmentationModel
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask, TaskPart
from ..monitor import Monitor
from ..records.job import InferenceSpec
from .prepared_model import PreparedModel, prepare

ASK_S = 0.2  # how often a wait asks whether the run is still wanted


@dataclass(frozen=True)
class PreparedPart:
    """One network of a task, ready for a volume.

    Attributes:
        values: See ``TaskPart``.
    """

    name: str
    ready: PreparedModel
    values: Mapping[int, int] | None


class PreparedTask:
    """A task whose networks become ready one after the other; to be iterated once, and closed.

    Args:
        count: Of the networks.
        parts: Gives them; closes each before it makes the next.
    """

    def __init__(self, task: SegmentationTask, parts: Iterator[PreparedPart]):
        self.name, self.count = task.name, len(task.parts)
        self.label_names, self.structures = task.label_names, task.structures
        self.step_fraction = task.step_fraction
        self._parts = self._rest = parts

    def __iter__(self) -> Iterator[PreparedPart]:
        return self._rest

    def begin(self) -> PreparedPart:
        """Make the first network ready now; it comes again when the task is iterated."""
        first = next(self._rest)
        self._rest = itertools.chain([first], self._rest)
        return first

    def close(self) -> None:
        """Give the device's memory back."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def prepared_single(ready: PreparedModel, task: SegmentationTask) -> PreparedTask:
    """A task of one network that is ready already, and stays so when the task is closed."""
    return PreparedTask(task, iter([PreparedPart(task.parts[0].name, ready, task.parts[0].values)]))


def prepare_task(
    task: SegmentationTask,
    inference: InferenceSpec,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None = None,
) -> PreparedTask:
    """A task whose networks are loaded, compressed and prepared when their turn comes.

    Args:
        inference: Device, precision, threads and batch size.
        monitor: Times the stages, hears before each of several networks whose turn it is, and is asked between the
            steps whether to stop.
        volume: Gives the volume that compressions are calibrated on. It is kept, and asked until the last network is
            compressed: to have the volume's memory back before, pass ``Lent.lend``.
    """
    return PreparedTask(task, _prepare_parts(task, inference, cache, monitor, volume))


def _prepare_parts(
    task: SegmentationTask,
    inference: InferenceSpec,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None,
) -> Iterator[PreparedPart]:
    loader, count = ThreadPoolExecutor(1), len(task.parts)
    load = functools.partial(_load, resolved=task.resolved, cache=cache, volume=volume, several=count > 1)
    try:
        loading = loader.submit(load, task.parts[0])
        for number, part in enumerate(task.parts):
            last = number + 1 == count
            if count > 1:
                monitor.part(number, count, part.name)
            with monitor.stage("load"):
                model = _wait_for(loading, monitor)
            loading = None if last else loader.submit(load, task.parts[number + 1])
            compress = functools.partial(compress_as_asked, resolved=task.resolved, cache=cache, monitor=monitor)
            whole = None
            if model.has_weights:
                model = compress(model, volume=volume)
            else:
                whole = functools.partial(_late, part, compress, volume)
            monitor.check()
            with monitor.stage("prepare"):
                ready = prepare(model, inference, cache, whole)
            with contextlib.closing(ready):
                if count > 1:
                    ready = replace(ready, model=model.without_weights())
                del model
                yield PreparedPart(part.name, ready, part.values)
            del ready
            if not last:
                hardware.trim_memory()
    finally:
        loader.shutdown(wait=False, cancel_futures=True)


def _load(
    part: TaskPart, resolved: ResolvedJob, cache: Cache, volume: Callable[[], Image] | None, several: bool
) -> SegmentationModel:
    """A part's model, after a look at whether it is the one that the task means.

    Returns:
        Of one of several networks, the facts of what the job makes of it, where that is in the cache in compiled form.

    Raises:
        ModelFolderError: It has not the structures that the task names.
    """
    model = part.facts() if several else part.load()
    if part.values is not None:
        known = {label.value for label in model.plans.labels}
        if not set(part.values) <= known:
            raise ModelFolderError(
                f"{part.name}: a network of {len(part.values)} structures is expected; {model.name} has "
                f"{len(known)}. Another model lies in its folder: remove it, and get the right one."
            )
    if not several:
        return model
    facts = facts_as_asked(model, resolved, cache, volume)
    if facts is None or not any(cache.compiled_folder(facts.key).glob("*")):
        return part.load()
    return facts.without_weights()


def _late(part: TaskPart, compress: Callable, volume: Callable[[], Image] | None) -> SegmentationModel:
    """The model whose facts alone were read, with its weights."""
    return compress(part.load(), volume=volume)


def _wait_for(loading: Future, monitor: Monitor) -> Any:
    while not wait([loading], timeout=ASK_S).done:
        monitor.check()
    return loading.result()
