"""Runs Body Part Regression's network over a CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ....image import Image, oriented
from ....monitor import Monitor
from ..profile import BodyScores, ScoreScale, clean_scores
from .network import BodyPartRegression
from .slices import network_slices

SLICES_AT_ONCE = 16
SAME = 1e-6  # a slice whose values differ by less is empty


@dataclass(frozen=True, eq=False)
class BprModel:
    """The network, and what its scores mean.

    Attributes:
        network: With its weights.
        start, end: What it gives where the pelvis begins and where the eyes end.
        scale: What is expected of scores from 0 to 100.
    """

    network: BodyPartRegression
    start: float
    end: float
    scale: ScoreScale

    def scores_of(self, image: Image, monitor: Monitor) -> BodyScores:
        """Score every slice of a CT.

        Args:
            image: In HU; of several channels the first.
            monitor: Hears of progress.

        Raises:
            Cancelled: The monitor was asked to stop.
        """
        volume, grid = oriented(image.array[0], image.geometry)
        raw = np.empty(len(volume))
        with monitor.stage("network") as stage, torch.inference_mode():
            for first in range(0, len(volume), SLICES_AT_ONCE):
                stage.check("Body part regression")
                part = slice(first, first + SLICES_AT_ONCE)
                slices = network_slices(volume[part], grid.spacing_mm[1:])
                scores = self.network(torch.from_numpy(slices)).numpy().astype(float)
                empty = np.ptp(slices, axis=(1, 2, 3)) < SAME
                raw[part] = np.where(empty, np.nan, scores)
                stage.progress(min(len(volume), first + SLICES_AT_ONCE), len(volume))
        heights = grid.matrix[2, 3] + grid.matrix[2, 2] * np.arange(len(volume))
        scaled = (raw - self.start) * 100 / (self.end - self.start)
        return clean_scores(scaled, heights, float(grid.spacing_mm[0]), self.scale)
