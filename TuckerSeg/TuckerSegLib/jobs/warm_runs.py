"""Runs with models that stay ready: segment, preview, compare, estimate. What they take is remembered.

Knows images and results; knows nothing of requests, files and lines.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from .. import hardware
from ..cache import Cache
from ..errors import OutOfMemoryError
from ..estimation.network import Estimator
from ..estimation.task import TaskEstimator
from ..estimation.timing import planned_setting
from ..image import Box, Geometry, Image
from ..measurements import Measurements
from ..models.architecture_key import whole_share
from ..models.model import joint_key
from ..models.resolved_job import ResolvedJob, is_allocated, resolve
from ..models.task import SegmentationTask, TaskPart
from ..monitor import Monitor
from ..records.comparison import Variant
from ..records.estimate import Estimate
from ..records.job import InferenceSpec
from ..segmentation.lent import Lent
from ..segmentation.prepared_model import PreparedModel
from ..segmentation.prepared_task import prepare_task
from ..segmentation.preview import preview
from ..segmentation.segment import SegmentationResult
from . import comparison
from .flow import Flow
from .progress import ProgressTracker
from .run import check_files, read_volume
from .warm_models import WarmModels

MOST_ESTIMATORS = 12  # they hold no weights


class Runs:
    """Everything that is computed, for any number of jobs. Estimates may be asked for from several threads.

    Args:
        cache: None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        cache = cache or Cache()
        self._cache = cache
        self._models = WarmModels(cache)
        self._measurements = Measurements(cache)
        self._estimators: OrderedDict[str, Estimator] = OrderedDict()
        self._flow = Flow(self._models, cache)

    def described(self, resolved: ResolvedJob) -> SegmentationTask:
        """The task of a job; see ``WarmModels.described``."""
        return self._models.described(resolved)

    def segment(self, resolved: ResolvedJob, volume: Image, monitor: Monitor) -> SegmentationResult:
        """A whole volume; see ``Flow.run``.

        Args:
            resolved: The job; its images are not looked at.
            volume: The volume, (C, Z, Y, X).
            monitor: Times the stages, hears of the progress, and is asked whether to stop.

        Raises:
            TuckerSegError: See ``segmentation.segment``.
            Cancelled: The monitor said so.
        """
        return self._run(resolved, lambda monitor: Lent.holding(volume), monitor)

    def segment_file(self, resolved: ResolvedJob, monitor: Monitor) -> SegmentationResult:
        """A job from file to file, as ``jobs.run.run_job`` does it.

        Args:
            resolved: The job, with its image and its output.
            monitor: As for :meth:`segment`.

        Raises:
            TuckerSegError: See ``jobs.run.run_job``.
            Cancelled: The monitor said so; no file is left behind.
        """
        check_files(resolved.job)

        def read(monitor: Monitor) -> Lent[Image]:
            with monitor.stage("read"):
                return Lent.holding(read_volume(resolved))

        return self._run(resolved, read, monitor)

    def _run(
        self, resolved: ResolvedJob, read: Callable[[Monitor], Lent[Image]], monitor: Monitor
    ) -> SegmentationResult:
        try:
            return self._flow.run(resolved, read, monitor)
        except OutOfMemoryError:
            if not self._models.close_unused():
                raise
            # What was kept warm may have been what filled the device.
            return self._flow.run(resolved, read, monitor)

    def preview(
        self, resolved: ResolvedJob, volume: Image, point_mm: Sequence[float], monitor: Monitor
    ) -> tuple[SegmentationResult, Box]:
        """The one patch around a point, without a refit, which takes too long for a look.

        Args:
            resolved: The job; its images and output are not looked at.
            volume: The whole volume, (C, Z, Y, X).
            point_mm: RAS.
            monitor: Times the stages, and is asked whether to stop.

        Returns:
            Labels of the patch's part of the volume, and that part (Z, Y, X).

        Raises:
            ImageError: The point lies outside the volume, or the volume does not fit the model.
            Cancelled: The monitor said so.
        """
        monitor = monitor.through(ProgressTracker(monitor.on_event))
        with monitor.stage("load"):
            task = self._models.described(resolved.without_refit())
        with contextlib.closing(self._models.prepared(task, monitor, Lent.holding(volume))) as ready:
            monitor.check()
            return preview(volume, ready, resolved.inference, point_mm, monitor)

    def compare(
        self,
        resolved: ResolvedJob,
        volume: Image,
        variants: Sequence[Variant],
        monitor: Monitor,
        remember: bool,
        original: np.ndarray | None = None,
    ) -> Iterator[comparison.StrengthResult]:
        """The original and then every variant; each comes when it is done.

        Args:
            resolved: The job; its output is not looked at.
            volume: The volume that all are compared on.
            variants: The compressions.
            monitor: Hears of all runs as of one, and is asked whether to stop.
            remember: Keep the agreements as the models', for estimates; not for a mere part of a volume. Agreements of
                some structures are never kept.
            original: Labels (Z, Y, X) of the original, where it has been run before.
        """
        resolved = replace(resolved, job=replace(resolved.job, output=None, outputs=()))
        count = len(variants) + (original is None)
        numbers = iter(range(count))

        def run(variant: Variant | None) -> SegmentationResult:
            varied = resolved.at_strength(1.0) if variant is None else _varied(resolved, variant)
            return self.segment(varied, volume, monitor.share(next(numbers), count))

        for row in comparison.compare(variants, run, original):
            if remember and row.agreement is not None and resolved.job.structures is None:
                key = joint_key([part.key for part in row.result.statistics.parts])
                self._measurements.add_agreement(key, volume.source, row.agreement)
            yield row

    def estimate(self, resolved: ResolvedJob, volume: Geometry | Image, measure: bool, monitor: Monitor) -> Estimate:
        """What a job on a volume would cost.

        Args:
            resolved: The job; its images and output are not looked at.
            volume: Or its geometry, see ``Estimator.estimate``.
            measure: Run a patch where this computer's speed is not known.
            monitor: Asked before that whether to stop.

        Raises:
            SpecError: A setting out of its range.
            BackendError: The device is not usable.
        """
        task = self.described(resolved)
        estimator = TaskEstimator(task, self._estimator, self._measurements)
        geometry = volume.geometry if isinstance(volume, Image) else volume
        if measure:
            alike = resolved.without_refit()
            # What all means together give is found by a run, and not before it.
            measured = () if is_allocated(alike) else (alike,)
            for each in (*measured, alike.at_strength(1.0)) if alike.steps else (alike,):
                for _ in task.parts:
                    part = estimator.unmeasured(geometry, each)
                    if part is None:
                        break
                    self._measure(replace(task, parts=(part,), resolved=each), len(task.parts) == 1, monitor)
        return estimator.estimate(volume, resolved)

    def seconds_at_agreement(self, resolved: ResolvedJob, agreement: float, geometry: Geometry) -> float | None:
        """Seconds of the fastest network that keeps an agreement, by an earlier run of it here; None where none tells.

        Args:
            resolved: The job, whose compression is another.
            agreement: To keep.
            geometry: Of the volume.
        """
        job = replace(resolved.job, method=None, compression={}, steps=(), refit=False, agreement=agreement)
        asked_for = resolve(job)
        estimator = TaskEstimator(self.described(asked_for), self._estimator, self._measurements)
        estimate = estimator.estimate(geometry, asked_for)
        if estimate.seconds is None or estimate.macs_per_patch >= estimate.original_macs_per_patch:
            return None
        return estimate.seconds

    def _measure(self, task: SegmentationTask, keep: bool, monitor: Monitor) -> None:
        """Run a patch of one network; what is built alike is known then, too.

        Args:
            keep: Leave the network ready for the run that may follow.
        """
        monitor, inference = monitor.quiet(), task.resolved.inference
        if keep:
            measure_patch(self._models.ready(task.resolved, monitor), inference, self._measurements)
            return
        with contextlib.closing(prepare_task(task, inference, self._cache, monitor)) as alone:
            measure_patch(alone.begin().prepared_model, inference, self._measurements)

    def close(self) -> None:
        """Give all devices' memory back."""
        self._models.close()

    def _estimator(self, part: TaskPart) -> Estimator:
        model = part.facts()
        estimator = Estimator(model.without_weights(), self._measurements, self._cache, part.load)
        estimator = self._estimators.setdefault(model.key, estimator)
        self._estimators.move_to_end(model.key)
        while len(self._estimators) > MOST_ESTIMATORS:
            self._estimators.popitem(last=False)
        return estimator


def _varied(resolved: ResolvedJob, variant: Variant) -> ResolvedJob:
    if variant.policy is None:
        return resolved.at_strength(variant.strength)
    return resolved.by_policy(variant.policy, variant.strength)


def measure_patch(ready: PreparedModel, inference: InferenceSpec, measurements: Measurements) -> None:
    """Run one patch (after one to warm up) and remember its seconds.

    Args:
        ready: The network, on its device.
        inference: Its batch size is part of what the seconds are remembered under.
        measurements: Where they are kept.
    """
    import torch

    plans = ready.model.plans
    patch = torch.zeros(1, plans.input_channels, *plans.patch_shape)
    with hardware.torch_threads(ready.threads), torch.inference_mode():
        ready.network.run(patch)
        started = time.perf_counter()
        ready.network.run(patch).flatten()[0].item()  # a GPU has finished when a number has come
        seconds = time.perf_counter() - started
    macs = ready.model.cost.macs * len(ready.model.folds)
    share = whole_share(ready.model.recipes, ready.model.cost)
    setting = planned_setting(plans, ready.device, ready.precision, replace(inference, threads=ready.threads), share)
    measurements.add_patch_seconds(setting, macs, seconds)
