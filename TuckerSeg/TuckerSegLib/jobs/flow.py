"""A volume through the networks of a job: the one road of the command line and of the worker."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable

from .. import image
from ..cache import Cache
from ..estimation.timing import Timing, planned_setting, remember_run
from ..measurements import Measurements
from ..models.resolved_job import ResolvedJob, RoiSearch
from ..models.task import SegmentationTask, bring_all_networks
from ..monitor import Monitor
from ..outputs import output_files, write_outputs
from ..outputs.extras import needs_image, write_extras
from ..preprocessing.roi import Crop
from ..records.job import InferenceSpec, OutputFile
from ..segmentation.lent import Lent
from ..segmentation.localization import find_crop
from ..segmentation.prepared_model import PreparedModel
from ..segmentation.segment import SegmentationResult, segment
from .first_use import FirstUse
from .one_shot_models import OneShotModels
from .progress import ProgressTracker
from .warm_models import WarmModels


class Flow:
    """Runs jobs with models that stay ready or that do not, and remembers what they took.

    Args:
        models: How networks are kept.
        cache: Of calibrations, and of what was measured.
    """

    def __init__(self, models: OneShotModels | WarmModels, cache: Cache):
        self._models, self._cache, self._measurements = models, cache, Measurements(cache)
        self._last_crop: tuple[weakref.ref[image.Image], RoiSearch, Crop] | None = None

    def run(
        self,
        resolved: ResolvedJob,
        read: Callable[[Monitor], Lent[image.Image]],
        monitor: Monitor,
    ) -> SegmentationResult:
        """Segment a whole volume; networks that are missing are downloaded first, and labels written where it says so.

        Args:
            resolved: The job; its images are not looked at.
            read: Gives the volume, which may still be on its way, and is not held after it was needed.

        Raises:
            TuckerSegError: See ``segmentation.segment``, and ``image.write_labels``.
            Cancelled: The monitor said so; no file is left behind.
        """
        files = output_files(resolved.job)
        bring_all_networks(resolved, monitor)
        tracker = ProgressTracker(monitor.on_event)
        first_use = FirstUse(self._cache, tracker)
        monitor = monitor.through(first_use)
        with monitor.warnings_noted():
            volume = read(monitor)
            with monitor.stage("load"):
                task = self._models.described(resolved)
            inference = task.resolved.inference  # a file of several networks may know their usual step
            crop = self._crop(resolved.roi_search, volume, monitor)
            first_use.follow(task, volume)
            with contextlib.closing(self._models.prepared(task, monitor, volume)) as ready:
                first_network = ready.begin()
                geometry = volume.lend().geometry
                tracker.expect_finish(self._beside_network_s(first_network.prepared_model, inference, geometry))
                del first_network  # its memory is needed by those that follow
                monitor.check()
                for file in files:
                    _check_space(file, task, geometry)
                keep = resolved.job.save_probabilities
                looked_at = volume.lend() if needs_image(resolved.job) else None
                result = segment(volume, ready, inference, monitor, crop=crop, keep_probabilities=keep)
            remember_run(result.statistics, inference, self._measurements)
        monitor.check()
        if files:
            with monitor.warnings_noted(), monitor.stage("write"):
                write_outputs(result, resolved)
                write_extras(result, resolved.job, looked_at)
        return result.timed(monitor)

    def _crop(self, search: RoiSearch | None, volume: Lent[image.Image], monitor: Monitor) -> Crop | None:
        """The box that a job is about, that of the last job where it is the same.

        The fast network that finds it is closed before the slow ones are prepared.
        """
        if search is None:
            return None
        whole = volume.lend()
        if self._last_crop is None or self._last_crop[0]() is not whole or self._last_crop[1] != search:
            with monitor.stage("locate"):
                fast = self._models.prepared(self._models.described(search.fast), monitor.quiet())
                with contextlib.closing(fast):
                    crop = find_crop(whole, fast, search, monitor)
            self._last_crop = weakref.ref(whole), search, crop
        return self._last_crop[2]

    def _beside_network_s(self, ready: PreparedModel, inference: InferenceSpec, geometry: image.Geometry) -> float:
        plans = ready.model.plans
        setting = planned_setting(plans, ready.device, ready.precision, inference)
        return Timing(self._measurements, setting).beside_network_seconds(geometry, plans)


def _check_space(output: OutputFile, task: SegmentationTask, geometry: image.Geometry) -> None:
    """Raise OutputError where the disk has no room for the labels."""
    image.check_space(output.path, geometry, image.label_type(max(task.label_names, default=0)).itemsize)
