"""One repair as it goes: networks, optimizer, the best weights and the record so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...evaluation.dice import mean_dice
from ...monitor import Monitor
from ...records.serialization import to_json
from ..device import training_device
from ..orthogonal_momentum import BETAS, OrthogonalMomentum
from ..state_files import read_training, unequal_fields, write_training
from ..tensor_states import (
    drawing,
    moments_of,
    parameter_groups,
    put_moments,
    put_tensors,
    reporting_damage_of,
    sha256_of,
    tensors_of,
    trainable,
)
from .averaging import AveragedWeights
from .loss import balanced_voxels, candidate_voxels, distillation_loss
from .settings import LEARNING_RATES, RepairRecord, RepairSettings
from .split_network import LAYOUT, SplitNetwork, labels_of, picked
from .stage_ends import StageEnds, stage_loss

KIND = "repair"
GROUPS = ("weights", "averaged", "best", "moments")
WARM_UP = 0.05  # share of the steps until the learning rate is at its highest
TRIAL_STEPS, TRIAL_SHARE = 30, 1 / 12  # of a trial of a learning rate: so many, and at most this share of all
MATCHING = 0.5  # share of the steps in which the stages are matched, too
STAGE_WEIGHT = 1.0  # of their loss in the first step; it falls to zero

DrawCrop = Callable[[torch.Generator], Tensor]


class RepairRun:
    """See ``loop.repair_network``."""

    def __init__(
        self,
        compressed: SplitNetwork,
        original: SplitNetwork,
        draw_crop: DrawCrop,
        held_back: Sequence[Tensor],
        settings: RepairSettings,
        device: str,
        widths_differ: bool,
        drawing_alone: bool,
    ):
        device = training_device(device)
        self._draw, self._settings, self._device = draw_crop, settings, device
        self._stage_loss = partial(stage_loss, widths_differ=widths_differ)
        self._original, self._compressed = original.to(device), compressed.to(device)
        self._network = trainable(self._compressed.network, drawing_alone)
        self._names = [name for name, _ in self._network.named_parameters()]
        self._start = tensors_of(self._network)
        self._restart()
        with torch.no_grad():
            moved = [crop.to(device, memory_format=LAYOUT) for crop in held_back]
            self._held_back = [(crop, self._labels(self._original, crop)) for crop in moved]

    def _restart(self) -> None:
        """The weights of the start, a fresh average of them and a fresh optimizer."""
        put_tensors(self._network, self._start)
        self._averaged = AveragedWeights(self._network, self._settings.averaging)
        self._optimizer = _optimizer_of(self._network, self._settings)

    def begin(self, state_file: Path | None, monitor: Monitor) -> None:
        """Go on from the state file where it is there, else measure the start and find the learning rate."""
        self._best = self._start
        stored = state_file and read_training(
            state_file, KIND, sha256_of(self._start), RepairRecord, GROUPS, self._differences
        )
        if not stored:
            start = self._agreement()
            rate = self._settings.learning_rate or self._tried_rate(start, monitor)
            self.record = RepairRecord(self._settings, (start,), learning_rate=rate)
            return
        self.record, self._best = stored.record, stored.groups["best"]
        with reporting_damage_of(state_file):
            put_tensors(self._network, self._best)  # a look at them: they are needed only in the end
            put_tensors(self._network, stored.groups["weights"])
            put_moments(self._optimizer, self._names, stored.groups["moments"])
            self._averaged.put(stored.groups["averaged"])

    def _tried_rate(self, start: float, monitor: Monitor) -> float:
        """The highest of LEARNING_RATES with which a trial does not lower the start's agreement; or the lowest."""
        steps = max(1, min(TRIAL_STEPS, int(TRIAL_SHARE * self._settings.steps)))
        for rate in LEARNING_RATES[:-1]:
            for number in range(steps):
                monitor.check("The repair")
                self._step(number, rate * min(1.0, (number + 1) / (0.4 * steps)))
            agreement = self._averaged_agreement()
            self._restart()
            monitor.log(f"Learning rate {rate:g}: agreement {start:.4f} -> {agreement:.4f} in {steps} steps.")
            if agreement >= start:
                return rate
        return LEARNING_RATES[-1]

    def step(self, number: int) -> float:
        """One step of the optimizer, by its number; its loss."""
        rate = self.record.learning_rate or self._settings.learning_rate
        return self._step(number, rate * _schedule(number, self._settings.steps))

    def _step(self, number: int, learning_rate: float) -> float:
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        crop = self._draw(generator).to(self._device, memory_format=LAYOUT)
        stage_weight = STAGE_WEIGHT * max(0.0, 1 - number / (MATCHING * settings.steps))
        with torch.no_grad():
            original_features, original_stages = self._run(self._original.network, crop, stage_weight > 0)
            candidates = candidate_voxels(original_features.shape[1], settings.voxels, generator).to(self._device)
            expected = self._original.logits(picked(original_features, candidates).float())
            drawn = balanced_voxels(expected, settings.voxels, generator)
            expected, voxels = expected[:, drawn], candidates[drawn]
        self._optimizer.zero_grad(set_to_none=True)
        features, stages = self._run_drawing(number, crop, stage_weight > 0)
        logits = self._compressed.logits(picked(features, voxels).float())
        loss = distillation_loss(logits, expected, settings.margin_exponent)
        total = loss + stage_weight * self._stage_loss(stages, original_stages) if stage_weight > 0 else loss
        total.backward()
        self._optimizer.step()
        self._averaged.add(self._network, number)
        return float(loss.detach())

    def _run_drawing(self, number: int, crop: Tensor, stages: bool) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`_run` of the network that learns; what draws at random does so by the step's number."""
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(self._settings.seed * 1_000_003 + number)
            for module in drawing(self._network):
                module.train()
            try:
                return self._run(self._network, crop, stages)
            finally:
                for module in drawing(self._network):
                    module.eval()

    def _run(self, network: nn.Module, crop: Tensor, stages: bool) -> tuple[Tensor, list[Tensor]]:
        """Features (F, N) of a crop, and what the stages gave on the way, if that is asked for."""
        if not stages:
            with self._precision():
                return network(crop)[0].flatten(1), []
        ends = StageEnds(network)
        try:
            with self._precision():
                return network(crop)[0].flatten(1), ends.take()
        finally:
            ends.close()

    def check(self, losses: list[float]) -> None:
        """Measure the agreement, and remember the weights where they are the best so far."""
        mean = sum(losses) / len(losses)
        if not math.isfinite(mean):
            raise SpecError(
                f"The loss became {mean}; expected a number. Choose a learning rate below "
                f"{self.record.learning_rate or self._settings.learning_rate:g}."
            )
        self.record = replace(
            self.record,
            agreement=(*self.record.agreement, self._averaged_agreement()),
            losses=(*self.record.losses, mean),
            steps_done=self.record.steps_done + len(losses),
        )
        if self.record.best_check == len(self.record.losses):
            self._best = self._averaged.tensors()

    def write(self, path: Path) -> None:
        """Write the state file."""
        groups = {
            "weights": tensors_of(self._network),
            "averaged": self._averaged.tensors(),
            "best": self._best,
            "moments": moments_of(self._optimizer, self._names),
        }
        write_training(path, KIND, sha256_of(self._start), self.record, groups)

    def best_network(self) -> nn.Module:
        """The network with the best weights, on the CPU."""
        put_tensors(self._network, self._best)
        return self._network.requires_grad_(False).eval().to("cpu", memory_format=torch.contiguous_format)

    def _differences(self, stored: RepairRecord) -> list[str]:
        return unequal_fields(to_json(self._settings), to_json(stored.settings))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._settings.precision == "bf16")

    def _labels(self, network: SplitNetwork, crop: Tensor) -> np.ndarray:
        with self._precision():
            return labels_of(network, crop)

    def _averaged_agreement(self) -> float:
        """The agreement of the averaged weights; the network goes on with its own."""
        weights = tensors_of(self._network)
        put_tensors(self._network, self._averaged.tensors())
        agreement = self._agreement()
        put_tensors(self._network, weights)
        return agreement

    @torch.no_grad()
    def _agreement(self) -> float:
        """Mean Dice with the original on the held-back crops."""
        scores = [mean_dice(self._labels(self._compressed, crop), labels) for crop, labels in self._held_back]
        defined = [score for score in scores if not math.isnan(score)]  # NaN where neither shows a structure
        return sum(defined) / len(defined) if defined else 0.0


def _optimizer_of(network: nn.Module, settings: RepairSettings) -> torch.optim.Optimizer:
    groups = parameter_groups(network, settings.learning_rate or LEARNING_RATES[0])  # every step sets its own
    return OrthogonalMomentum(groups) if settings.optimizer == "muon" else torch.optim.Adam(groups, betas=BETAS)


def _schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step: a linear warm-up, then half a cosine."""
    warm_up = max(1, round(WARM_UP * steps))
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
