"""Models that stay ready between requests: the last few on their devices, the least recently used closed first."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict

from ..cache import Cache
from ..errors import OutOfMemoryError
from ..image import Image
from ..models.calibration import calibration_stamp, volume_id
from ..models.job_compression import compress_for_job
from ..models.loading import files_stamp, load_model
from ..models.model import SegmentationModel
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask, only_part, task_of
from ..monitor import Monitor
from ..records.job import InferenceSpec
from ..records.serialization import to_json
from ..segmentation.lent import Lent
from ..segmentation.prepared_model import PreparedModel, prepare
from ..segmentation.prepared_task import PreparedTask, prepare_task, prepared_single

MOST_READY = 2  # the original and one strength: what a user switches between
MOST_LOADED = 3
MOST_REMEMBERED = 200


class WarmModels:
    """Originals in memory, and models on their devices. Originals may be asked for from several threads.

    Args:
        cache: Of compressed and compiled models; None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._cache = cache or Cache()
        self._lock = threading.Lock()
        self._originals: OrderedDict[str, SegmentationModel] = OrderedDict()
        self._ready: OrderedDict[tuple, PreparedModel] = OrderedDict()
        self._latest: tuple | None = None
        self._compressed_keys: OrderedDict[tuple, str] = OrderedDict()

    def original(
        self, name_or_path: str, folds: tuple[str, ...] | None = None, checkpoint: str | None = None
    ) -> SegmentationModel:
        """The model as it is on disk; read again only where its files have changed.

        Raises:
            ModelFolderError, UnsupportedModelError, ModelFileError: See ``loading.load_model``.
        """
        stamp = files_stamp(name_or_path, folds, checkpoint)
        with self._lock:
            model = self._originals.get(stamp)
        if model is None:
            model = load_model(name_or_path, folds, self._cache, checkpoint)
        with self._lock:
            model = self._originals.setdefault(stamp, model)
            _keep_newest(self._originals, stamp, MOST_LOADED)
        return model

    def ready(self, resolved: ResolvedJob, monitor: Monitor, volume: Lent[Image] | None = None) -> PreparedModel:
        """The job's model, compressed as it asks and on its device.

        Args:
            resolved: The job, of a model of one network.
            monitor: Times the stages that are not warm, and is asked between them, and within them where that is
                possible, whether to stop.
            volume: What to calibrate on where that is to be done, and to refit to.

        Raises:
            TuckerSegError: The model, the compression or the device is not possible.
        """
        with monitor.stage("load"):
            model = only_part(self.described(resolved)).load()
        return self._ready_model(model, resolved, monitor, volume)

    def _ready_model(
        self, model: SegmentationModel, resolved: ResolvedJob, monitor: Monitor, volume: Lent[Image] | None
    ) -> PreparedModel:
        monitor.check()
        question = self._compression_question(model, resolved, volume)
        settings = _device_settings(resolved.inference)
        # Later steps calibrate, too, of which the question says nothing.
        compressed_key = self._compressed_keys.get(question) if len(resolved.steps) < 2 else None
        key = (compressed_key, settings)
        if key not in self._ready:
            model = compress_for_job(model, resolved, self._cache, monitor, volume and volume.lend)
            self._compressed_keys[question] = model.key
            _keep_newest(self._compressed_keys, question, MOST_REMEMBERED)
            key = (model.key, settings)
        if key not in self._ready:
            while len(self._ready) >= MOST_READY:
                self._close_oldest()
            with monitor.stage("prepare"):
                self._ready[key] = self._prepare(model, resolved.inference)
        self._ready.move_to_end(key)
        self._latest = key
        return self._ready[key]

    def prepared(self, task: SegmentationTask, monitor: Monitor, volume: Lent[Image] | None = None) -> PreparedTask:
        """A task's networks, one after the other. A single one stays ready; several are too much to be kept.

        Args:
            task: From :meth:`described`.
            monitor, volume: See :meth:`ready`.

        Raises:
            TuckerSegError: See :meth:`ready`; of later networks when their turn comes.
        """
        if len(task.parts) == 1:
            started = time.perf_counter()
            model = task.parts[0].load()  # of the stage in which the task was described: it is not told twice
            monitor.add("load", time.perf_counter() - started)
            return prepared_single(self._ready_model(model, task.resolved, monitor, volume), task)
        self._latest = None
        return prepare_task(task, task.resolved.inference, self._cache, monitor, volume and volume.lend)

    def described(self, resolved: ResolvedJob) -> SegmentationTask:
        """The task of a job. A single network of it is loaded to stay in memory, several are not.

        Raises:
            TuckerSegError: See ``models.task.task_of``.
        """
        task = task_of(resolved, self._cache, self.original)
        return task if len(task.parts) == 1 else task_of(resolved, self._cache)

    def _compression_question(
        self, model: SegmentationModel, resolved: ResolvedJob, volume: Lent[Image] | None
    ) -> tuple:
        """What a compression depends on; its calibration may change between runs."""
        steps = [(method, to_json(spec)) for method, spec in resolved.steps]
        settings = json.dumps([steps, resolved.job.calibrate, resolved.job.refit], sort_keys=True)
        place = _device_settings(resolved.inference)  # a budget of time counts the seconds there
        return model.key, settings, place, calibration_stamp(model, self._cache), volume and volume_id(volume.lend())

    def close_unused(self) -> bool:
        """Give back the devices' memory that models hold beside the one asked for last; whether there were any."""
        others = [key for key in self._ready if key != self._latest]
        for key in others:
            self._ready.pop(key).close()
        return bool(others)

    def close(self) -> None:
        """Give all devices' memory back."""
        while self._ready:
            self._close_oldest()

    def _prepare(self, model: SegmentationModel, inference: InferenceSpec) -> PreparedModel:
        try:
            return prepare(model, inference, self._cache)
        except OutOfMemoryError:
            if not self._ready:
                raise
            self.close()  # what was kept warm may be what fills the device
            return prepare(model, inference, self._cache)

    def _close_oldest(self) -> None:
        _, ready = self._ready.popitem(last=False)
        ready.close()


def _device_settings(inference: InferenceSpec) -> tuple:
    """What a prepared model depends on; the rest of the settings may change between runs."""
    return inference.device, inference.precision, inference.batch_size, inference.threads


def _keep_newest(entries: OrderedDict, newest: tuple | str, most: int) -> None:
    entries.move_to_end(newest)
    while len(entries) > most:
        entries.popitem(last=False)
