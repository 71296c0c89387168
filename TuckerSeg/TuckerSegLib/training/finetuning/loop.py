"""The training loop of a fine-tuning: a network, prepared cases and settings to a fine-tuned network and its record.

Source: Tucker-CNN's fine-tuning on nnunetv2 2.x (``nnUNetTrainerNoMirroring``): Dice plus cross-entropy, AdamW with a
constant learning rate and torch's default weight decay, gradients clipped at 12, half precision on a GPU. Without deep
supervision: a network of this project ends in one head, because heads that prediction never runs are dropped.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...errors import OutOfMemoryError, SpecError
from ...monitor import Monitor
from ...nnunet.plans import ModelPlans
from ...nnunet.reading import quiet_import
from ..device import training_device
from ..tensor_states import (
    moments_of,
    put_moments,
    put_tensors,
    reporting_damage_of,
    sha256_of,
    tensors_of,
    trainable,
)
from .augmentation import Augmentation
from .passes import autocast_of, loss_scaler, summable, trained_plans
from .patches import Batch, PatchSampler, batches
from .preparation import TrainingSet
from .settings import FineTuningRecord, FineTuningSettings
from .state import TrainingState, read_state, write_state
from .transformer_training import StochasticDepth, optimizer_of
from .validation import mean_patch_dice

GRADIENT_NORM = 12.0  # as nnU-Net
STAGE = "fine-tune"


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """A fine-tuned network with the best weights, on the CPU, in evaluation mode, without gradients; and the record."""

    network: nn.Module
    record: FineTuningRecord


def fine_tune(
    network: nn.Module,
    plans: ModelPlans,
    dataset: TrainingSet,
    settings: FineTuningSettings,
    *,
    state_file: Path | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> FineTuneResult:
    """Fine-tune a network on labeled cases.

    The weights with the highest Dice on the held-back cases are kept; those of the start too, if no epoch is better.

    Args:
        network: From (B, C, Z, Y, X) to logits (B, L, Z, Y, X). A copy is trained; it stays as it is.
        plans: Of the model.
        dataset: From ``prepare_dataset``.
        settings: How.
        state_file: Written after every epoch. If it is there, the run goes on from it; the result is that of an
            uninterrupted run (on a GPU up to the order of its sums).
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU where there is one.
        monitor: Hears of the stage ``fine-tune``, its progress in iterations of all epochs, and in words of each epoch.
            Asked before every batch whether to stop; the epochs done are in the state file.

    Raises:
        DatasetError: Too few cases, or none that shows a structure is held back.
        SpecError: The loss is not a number any more.
        ModelFileError: The state file is damaged or of another run.
        OutputError: It cannot be written.
        BackendError, OutOfMemoryError: The device is not there, or too small.
        Cancelled: The monitor said so.
    """
    place, plans = training_device(device), trained_plans(plans, network, settings)
    monitor = (monitor or Monitor()).begin(STAGE)
    try:
        run = _FineTuningRun(network, plans, dataset, settings, place, monitor)
        run.begin(state_file)
        monitor.log(f"Validation Dice before: {run.record.dice_before:.4f}.")
        if state_file is not None:
            write_state(state_file, run.state())  # a folder that cannot be written is found before an hour has passed
        while run.record.epochs_done < settings.epochs:
            run.train_epoch()
            if state_file is not None:
                write_state(state_file, run.state())
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{device}: too little memory for batches of {settings.batch_size} patches of {plans.patch_shape} voxels. "
            "Choose a smaller batch size, or the CPU."
        ) from error
    return FineTuneResult(run.best_network(), run.record)


class _FineTuningRun:
    """One fine-tuning: network, optimizer, samplers and the record so far."""

    def __init__(
        self,
        network: nn.Module,
        plans: ModelPlans,
        dataset: TrainingSet,
        settings: FineTuningSettings,
        device: torch.device,
        monitor: Monitor,
    ):
        self._settings, self._device, self._monitor = settings, device, monitor
        self._ignore_label = dataset.ignore_label
        self._network = trainable(copy.deepcopy(network).to(device))
        self._names = [name for name, _ in self._network.named_parameters()]
        self._optimizer = optimizer_of(self._network, settings)
        self._depth = StochasticDepth(self._network, settings.drop_path)
        self._scaler = loss_scaler(device)
        self._loss = segmentation_loss(settings, dataset.ignore_label)
        training, validation = dataset.split(settings.validation_fraction, settings.seed)
        sampler = partial(PatchSampler, patch_shape=plans.patch_shape, batch_size=settings.batch_size)
        self._training = sampler(training, seed=settings.seed, augmentation=Augmentation(plans))
        self._validation = sampler(validation, seed=settings.seed)
        self._cases = tuple(tuple(case.identifier for case in cases) for cases in (training, validation))

    def begin(self, state_file: Path | None) -> None:
        """Go on from the state file, or measure the start."""
        start = tensors_of(self._network)
        self._start_sha256 = sha256_of(start)
        planned = FineTuningRecord(self._settings, *self._cases, validation_dice=())
        state = None if state_file is None else read_state(state_file, self._start_sha256, planned)
        if state is None:
            self._best = start
            self.record = replace(planned, validation_dice=(self._dice(),))
            return
        self.record, self._best = state.record, state.best_weights
        with reporting_damage_of(state_file):
            put_tensors(self._network, state.best_weights)  # a look at them: they are needed only in the end
            put_tensors(self._network, state.weights)
            put_moments(self._optimizer, self._names, state.moments)
            if state.loss_scale:
                self._scaler.load_state_dict(state.loss_scale)

    def train_epoch(self) -> None:
        """One epoch and its validation; the weights are remembered if they are the best so far."""
        epoch = self.record.epochs_done + 1
        on_gpu = self._device.type == "cuda"
        with torch.random.fork_rng([self._device] if on_gpu else []):
            torch.manual_seed(self._settings.seed * 100_003 + epoch)  # for dropout, where a network has it
            loss = self._mean_loss(epoch)
        if not math.isfinite(loss):
            raise SpecError(
                f"The loss became {loss} in epoch {epoch}; expected a number. Choose a learning rate below "
                f"{self._settings.learning_rate:g}."
            )
        dice = self._dice()
        self.record = replace(
            self.record, validation_dice=(*self.record.validation_dice, dice), losses=(*self.record.losses, loss)
        )
        is_best = self.record.best_epoch == epoch
        if is_best:
            self._best = tensors_of(self._network)
        message = f"Epoch {epoch} of {self._settings.epochs}: loss {loss:.4f}, validation Dice {dice:.4f}"
        self._monitor.log(message + (", the best so far." if is_best else "."))

    def state(self) -> TrainingState:
        """All that is needed to go on from here."""
        return TrainingState(
            self._start_sha256,
            self.record,
            tensors_of(self._network),
            self._best,
            moments_of(self._optimizer, self._names),
            self._scaler.state_dict(),
        )

    def best_network(self) -> nn.Module:
        """The network with the best weights, on the CPU."""
        put_tensors(self._network, self._best)
        self._depth.close()
        return self._network.to("cpu").requires_grad_(False).eval()

    def _mean_loss(self, epoch: int) -> float:
        """Train for one epoch; the mean of its losses."""
        settings, started = self._settings, time.perf_counter()
        done_before, total = (epoch - 1) * settings.iterations, settings.epochs * settings.iterations
        losses = 0.0
        self._network.train()
        for done, batch in enumerate(self._batches(partial(self._training.batch, epoch), settings.iterations), 1):
            for group in self._optimizer.param_groups:
                share = settings.rate_share(done_before + done - 1)
                group["lr"] = settings.learning_rate * group["factor"] * share
            losses = losses + self._step(batch)
            left = total - done_before - done
            remaining_s = (time.perf_counter() - started) / done * left
            self._monitor.progress(done_before + done, total, remaining_s=remaining_s)
        return float(losses) / settings.iterations

    def _step(self, batch: Batch) -> torch.Tensor:
        """One step of the optimizer; the loss, still on the device, so that a GPU is not waited for."""
        images, labels = (part.to(self._device, non_blocking=True) for part in batch)
        self._optimizer.zero_grad(set_to_none=True)
        with autocast_of(self._device, self._settings.precision):
            loss = self._loss(summable(self._network(images)), labels)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach().float()

    def _dice(self) -> float:
        """Mean Dice on the validation batches."""
        validation_batches = self._batches(self._validation.batch, self._settings.validation_iterations)
        return mean_patch_dice(self._network, validation_batches, self._ignore_label, self._settings.precision)

    def _batches(self, make: Callable[[int], Batch], count: int):
        """Batches by their numbers, the monitor asked before each whether to stop."""
        for batch in batches(make, count, ahead=self._device.type == "cuda"):
            self._monitor.check("The fine-tuning")
            yield batch


def segmentation_loss(settings: FineTuningSettings, ignore_label: int | None) -> nn.Module:
    """nnU-Net's loss: soft Dice without the background plus cross-entropy, of equal weight."""
    with quiet_import():
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
    dice = {"batch_dice": settings.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss)
