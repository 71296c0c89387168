"""The training loop of a pruning while training: a network and prepared cases to a network with fewer channels.

What a batch teaches is nnU-Net's loss plus the regularizer, which draws the feature maps of every layer together; after
every epoch channels go that are nearer than their layer's threshold to a random one of it. There is no deep
supervision: a network of this project ends in one head.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...compression.channel_graph import ChannelGraph, channel_graph
from ...compression.pruning.slicing import Cut, slice_network
from ...errors import OutOfMemoryError, SpecError
from ...monitor import Monitor
from ...nnunet.plans import ModelPlans
from ..device import training_device
from ..finetuning.augmentation import Augmentation
from ..finetuning.loop import GRADIENT_NORM, segmentation_loss
from ..finetuning.passes import autocast_of, loss_scaler, summable, trained_plans
from ..finetuning.patches import Batch, PatchSampler, batches
from ..finetuning.preparation import TrainingSet
from ..finetuning.validation import dice_and_loss, mean_patch_dice
from ..tensor_states import (
    moments_of,
    put_moments,
    put_tensors,
    reporting_damage_of,
    sha256_of,
    tensors_of,
    trainable,
)
from .cutting import cut
from .likeness import GroupMaps, regularizer
from .rounds import affordable, alike, reader_moments
from .schedule import optimizer_of, set_learning_rate
from .settings import PruningEpoch, PruningRecord, SauronSettings
from .state import PruningState, read_state, write_state
from .thresholds import risen_after

STAGE = "fine-tune"
SAVED_EVERY_S = 120.0  # within an epoch
COMPARED_BATCHES = 4  # that channels are compared on after an epoch
TRIED_BATCHES = 2  # of them, for what their loss costs


@dataclass(frozen=True, eq=False)
class Pruned:
    """The network that is kept, on the CPU, in evaluation mode, without gradients; and the record."""

    network: nn.Module
    record: PruningRecord


def prune_while_training(
    network: nn.Module,
    plans: ModelPlans,
    dataset: TrainingSet,
    settings: SauronSettings,
    *,
    state_file: Path | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> Pruned:
    """Train a network on labeled cases, and take channels out of it after every epoch.

    Args:
        network: From (B, C, Z, Y, X) to logits (B, L, Z, Y, X). A copy is trained; it stays as it is.
        plans: Of the model.
        dataset: From ``prepare_dataset``.
        settings: How.
        state_file: Written after every epoch, and within one every two minutes. If it is there, the run goes on from
            it; the result is that of an uninterrupted run (on a GPU up to the order of its sums).
        device, monitor: See ``finetuning.loop.fine_tune``.

    Raises:
        SpecError: The network has no layer that may be pruned, or the loss is not a number any more.
        DatasetError, ModelFileError, OutputError, BackendError, OutOfMemoryError, Cancelled: See
            ``finetuning.loop.fine_tune``.
    """
    place, plans = training_device(device), trained_plans(plans, network, settings.training)
    monitor = (monitor or Monitor()).begin(STAGE)
    try:
        run = _Run(network, plans, dataset, settings, place, monitor)
        run.begin(state_file)
        while run.record.epochs_done < settings.training.epochs:
            run.train_epoch()
            run.save()
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{device}: too little memory for batches of {settings.training.batch_size} patches of "
            f"{plans.patch_shape} voxels. Choose a smaller batch size, or the CPU."
        ) from error
    return Pruned(run.kept_network(), run.record)


class _Run:
    """One pruning while training: network, its channels, optimizer, samplers and the record so far."""

    def __init__(
        self,
        network: nn.Module,
        plans: ModelPlans,
        dataset: TrainingSet,
        settings: SauronSettings,
        device: torch.device,
        monitor: Monitor,
    ):
        self._original, self._plans, self._settings = network, plans, settings
        self._device, self._monitor, self._ignore_label = device, monitor, dataset.ignore_label
        self._use(copy.deepcopy(network))
        if not self._graph.groups:
            raise SpecError(f"{plans.dataset_name}: expected layers whose channels may go, as of a U-Net; found none.")
        self._scaler = loss_scaler(device)
        training, validation = dataset.split(settings.training.validation_fraction, settings.training.seed)
        self._cases = tuple(tuple(case.identifier for case in cases) for cases in (training, validation))
        shape, size = plans.patch_shape, settings.training.batch_size
        sampler = partial(PatchSampler, patch_shape=shape, batch_size=size, seed=settings.training.seed)
        self._training, self._compared = sampler(training, augmentation=Augmentation(plans)), sampler(training)
        self._validation = sampler(validation)
        self._loss = segmentation_loss(settings.training, dataset.ignore_label)
        self._batches_done, self._loss_sum = 0, torch.zeros(())

    def _use(self, network: nn.Module, moments: Mapping[str, torch.Tensor] | None = None) -> None:
        """Train this network from now on, with an optimizer of its own that remembers these moments."""
        self._network = trainable(network.to(self._device))
        self._graph: ChannelGraph = channel_graph(network, self._plans.patch_shape, self._plans.input_channels)
        self._names = [name for name, _ in network.named_parameters()]
        self._optimizer = optimizer_of(network, self._settings)
        put_moments(self._optimizer, self._names, dict(moments or {}))

    def begin(self, state_file: Path | None) -> None:
        """Go on from the state file, or measure the start."""
        self._state_file, self._saved_at = state_file, time.monotonic()
        start = tensors_of(self._network)
        self._start_sha256 = sha256_of(start)
        planned = PruningRecord(self._settings, *self._cases)
        state = None if state_file is None else read_state(state_file, self._start_sha256, planned)
        if state is not None:
            self._restore(state, state_file)
            return
        self._kept_weights = start
        channels = {path: group.channels for path, group in self._graph.groups.items()}
        dice, loss = self._measured()
        nothing = dict.fromkeys(channels, 0)
        self.record = replace(planned, epochs=(PruningEpoch(None, loss, dice, channels, nothing, nothing),))
        self._monitor.log(f"Before: validation Dice {dice:.4f}, {sum(channels.values())} channels.")
        self.save()  # a folder that cannot be written is found before an hour has passed

    def _restore(self, state: PruningState, path: Path) -> None:
        self.record, self._kept_weights = state.record, state.kept_weights
        self._batches_done = state.batches
        self._loss_sum = torch.tensor(state.loss_sum)
        with reporting_damage_of(path):
            state.record.require_layers(self._graph.groups)
            self.kept_network()  # a look at its weights, which are needed only in the end
            network = self._structure(state.record.epochs[-1].channels)
            put_tensors(network, state.weights)
            self._use(network, state.moments)
            if state.loss_scale:
                self._scaler.load_state_dict(state.loss_scale)

    def train_epoch(self) -> None:
        """One epoch: training, pruning, validation, and whether thresholds rise."""
        epoch, before = self.record.epochs_done + 1, self.record.epochs[-1]
        loss = self._trained(epoch)
        if not math.isfinite(loss):
            raise SpecError(
                f"The loss became {loss} in epoch {epoch}; expected a number. Choose a learning rate below "
                f"{self._settings.training.learning_rate:g}."
            )
        channels = self._pruned(epoch, before)
        dice, validation_loss = self._measured()
        risen, waited = risen_after(self.record.epochs, loss, validation_loss, channels, self._settings)
        done = PruningEpoch(loss, validation_loss, dice, channels, risen, waited)
        self.record = replace(self.record, epochs=(*self.record.epochs, done))
        if self.record.kept_epoch == epoch:
            self._kept_weights = tensors_of(self._network)
        self._batches_done, self._loss_sum = 0, torch.zeros(())
        self._monitor.log(
            f"Epoch {epoch} of {self._settings.training.epochs}: loss {loss:.4f}, validation Dice {dice:.4f}, "
            f"{done.total_channels} of {self.record.epochs[0].total_channels} channels."
        )

    def save(self) -> None:
        """Write the state file, where there is to be one."""
        if self._state_file is None:
            return
        state = PruningState(
            self._start_sha256,
            self.record,
            self._batches_done,
            float(self._loss_sum),
            tensors_of(self._network),
            self._kept_weights,
            moments_of(self._optimizer, self._names),
            self._scaler.state_dict(),
        )
        write_state(self._state_file, state)
        self._saved_at = time.monotonic()

    def kept_network(self) -> nn.Module:
        """The network that is kept, on the CPU."""
        network = self._structure(self.record.kept.channels)
        put_tensors(network, self._kept_weights)
        return network.to("cpu").requires_grad_(False).eval()

    def _structure(self, channels: Mapping[str, int]) -> nn.Module:
        """A network of the original's structure with so many channels left; its weights are to be put in."""
        network = copy.deepcopy(self._original)
        graph = channel_graph(network, self._plans.patch_shape, self._plans.input_channels)
        fewer = {path: range(kept) for path, kept in channels.items() if kept < graph.groups[path].channels}
        slice_network(network, Cut(graph, fewer), None)
        return network

    def _trained(self, epoch: int) -> float:
        """Train for the rest of an epoch; the mean of its losses."""
        settings, started = self._settings.training, time.perf_counter()
        set_learning_rate(self._optimizer, self._settings, epoch)
        first, total = self._batches_done, settings.epochs * settings.iterations
        self._network.train()
        regularized = self._settings.regularization and not self._settings.settles(epoch)
        maps = GroupMaps(self._network, self._graph) if regularized else None
        left = settings.iterations - first
        try:
            for batch in self._batches(lambda number: self._training.batch(epoch, first + number), left):
                number = (epoch - 1) * settings.iterations + self._batches_done
                self._loss_sum = self._loss_sum + self._step(batch, number, maps).cpu()
                self._batches_done += 1
                spent = (time.perf_counter() - started) / (self._batches_done - first)
                self._monitor.progress(number + 1, total, remaining_s=spent * (total - number - 1))
                is_last = self._batches_done == settings.iterations
                if not is_last and time.monotonic() - self._saved_at >= SAVED_EVERY_S:
                    self.save()
        finally:
            if maps is not None:
                maps.close()
        return float(self._loss_sum) / settings.iterations

    def _step(self, batch: Batch, number: int, maps: GroupMaps | None) -> torch.Tensor:
        """One step of the optimizer, by its number in the run; the loss."""
        images, labels = (part.to(self._device, non_blocking=True) for part in batch)
        self._optimizer.zero_grad(set_to_none=True)
        on_gpu = self._device.type == "cuda"
        with torch.random.fork_rng([self._device] if on_gpu else []):
            torch.manual_seed(self._settings.training.seed * 1_000_003 + number)  # for dropout
            with autocast_of(self._device, self._settings.training.precision):
                loss = self._loss(summable(self._network(images)), labels)
        if maps is not None:
            loss = loss + self._settings.regularization * regularizer(maps.take())
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach().float()

    def _pruned(self, epoch: int, before: PruningEpoch) -> dict[str, int]:
        """Take the channels out that are near a random one of their layer; how many every layer has left."""
        settings, precision, groups = self._settings, self._settings.training.precision, self._graph.groups
        if settings.settles(epoch):
            return dict(before.channels)
        random = torch.Generator().manual_seed(settings.training.seed * 100_003 + epoch)
        references = {path: int(torch.randint(group.channels, (), generator=random)) for path, group in groups.items()}
        limits = {path: settings.threshold(before.risen[path]) for path in groups}
        batches = list(self._batches(lambda number: self._compared.batch(epoch, number), COMPARED_BATCHES))
        images, made_up = [images.to(self._device) for images, _ in batches], None
        with autocast_of(self._device, precision):
            tries = alike(self._network, self._graph, images, references, limits, settings.round_tries)
            kept = {path: proposals[0] for path, proposals in tries.items()}
            if kept and settings.compensate:
                made_up = reader_moments(self._network, self._graph, images)
        if kept and settings.round_loss is not None:
            counted = {"batches": batches[:TRIED_BATCHES], "ignore_label": self._ignore_label, "precision": precision}
            dice = partial(mean_patch_dice, **counted)
            kept = affordable(self._network, self._graph, tries, made_up, dice, settings.round_loss)
        if kept:
            moments = moments_of(self._optimizer, self._names)
            self._use(self._network, cut(self._network, self._graph, kept, moments, made_up))
        return {path: group.channels for path, group in self._graph.groups.items()}

    def _measured(self) -> tuple[float, float]:
        """Mean Dice and loss on the validation batches."""
        batches = self._batches(self._validation.batch, self._settings.training.validation_iterations)
        return dice_and_loss(self._network, batches, self._ignore_label, self._loss, self._settings.training.precision)

    def _batches(self, make, count: int):
        """Batches by their numbers, the monitor asked before each whether to stop."""
        for batch in batches(make, count, ahead=self._device.type == "cuda"):
            self._monitor.check("The fine-tuning")
            yield batch
