"""Models that stay ready between requests: the last few on their devices, the least recently used closed first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from . import compression
from .cache import Cache
from .errors import OutOfMemoryError
from .job import InferenceSpec, Job
from .loading import compress, load_model
from .model import SegmentationModel
from .ready_model import ReadyModel, prepare
from .segmentation import Stopwatch

MOST_READY = 2  # the original and one rank: what a user switches between
MOST_LOADED = 3


class WarmModels:
    """Originals in memory, and models on their devices. Originals may be asked for from several threads.

    Args:
        cache: Of compressed and compiled models; None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._cache = cache or Cache()
        self._lock = threading.Lock()
        self._originals: OrderedDict[tuple, SegmentationModel] = OrderedDict()
        self._ready: OrderedDict[tuple, ReadyModel] = OrderedDict()

    def original(self, name_or_path: str, folds: tuple[str, ...] | None = None) -> SegmentationModel:
        """The model as it is on disk.

        Raises:
            ModelFolderError, UnsupportedModelError, ModelFileError: See ``loading.load_model``.
        """
        model = load_model(name_or_path, folds, self._cache)  # reads only file dates where it is known already
        key = (model.key, model.name)
        with self._lock:
            model = self._originals.setdefault(key, model)
            self._originals.move_to_end(key)
            while len(self._originals) > MOST_LOADED:
                self._originals.popitem(last=False)
        return model

    def ready(self, job: Job, watch: Stopwatch, stop: Callable[[], None] = lambda: None) -> ReadyModel:
        """The job's model, compressed as it asks and on its device.

        Args:
            watch: Times the stages that are not warm.
            stop: Asked between the stages; raises to stop.

        Raises:
            TuckerSegError: The model, the compression or the device is not possible.
        """
        with watch.stage("load"):
            model = self.original(job.model, job.folds)
        stop()
        if job.method is not None:
            with watch.stage("compress"):
                model = compress(model, compression.method(job.method).Spec(**job.compression), job.method, self._cache)
            stop()
        key = (model.key, _device_settings(job.inference))
        if key not in self._ready:
            while len(self._ready) >= MOST_READY:
                self._close_oldest()
            with watch.stage("prepare"):
                self._ready[key] = self._prepare(model, job.inference)
        self._ready.move_to_end(key)
        return self._ready[key]

    def close(self) -> None:
        """Give all devices' memory back."""
        while self._ready:
            self._close_oldest()

    def _prepare(self, model: SegmentationModel, inference: InferenceSpec) -> ReadyModel:
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
