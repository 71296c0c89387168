"""The networks of a task on their device, one after the other.

While one runs, the weights of the next are read, unless the cache has its compiled form; before the next is prepared,
the one before is closed. So a task of five networks needs hardly more memory than its largest one.
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
from ..catalog.entries import LABELS
from ..errors import ModelFolderError
from ..image import Image
from ..models.job_compression import compress_for_job, facts_for_job
from ..models.model import SegmentationModel
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask, TaskPart
from ..monitor import Monitor
from ..records.job import InferenceSpec
from .prepared_model import PreparedModel, prepare

POLL_S = 0.2  # how often a wait asks the monitor whether to stop


@dataclass(frozen=True)
class PreparedPart:
    """One network of a task, ready for a volume.

    Attributes:
        name: For people.
        prepared_model: The network on its device.
        values: Label value of the network to that of the task; None: they are the same.
        role: See ``TaskPart``.
    """

    name: str
    prepared_model: PreparedModel
    values: Mapping[int, int] | None
    role: str = LABELS


class PreparedTask:
    """A task whose networks are prepared one after the other: iterate over it once, and close it.

    Args:
        task: Its name, labels, structures and step fraction are this one's attributes, too.
        parts: Gives the prepared networks; closes each before it prepares the next.

    Attributes:
        count: Number of networks.
        label_makers: Number of networks whose labels are merged, each knowing some structures.
    """

    def __init__(self, task: SegmentationTask, parts: Iterator[PreparedPart]):
        self.name, self.count = task.name, len(task.parts)
        self.label_makers = sum(part.role == LABELS for part in task.parts)
        self.label_names, self.structures = task.label_names, task.structures
        self.step_fraction, self.cleaning = task.step_fraction, task.cleaning
        self._parts = self._remaining = parts

    def __iter__(self) -> Iterator[PreparedPart]:
        return self._remaining

    def begin(self) -> PreparedPart:
        """Prepare the first network now, and give it; iteration begins with it all the same."""
        first = next(self._remaining)
        self._remaining = itertools.chain([first], self._remaining)
        return first

    def close(self) -> None:
        """Close the network that is on its device, and give its memory back."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def prepared_single(prepared_model: PreparedModel, task: SegmentationTask) -> PreparedTask:
    """A task of one network from its prepared model, which stays open when the task is closed.

    Args:
        prepared_model: On its device; its owner closes it.
        task: Of one network, that of the model.
    """
    return PreparedTask(task, iter([PreparedPart(task.parts[0].name, prepared_model, task.parts[0].values)]))


def prepare_task(
    task: SegmentationTask,
    inference: InferenceSpec,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None = None,
) -> PreparedTask:
    """A task whose networks are loaded, compressed and prepared when iteration comes to them.

    Args:
        task: From ``load_task`` or ``task_of``; its job says how the networks are compressed.
        inference: Device, precision, threads and batch size.
        cache: Keeps calibrations, compressed models and compiled networks.
        monitor: Times the stages, hears before each of several networks whose turn it is, and is asked between the
            steps whether to stop.
        volume: Gives the volume that compressions are calibrated on; None: there is none. It is called until the last
            network is compressed: to have the volume's memory back before, pass ``Lent.lend``.

    Raises:
        While it is iterated, the errors of ``load_model``, ``compress_for_job`` and ``prepare``; ``ModelFolderError``
        where a network lacks structures that the task names; ``Cancelled`` where the monitor said so.
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
    load = functools.partial(_load, resolved=task.resolved, cache=cache, volume=volume)
    try:
        loading = loader.submit(load, task.parts[0])
        for number, part in enumerate(task.parts):
            last = number + 1 == count
            if count > 1:
                monitor.part(number, count, part.name)
            with monitor.stage("load"):
                model = _wait_for(loading, monitor)
            loading = None
            compress = functools.partial(compress_for_job, resolved=task.resolved, cache=cache, monitor=monitor)
            load_weights = None
            if model.has_weights:
                model = compress(model, volume=volume)
            else:
                load_weights = functools.partial(_load_and_compress, part, compress, volume)
            monitor.check()
            if not last:  # and not before: beside a calibration there is no room for a second network
                loading = loader.submit(load, task.parts[number + 1])
            with monitor.stage("prepare"):
                prepared = prepare(model, inference, cache, load_weights)
            with contextlib.closing(prepared):
                if count > 1:
                    prepared = replace(prepared, model=model.without_weights())
                del model
                yield PreparedPart(part.name, prepared, part.values, part.role)
            del prepared
            if not last:
                hardware.trim_memory()
    finally:
        loader.shutdown(wait=False, cancel_futures=True)


def _load(part: TaskPart, resolved: ResolvedJob, cache: Cache, volume: Callable[[], Image] | None) -> SegmentationModel:
    """A part's model as it is on disk, checked for the structures that the task names.

    Returns:
        Where the compressed form is compiled in the cache, and the weights are not in memory: that form, without
        weights.

    Raises:
        ModelFolderError: The model lacks structures that the task names.
    """
    model = part.facts()
    if part.values is not None:
        label_values = {label.value for label in model.plans.labels}
        if not set(part.values) <= label_values:
            raise ModelFolderError(
                f"{part.name}: a network of {len(part.values)} structures is expected; {model.name} has "
                f"{len(label_values)}. Another model lies in its folder: remove it, and get the right one."
            )
    if model.has_weights:
        return model
    facts = facts_for_job(model, resolved, cache, volume)
    if facts is None or not any(cache.compiled_folder(facts.key).glob("*.compiled")):
        return part.load()
    return facts.without_weights()


def _load_and_compress(part: TaskPart, compress: Callable, volume: Callable[[], Image] | None) -> SegmentationModel:
    """A part's compressed model with its weights, of which facts alone were read before."""
    return compress(part.load(), volume=volume)


def _wait_for(loading: Future, monitor: Monitor) -> Any:
    """The result of a thread, unless the monitor says stop before."""
    while not wait([loading], timeout=POLL_S).done:
        monitor.check()
    return loading.result()
