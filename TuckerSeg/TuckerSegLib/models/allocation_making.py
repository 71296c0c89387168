"""Makes the compressed models of a question to the allocator: at a share of the cost, or for an agreement."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .. import compression
from ..cache import Cache
from ..compression.allocation.steps import LEAST_SAVED, Allocation
from ..compression.pruning.sliced_moments import sliced_calibration
from ..measurements import Measurements
from ..monitor import Monitor
from .agreement import HeldBackAgreement
from .agreement_search import least_share
from .allocation_question import Question, allocation_of, asked_in_words
from .calibration import (
    PATCHES_PER_VOLUME,
    ModelCalibration,
    calibrate_model,
    store_calibration,
    stored_calibration,
    volume_id,
)
from .compress import compress
from .material import prepare_fold
from .model import SegmentationModel
from .patch_timing import PatchTimer, planned, predicted_seconds
from .planning import with_calibration
from .refit import refit_model
from .timed_choice import NEAR, Choice, Steps, timed_choice

LEAST_SHARE = 0.1  # of the original's cost, that an agreement is looked for from
CHECKED = 3  # networks that are made whole to be measured against the agreement, the last as dear as the original
PLAIN, FITTED = 3, 2  # networks that are made to find an agreement at most, without a fit to the volumes and with it
ROUGH_PATCHES = 1  # of each volume, that a network which is only looked at is calibrated on before its whole numbers
TIMED_SHARE = 0.5  # of the original's time: of the network by which prices are corrected before a search
TOLERANCE = 0.01  # of the original's cost: so much more than was asked for is not worth a word
FIT_GAINS = 0.6  # share of the cost that a fit to the volumes lets a network do with, at the same agreement


class ModelMaker:
    """Makes the compressed models of one question.

    Args:
        question: What is asked.
        cache: Keeps what is made.
        monitor: Times the stages, and is asked within them whether to stop.
        timer: Of the question's model at its place, of whoever asks more than one; None takes one of its own.
    """

    def __init__(self, question: Question, cache: Cache, monitor: Monitor, timer: PatchTimer | None = None):
        self._question, self._cache, self._monitor = question, cache, monitor
        self._timer = timer
        self.choice: Choice | None = None  # the last that was timed

    def at_share(self, share: float) -> SegmentationModel:
        """The model that costs this share of the original; the original where nothing saves anything.

        Where so little cannot be had, the one that costs least, with a warning.
        """
        if self._question.place is None:
            allocation = self._allocation(share)
            steps, reached, tolerance = allocation.steps, allocation.cost / allocation.original_cost, TOLERANCE
        else:
            self.choice = self.timed(share)
            steps, reached, tolerance = self.choice.steps, self.choice.shares[1], TOLERANCE + NEAR * share
        if steps and reached > share + tolerance:
            budget = self._question.spec.budget
            words = f"{share:.2f} of the original's {budget} cannot be had; {reached:.2f} is the least"
            warnings.warn(f"{words}, and costs much accuracy.", stacklevel=2)
        return self._carried_out(steps, refit=True)

    def keeping_agreement(self, target: float) -> SegmentationModel:
        """The cheapest model that was found to agree so well; the original where none does.

        The fit to the volumes is what takes long: the shares at which a model is good without it are found first, and
        then models with it are looked at below.
        """
        model = self._question.model
        corrections = self._corrections()
        held_back = HeldBackAgreement(model, self._question.volumes, self._monitor)
        steps_at: dict[float, Steps] = {}
        fitted: dict[float, SegmentationModel] = {}

        def steps_of(share: float) -> Steps:
            if share not in steps_at:
                steps_at[share] = self._allocation(share, corrections).steps
            return steps_at[share]

        def plain_agreement(share: float) -> float:
            smaller = self._carried_out(steps_of(share), refit=False, rough=True)
            return 1.0 if smaller is model else held_back.of(smaller)

        def fitted_agreement(share: float) -> float:
            fitted[share] = self._carried_out(steps_of(share), refit=True)
            return 1.0 if fitted[share] is model else held_back.of(fitted[share])

        least = self._allocation(LEAST_SHARE, corrections)
        lowest = max(LEAST_SHARE, least.cost / least.original_cost)  # less cannot be had
        if not least.steps:
            return model
        rough = least_share(plain_agreement, target, (lowest, 1.0), PLAIN)
        share = least_share(fitted_agreement, target, (max(lowest, rough * FIT_GAINS), rough), FITTED)
        for _ in range(CHECKED):
            if share >= 1 or not self._saves_time(steps_of(share)):
                return model
            if share in fitted or fitted_agreement(share) >= target:
                return fitted[share]
            if _has_fit(steps_of(share)):
                plain = self._carried_out(steps_of(share), refit=False)
                if held_back.of(plain) >= target:
                    return plain
            share = math.sqrt(share)  # a network that was looked at roughly promised too much
        return model

    def _corrections(self) -> Mapping[str, float]:
        """What the prices of the means were off by when a network was last timed here; else one is timed now."""
        question, kept = self._question, Measurements(self._cache)
        if question.place is None:
            return {}
        key = f"{asked_in_words(question.model, question.spec.with_strength(TIMED_SHARE))} {question.place.words}"
        corrections = kept.corrections(key)
        if corrections is None:
            corrections = self.timed(TIMED_SHARE).corrections
            kept.add_corrections(key, corrections)
        return corrections

    def _saves_time(self, steps: Steps) -> bool:
        """Whether the network that steps leave was measured to be faster than the original, where time counts."""
        if self._question.place is None or not steps:
            return bool(steps)
        with self._own_timer_closed():
            self.choice = Choice(steps, self._predicted(steps), self._measured(steps))
        return self.choice.measured <= 1 - LEAST_SAVED

    def timed(self, share: float) -> Choice:
        """The steps that keep a share of the original's time as it is measured here."""
        with self._own_timer_closed():
            return timed_choice(
                share, lambda corrections: self._allocation(share, corrections), self._predicted, self._measured
            )

    @contextlib.contextmanager
    def _own_timer_closed(self) -> Iterator[None]:
        """Afterwards no network is on the device but of a timer that others gave: memory is for what follows."""
        given = self._timer
        try:
            yield
        finally:
            if given is None and self._timer is not None:
                self._timer.close()
                self._timer = None

    def _measured(self, steps: Steps) -> float:
        question = self._question
        if self._timer is None:
            self._timer = PatchTimer(question.model, question.place, question.times, self._monitor)
        with self._monitor.stage("measure"):
            return self._timer.share(planned(question.model, steps))

    def _predicted(self, steps: Steps) -> float:
        model, times = self._question.model, self._question.times
        return predicted_seconds(planned(model, steps), times) / predicted_seconds(model, times)

    def _allocation(self, share: float, corrections: Mapping[str, float] = MappingProxyType({})) -> Allocation:
        question = replace(self._question, spec=self._question.spec.with_strength(share))
        with self._monitor.stage("compress") as stage:
            return allocation_of(question, self._cache, stage, corrections)

    def _carried_out(self, steps: Steps, refit: bool, rough: bool = False) -> SegmentationModel:
        """The model after all steps, Tucker's layers fitted behind what the steps before have left.

        Args:
            steps: Method and ``Spec`` of each.
            refit: Whether they are fitted, where there is a volume; that is what takes long.
            rough: Calibrate on fewer patches where whole numbers follow: near enough to be looked at.
        """
        model, calibration, volumes = self._question.model, self._question.calibration, self._question.volumes
        for method, spec in steps:
            before = model
            with self._monitor.stage("compress") as stage:
                model = compress(model, spec, method, self._cache, stage, calibration)
            if model is before:
                continue
            if refit and volumes and _has_fit([(method, spec)]):
                with self._monitor.stage("refit") as stage:
                    model = refit_model(model, before, volumes, calibration, self._cache, monitor=stage)
            if (method, spec) != steps[-1]:
                patches = ROUGH_PATCHES if rough else PATCHES_PER_VOLUME
                calibration = self._calibration_after(before, model, (method, spec), calibration, patches)
        return model

    def _calibration_after(
        self,
        before: SegmentationModel,
        model: SegmentationModel,
        step: tuple[str, Any],
        calibration: ModelCalibration,
        patches: int,
    ) -> ModelCalibration:
        """The calibration of a model after a step: that of the kept channels, else a new one on so many patches."""
        method, spec = step
        if method == "prune":
            spec = with_calibration(spec, calibration.sha256)
            folds = {}
            for fold, moments in calibration.folds.items():
                material = prepare_fold(before, fold, spec, method, self._cache, calibration)
                kept = {path: list(material.evidence.kept(path, count)) for path, count in spec.channels.items()}
                folds[fold] = sliced_calibration(moments, before.structure(), kept).rounded()
            return replace(calibration, folds=folds)
        volume = self._question.volumes[0] if self._question.volumes else None
        variant = f"{patches} {volume and volume_id(volume)}"
        if known := stored_calibration(model, self._cache, variant):
            return known
        with self._monitor.stage("calibrate") as stage:
            made = calibrate_model(model, volume, monitor=stage, patches_per_volume=patches)
        store_calibration(model, made, self._cache, variant)
        return made


def _has_fit(steps: Steps) -> bool:
    """Whether any of the steps has layers that can be fitted to volumes."""
    return any(hasattr(compression.method(method), "refit_network") for method, _ in steps)
