"""Makes the compressed models of a question to the allocator: at a share of the cost, or for an agreement."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import compression
from ..cache import Cache
from ..compression.allocation.steps import Allocation
from ..compression.pruning.sliced_moments import sliced_calibration
from ..monitor import Monitor
from .agreement import HeldBackAgreement
from .allocation_question import Question, allocation_of
from .calibration import ModelCalibration, calibrate_model
from .compress import compress
from .material import prepare_fold
from .model import SegmentationModel
from .planning import with_calibration
from .refit import refit_model

LEAST_SHARE = 0.1  # of the original's cost, that an agreement is looked for from
PLAIN, FITTED = 4, 2  # networks that are made to find an agreement; each halves the range of shares, in logarithms
TOLERANCE = 0.01  # of the original's cost: so much more than was asked for is not worth a word
FIT_GAINS = 0.6  # share of the cost that a fit to the volumes lets a network do with, at the same agreement


class ModelMaker:
    """Makes the compressed models of one question."""

    def __init__(self, question: Question, cache: Cache, monitor: Monitor):
        self._question, self._cache, self._monitor = question, cache, monitor

    def at_share(self, share: float) -> SegmentationModel:
        """The model that costs this share of the original; the original where nothing saves anything.

        Where so little cannot be had, the one that costs least, with a warning.
        """
        allocation = self._allocation(share)
        reached = allocation.cost / allocation.original_cost
        if allocation.steps and reached > share + TOLERANCE:
            budget = self._question.spec.budget
            words = f"{share:.2f} of the original's {budget} cannot be had; {reached:.2f} is the least"
            warnings.warn(f"{words}, and costs much accuracy.", stacklevel=2)
        return self._carried_out(allocation.steps, refit=True)

    def keeping_agreement(self, target: float) -> SegmentationModel:
        """The cheapest model that was found to agree so well; the original where none does.

        The fit to the volumes is what takes long: the shares at which a model is good without it are found first, and
        then models with it are looked at below.
        """
        model = self._question.model
        held_back = HeldBackAgreement(model, self._question.volumes, self._monitor)

        def is_good(smaller: SegmentationModel) -> bool:
            return smaller is not model and held_back.of(smaller) >= target

        def made(share: float, refit: bool) -> SegmentationModel:
            return self._carried_out(self._allocation(share).steps, refit)

        least = self._allocation(LEAST_SHARE)
        lowest = max(LEAST_SHARE, least.cost / least.original_cost)  # less cannot be had
        if not least.steps:
            return model
        rough = least_share(lambda share: is_good(made(share, refit=False)), (lowest, 1.0), PLAIN)
        fitted: dict[float, SegmentationModel] = {}

        def is_good_fitted(share: float) -> bool:
            fitted[share] = made(share, refit=True)
            return is_good(fitted[share])

        share = least_share(is_good_fitted, (max(lowest, rough * FIT_GAINS), rough), FITTED)
        if share < 1 and share not in fitted:
            return fitted[share] if is_good_fitted(share) else made(share, refit=False)
        return fitted.get(share, model)

    def _allocation(self, share: float) -> Allocation:
        question = replace(self._question, spec=self._question.spec.with_strength(share))
        with self._monitor.stage("compress") as stage:
            return allocation_of(question, self._cache, stage)

    def _carried_out(self, steps: Sequence[tuple[str, Any]], refit: bool) -> SegmentationModel:
        """The model after all steps, Tucker's layers fitted behind what the steps before have left."""
        model, calibration, volumes = self._question.model, self._question.calibration, self._question.volumes
        for method, spec in steps:
            before = model
            with self._monitor.stage("compress") as stage:
                model = compress(model, spec, method, self._cache, stage, calibration)
            if model is before:
                continue
            if refit and hasattr(compression.method(method), "refit_network"):
                with self._monitor.stage("refit") as stage:
                    model = refit_model(model, before, volumes, calibration, self._cache, monitor=stage)
            if (method, spec) != steps[-1]:
                calibration = self._calibration_after(before, model, method, spec, calibration)
        return model

    def _calibration_after(
        self, before: SegmentationModel, model: SegmentationModel, method: str, spec: Any, calibration: ModelCalibration
    ) -> ModelCalibration:
        """The calibration of a model after a step: that of the kept channels, else a new one."""
        if method == "prune":
            spec = with_calibration(spec, calibration.sha256)
            folds = {}
            for fold, moments in calibration.folds.items():
                material = prepare_fold(before, fold, spec, method, self._cache, calibration)
                kept = {path: list(material.evidence.kept(path, count)) for path, count in spec.channels.items()}
                folds[fold] = sliced_calibration(moments, before.structure(), kept).rounded()
            return replace(calibration, folds=folds)
        with self._monitor.stage("calibrate") as stage:
            volume = self._question.volumes[0] if self._question.volumes else None
            return calibrate_model(model, volume, monitor=stage)


def least_share(is_good: Callable[[float], bool], between: tuple[float, float], looks: int) -> float:
    """The least share of the cost that is good, by bisection of the shares' logarithm.

    Args:
        is_good: Whether a share will do; shares above one that does are taken to do, too.
        between: A share that is too small, and one that is known to do.
        looks: How often to ask.
    """
    low, high = between
    for _ in range(looks):
        share = math.sqrt(low * high)
        low, high = (low, share) if is_good(share) else (share, high)
    return high
