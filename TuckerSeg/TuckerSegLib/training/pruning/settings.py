"""Settings and record of a pruning while training, as dataclasses that go through JSON. Standard library only.

Source of the defaults: Valverde et al. 2024 (arXiv:2209.13590); all that is not about channels is
``FineTuningSettings``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ...errors import SpecError
from ...records.serialization import unsaid
from ..finetuning.settings import FineTuningSettings

SCHEDULES = ("constant", "polynomial")
LOWEST_THRESHOLD = 0.001


@dataclass(frozen=True)
class SauronSettings:
    """How a network is trained and pruned.

    Attributes:
        training: Epochs, batches, learning rate, and what is held back.
        schedule: ``constant``: AdamW with a constant learning rate, as a fine-tuning; ``polynomial``: Adam with a
            weight decay of 1e-5, its learning rate falling by (1 - done) ** 0.9 from epoch to epoch, as Sauron.
        regularization: Weight of the regularizer in the loss (Sauron's lambda); 0 leaves it out.
        highest_threshold: Of the distances (tau_max).
        rises: Equal steps from the lowest to the highest threshold (kappa).
        patience: Epochs for which a layer's threshold stays, and over which losses are compared (rho).
        hardly_any: Share of a layer's channels (mu): where fewer went in an epoch, its threshold may rise.
        compensate: Whether the layers that read a channel make up for its loss by the others that they read, by linear
            prediction; the paper's do not.
        round_loss: What the channels of one epoch may cost, in Dice on patches of the training cases; layers with which
            it would be more keep theirs. None: whatever, as in the paper.
        lowest_threshold: That every layer begins with; a network that is trained already needs not wait for it to rise.
        round_tries: How often it is asked whether the channels of a layer cost too much: those that are alike, then the
            nearer half of them, and so on.
        settling: Epochs at the end without regularizer, in which no channels go, so that what is left makes up for the
            last of them; the paper has none.
        dice_loss: By how much the validation Dice of the network that is kept may lie below the best of all epochs.

    Raises:
        SpecError: A value is out of its range.
    """

    VERSION: ClassVar[int] = 1

    training: FineTuningSettings = FineTuningSettings()
    schedule: str = "constant"
    regularization: float = 0.5
    highest_threshold: float = 0.3
    rises: int = 15
    patience: int = 5
    hardly_any: float = 0.02
    dice_loss: float = 0.01
    compensate: bool = unsaid(False)
    round_loss: float | None = unsaid(None)
    round_tries: int = unsaid(1)
    settling: int = unsaid(0)
    lowest_threshold: float = unsaid(LOWEST_THRESHOLD)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise SpecError(f"The schedule should be one of {', '.join(SCHEDULES)}; found '{self.schedule}'.")
        if not 0 <= self.regularization <= 100:
            raise SpecError(f"The regularization should lie in [0, 100], as 0.5; found {self.regularization}.")
        if not 0.001 <= self.highest_threshold <= 1:
            raise SpecError(f"The highest threshold should lie in [0.001, 1]; found {self.highest_threshold}.")
        if not 0 <= self.lowest_threshold <= self.highest_threshold:
            raise SpecError(
                f"The lowest threshold should lie in [0, {self.highest_threshold:g}], the highest; found "
                f"{self.lowest_threshold}."
            )
        if self.rises < 1:
            raise SpecError(f"The number of rises should be at least 1; found {self.rises}.")
        if self.round_tries < 1:
            raise SpecError(f"The number of tries of a round should be at least 1; found {self.round_tries}.")
        if self.patience < 2:  # the losses of a single epoch leave no room between the least and the greatest
            raise SpecError(f"The patience should be at least 2 epochs; found {self.patience}.")
        if not 0 <= self.settling < self.training.epochs:
            raise SpecError(
                f"Fewer epochs than the {self.training.epochs} of the training should settle; found {self.settling}."
            )
        for name in ("hardly_any", "dice_loss", "round_loss"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise SpecError(f"{name} should lie in [0, 1]; found {getattr(self, name)}.")

    def threshold(self, risen: int) -> float:
        """Of a layer that has risen so often: from the lowest to the highest in equal steps."""
        steps = self.highest_threshold - self.lowest_threshold
        return self.lowest_threshold + steps * min(risen, self.rises) / self.rises

    def settles(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, is one of the last in which no channels go."""
        return epoch > self.training.epochs - self.settling


@dataclass(frozen=True)
class PruningEpoch:
    """What an epoch made of a network.

    Attributes:
        training_loss: Mean, with the regularizer; None of the start.
        validation_loss: Mean on the held-back patches, without the regularizer, after the epoch's pruning.
        validation_dice: There, too.
        channels: Path of a layer that may be pruned to the output channels that it has after this epoch.
        risen: Path to how often its threshold has risen, after this epoch.
        waited: Path to the epochs since then.
    """

    VERSION: ClassVar[int] = 1

    training_loss: float | None
    validation_loss: float
    validation_dice: float
    channels: dict[str, int]
    risen: dict[str, int]
    waited: dict[str, int]

    @property
    def total_channels(self) -> int:
        """Of all layers that may be pruned."""
        return sum(self.channels.values())


@dataclass(frozen=True)
class PruningRecord:
    """The record of a pruning while training.

    Attributes:
        settings: How it was done.
        training_cases, validation_cases: Identifiers of the cases.
        epochs: The start, then one per epoch.
    """

    VERSION: ClassVar[int] = 1

    settings: SauronSettings
    training_cases: tuple[str, ...]
    validation_cases: tuple[str, ...]
    epochs: tuple[PruningEpoch, ...] = ()

    def require_layers(self, layers: Iterable[str]) -> None:
        """Raise ValueError unless every epoch tells of these layers, by their paths, and of no others."""
        expected = set(layers)
        for epoch in self.epochs:
            if any(set(each) != expected for each in (epoch.channels, epoch.risen, epoch.waited)):
                raise ValueError("its record is of other layers")

    @property
    def epochs_done(self) -> int:
        """Number of epochs so far."""
        return len(self.epochs) - 1

    @property
    def kept_epoch(self) -> int:
        """Number of the epoch whose network is kept, 0 for the start.

        That with the fewest channels of all whose Dice is no worse than the best one less ``dice_loss``; of several
        the one with the highest Dice, then the first.
        """
        least = max(epoch.validation_dice for epoch in self.epochs) - self.settings.dice_loss
        fit = [number for number, epoch in enumerate(self.epochs) if epoch.validation_dice >= least]
        return min(fit, key=lambda each: (self.epochs[each].total_channels, -self.epochs[each].validation_dice))

    @property
    def kept(self) -> PruningEpoch:
        """The epoch whose network is kept."""
        return self.epochs[self.kept_epoch]
