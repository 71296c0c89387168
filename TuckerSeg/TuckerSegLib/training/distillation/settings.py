"""Settings and record of a repair, as dataclasses that go through JSON. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import SpecError
from ...records.serialization import unsaid

PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("muon", "adam")
LEARNING_RATES = (1e-3, 3e-4, 1e-4, 3e-5)  # which are tried where none is given


@dataclass(frozen=True)
class RepairSettings:
    """How a compressed network is repaired.

    Attributes:
        steps: Of the optimizer, one crop each; the learning rate falls to zero along half a cosine.
        learning_rate: At its highest, after the first twentieth of the steps. None: the highest of LEARNING_RATES that
            does no harm, see ``loop.repair_network``.
        voxels: How many voxels of a crop the loss looks at, rare structures more often than common ones.
        check_every: Steps between two measurements on held-back crops; the best weights are kept.
        seed: Of crops and voxels.
        precision: Of the passes, ``fp32`` or ``bf16``; weights, loss and optimizer are always fp32.
        averaging: Decay per step of the moving average of the weights that is measured and kept; 0 takes the weights
            themselves.
        optimizer: ``muon``, which changes all directions of a weight alike, see ``training.orthogonal_momentum``, or
            ``adam``.
        margin_exponent: How voxels count by how sure the original is of them, see ``loss.margin_weights``; 0: all
            alike.

    Raises:
        SpecError: A value is out of its range.
    """

    VERSION: ClassVar[int] = 2  # 1 had a learning rate always

    steps: int = 300
    learning_rate: float | None = None
    voxels: int = 8192
    check_every: int = 25
    seed: int = 0
    precision: str = "fp32"
    averaging: float = 0.98
    optimizer: str = "muon"
    margin_exponent: float = unsaid(0.0)

    def __post_init__(self) -> None:
        for name in ("steps", "voxels", "check_every"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} should be at least 1; found {getattr(self, name)}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise SpecError(f"The learning rate should lie in (0, 1), as 1e-3; found {self.learning_rate}.")
        if not 0 <= self.averaging < 1:
            raise SpecError(f"The averaging should lie in [0, 1), as 0.98; found {self.averaging}.")
        if self.precision not in PRECISIONS:
            raise SpecError(f"The precision should be one of {', '.join(PRECISIONS)}; found '{self.precision}'.")
        if self.optimizer not in OPTIMIZERS:
            raise SpecError(f"The optimizer should be one of {', '.join(OPTIMIZERS)}; found '{self.optimizer}'.")
        if not -4 <= self.margin_exponent <= 4:
            raise SpecError(f"The exponent of margins should lie in [-4, 4], as -1; found {self.margin_exponent}.")
        if self.seed < 0:
            raise SpecError(f"The seed should not be negative; found {self.seed}.")


@dataclass(frozen=True)
class RepairRecord:
    """The record of a repair.

    Attributes:
        settings: How it was done.
        agreement: Mean Dice with the original on the held-back crops: first the start's, then one per check.
        losses: Mean loss between two checks.
        steps_done: Steps so far.
        learning_rate: At its highest: as set, or found by trials. None in files of earlier versions, which set it.
    """

    VERSION: ClassVar[int] = 1

    settings: RepairSettings
    agreement: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    steps_done: int = 0
    learning_rate: float | None = None

    @property
    def best_check(self) -> int:
        """Number of the check whose weights are kept: the first of the best, 0 where none was better than the start."""
        return self.agreement.index(max(self.agreement))
