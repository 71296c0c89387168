"""``tuckerseg calibrate``: shows models a few patches of CTs, so that compression knows what matters."""

from __future__ import annotations

import argparse

from ...cache import Cache
from ...image import read_image
from ...models.calibration import calibrate_model, store_calibration, stored_calibration, volume_id
from ...models.model import SegmentationModel
from ...models.resolved_job import resolve
from ...models.task import task_of
from ..jobs_from_options import model_job
from ..output import say


def calibrate(options: argparse.Namespace) -> None:
    """``tuckerseg calibrate CT...``: adds volumes to the calibration of a model, or of each network of a task."""
    resolved, cache = resolve(model_job(options)), Cache()
    cache.require_writable()
    for part in task_of(resolved, cache).parts:
        _calibrate(part.load(), options, cache)


def _calibrate(model: SegmentationModel, options: argparse.Namespace, cache: Cache) -> None:
    calibration = None if options.anew else stored_calibration(model, cache)
    for path in options.ct:
        volume = read_image(path, modality=model.plans.modalities)
        if calibration is not None and volume_id(volume) in calibration.volume_ids:
            say(f"{path}: is part of the calibration already")
            continue
        calibration = calibrate_model(model, volume, calibration, monitor=options.monitor)
        if not store_calibration(model, calibration, cache):
            raise cache.unwritable("perhaps the disk is full")
        say(f"{path}: calibrated")
    say(f"{model.name}: calibrated on {calibration.patches} patches of {', '.join(calibration.volumes)}")
