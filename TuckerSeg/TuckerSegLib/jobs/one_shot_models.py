"""Models for a single run: each is loaded when its turn comes, and gone after it."""

from __future__ import annotations

from ..cache import Cache
from ..image import Image
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask, task_of
from ..monitor import Monitor
from ..segmentation.lent import Lent
from ..segmentation.prepared_task import PreparedTask, prepare_task


class OneShotModels:
    """What :class:`WarmModels` is for many runs.

    Args:
        cache: Of compressed and compiled models.
    """

    def __init__(self, cache: Cache):
        self._cache = cache

    def described(self, resolved: ResolvedJob) -> SegmentationTask:
        """The job's task.

        Raises:
            TuckerSegError: See ``models.task.task_of``.
        """
        return task_of(resolved, self._cache)

    def prepared(self, task: SegmentationTask, monitor: Monitor, volume: Lent[Image] | None = None) -> PreparedTask:
        """A task's networks, one after the other; see ``prepare_task``.

        Args:
            task: From :meth:`described`.
            monitor: Times the stages, and is asked between them whether to stop.
            volume: What to calibrate on where that is to be done, and to refit to.
        """
        return prepare_task(task, task.resolved.inference, self._cache, monitor, volume and volume.lend)
