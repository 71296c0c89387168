"""Settings and record of a fine-tuning, as dataclasses that go through JSON. Standard library only.

Source of the defaults: Tucker-CNN's fine-tuning script (50 epochs of 250 iterations, AdamW, constant learning rate
1e-5); what it leaves to nnU-Net is nnU-Net 2.x's (batches of 2, 50 validation batches, one case of five held back).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...errors import SpecError
from ...records.serialization import unsaid

PRECISIONS = ("nnunet", "bf16")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "muon")


@dataclass(frozen=True)
class FineTuningSettings:
    """How a network is fine-tuned.

    Attributes:
        epochs: Epochs; after each the network is validated and the state written.
        iterations: Training batches per epoch.
        learning_rate: Of AdamW, at its highest.
        batch_size: Patches per batch.
        validation_fraction: Share of the cases that is held back, in (0, 1); at least one case.
        validation_iterations: Batches of held-back patches per validation, the same ones every time.
        batch_dice: Dice loss over the batch as one sample; nnU-Net's ``batch_dice`` of the configuration.
        seed: Of the split, the patches and their augmentation.
        patch_shape: (Z, Y, X) of the patches; None: the model's own.
        precision: Of the passes; weights and optimizer are always fp32. ``nnunet``: as nnU-Net trains, fp32 on a
            processor, mixed with fp16 on a GPU; ``bf16``: mixed with bf16.
        schedule: ``constant``, or ``cosine``: the learning rate falls to zero along half a cosine.
        warm_up: Epochs in which it rises from zero.
        weight_decay, second_beta: Of AdamW.
        optimizer: ``adam``: AdamW, or Adam where a pruning while training falls as Sauron's; ``muon``:
            ``training.orthogonal_momentum``, without weight decay.
        layer_decay: Share of the next block's learning rate that a transformer's block has; None: all learn alike.
        drop_path: Share of the steps in which what a transformer's last block adds is left out; less of those before.

    Raises:
        SpecError: A value is out of its range.
    """

    VERSION: ClassVar[int] = 1

    epochs: int = 50
    iterations: int = 250
    learning_rate: float = 1e-5
    batch_size: int = 2
    validation_fraction: float = 0.2
    validation_iterations: int = 50
    batch_dice: bool = False
    seed: int = 0
    patch_shape: tuple[int, int, int] | None = unsaid(None)
    precision: str = unsaid("nnunet")
    schedule: str = unsaid("constant")
    warm_up: int = unsaid(0)
    weight_decay: float = unsaid(0.01)
    second_beta: float = unsaid(0.999)
    layer_decay: float | None = unsaid(None)
    drop_path: float = unsaid(0.0)
    optimizer: str = unsaid("adam")

    def __post_init__(self) -> None:
        counts = {
            "number of epochs": self.epochs,
            "number of iterations per epoch": self.iterations,
            "batch size": self.batch_size,
            "number of validation iterations": self.validation_iterations,
        }
        for name, value in counts.items():
            if value < 1:
                raise SpecError(f"The {name} should be at least 1; found {value}.")
        if not 0 < self.learning_rate < 1:
            raise SpecError(f"The learning rate should lie in (0, 1), as 1e-5; found {self.learning_rate}.")
        if not 0 < self.validation_fraction < 1:
            raise SpecError(f"The validation fraction should lie in (0, 1); found {self.validation_fraction}.")
        if self.seed < 0:
            raise SpecError(f"The seed should not be negative; found {self.seed}.")
        if self.patch_shape is not None and min(self.patch_shape) < 1:
            raise SpecError(f"Patches should have at least 1 voxel along each axis; found {self.patch_shape}.")
        if self.precision not in PRECISIONS:
            raise SpecError(f"The precision should be one of {', '.join(PRECISIONS)}; found '{self.precision}'.")
        if self.optimizer not in OPTIMIZERS:
            raise SpecError(f"The optimizer should be one of {', '.join(OPTIMIZERS)}; found '{self.optimizer}'.")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.schedule not in SCHEDULES:
            raise SpecError(f"The schedule should be one of {', '.join(SCHEDULES)}; found '{self.schedule}'.")
        if not 0 <= self.warm_up < self.epochs:
            raise SpecError(
                f"The warm-up should take fewer epochs than the {self.epochs} of the training; found {self.warm_up}."
            )
        for name in ("weight_decay", "second_beta", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(f"The {name.replace('_', ' ')} should lie in [0, 1); found {getattr(self, name)}.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise SpecError(f"The layer decay should lie in (0, 1], as 0.75; found {self.layer_decay}.")

    def rate_share(self, step: int) -> float:
        """Share of the highest learning rate at a step of all, counted from 0."""
        warm_up, steps = self.warm_up * self.iterations, self.epochs * self.iterations
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / (steps - warm_up)
        return 0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0


@dataclass(frozen=True)
class FineTuningRecord:
    """The record of a fine-tuning.

    Attributes:
        settings: How it was done.
        training_cases, validation_cases: Identifiers of the cases.
        validation_dice: Mean Dice on the held-back patches; first the start's, then one per epoch.
        losses: Mean training loss, one per epoch.
    """

    VERSION: ClassVar[int] = 1

    settings: FineTuningSettings
    training_cases: tuple[str, ...]
    validation_cases: tuple[str, ...]
    validation_dice: tuple[float, ...]
    losses: tuple[float, ...] = ()

    @property
    def epochs_done(self) -> int:
        """Number of epochs so far."""
        return len(self.losses)

    @property
    def best_epoch(self) -> int:
        """Number of the epoch whose weights are kept: the first of the best, 0 where none was better than the start."""
        return self.validation_dice.index(max(self.validation_dice))

    @property
    def dice_before(self) -> float:
        """Validation Dice of the weights at the start."""
        return self.validation_dice[0]

    @property
    def dice_after(self) -> float:
        """Validation Dice of the weights that are kept."""
        return max(self.validation_dice)
