"""What budgets of time buy: predicted and measured seconds of a patch of the full-size 3 mm network.

The weights are random, which costs no time; those of the stand-in are of low rank, so that Tucker loses nothing of
them, and noise is added for the choice to be one. First the time model is held against whole networks (the original,
Tucker at a third, half of the channels); then the allocator spends 1/1.5, 1/2 and 1/3 of the original's time by all
means and by Tucker alone, and 1/1.5 by pruning and by INT8 alone, in single precision and in the processor's best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import compression, hardware
from ..cache import Cache
from ..compression.allocation import Spec
from ..layer_times.measured import layer_times
from ..measurements import Measurements
from ..models.allocation_making import ModelMaker
from ..models.allocation_question import Question
from ..models.calibration import calibrate_model
from ..models.loading import load_model
from ..models.model import SegmentationModel, Weights
from ..models.patch_timing import PatchTimer, Place, planned, predicted_seconds
from ..monitor import Monitor
from .standin import write_standin

if TYPE_CHECKING:
    import torch

SHARES = (1 / 1.5, 1 / 2, 1 / 3)
SINGLY = 1 / 1.5  # share that pruning and INT8 are asked for alone: they have no means for much less
NOISE = 0.5  # standard deviation of what is added to a weight, of the weight's own


@dataclass(frozen=True)
class BudgetRow:
    """One network in one precision.

    Attributes:
        network: In words.
        precision: In which it ran.
        share: Of the original's predicted time that was asked for; None where nothing was.
        gmacs: 10^9 multiply-accumulates per patch.
        predicted_seconds, measured_seconds: Of one patch.
        original_seconds: Of the original network, measured in turns with this one.
    """

    VERSION = 2

    network: str
    precision: str
    share: float | None
    gmacs: float
    predicted_seconds: float
    measured_seconds: float
    original_seconds: float

    @property
    def error(self) -> float:
        """How far the prediction is off, relative to what was measured."""
        return self.predicted_seconds / self.measured_seconds - 1

    @property
    def measured_share(self) -> float:
        """Of the original's time."""
        return self.measured_seconds / self.original_seconds

    @property
    def asked(self) -> tuple[str, str, float | None]:
        """What tells a row from all others."""
        return self.network, self.precision, self.share


def measure_budgets(
    folder: Path,
    precisions: Sequence[str] | None = None,
    threads: int | None = None,
    known: Sequence[BudgetRow] = (),
    monitor: Monitor | None = None,
) -> Iterator[BudgetRow]:
    """Measure the networks one after the other; rows come when they are done.

    Args:
        folder: For the stand-in's files and a cache of its own; what is there already is used.
        precisions: In which; None takes single precision and the processor's best.
        threads: Of the processor; None leaves a core free where there are more than two.
        known: Rows of an earlier run: they are given again, not measured.
        monitor: Asked now and then whether to stop.

    Raises:
        BackendError: The processor does not compute in a precision.
    """
    monitor, cache = (monitor or Monitor()).quiet(), Cache(folder / "cache")
    earlier = {row.asked: row for row in known}
    model = _of_full_rank(load_model(write_standin(folder / "models")[0], cache=cache))
    device, _ = hardware.choose("auto", hardware.devices())
    best, _ = hardware.choose_precision("auto", device)
    threads = threads or hardware.default_threads()
    calibration = None
    for precision in dict.fromkeys(precisions or ("fp32", best)):
        place = Place(device, hardware.choose_precision(precision, device)[0], threads)
        times = layer_times(*place, Measurements(cache), monitor)
        timer = PatchTimer(model, place, times, monitor)

        def row(words: str, steps: Sequence[tuple[str, Any]], share: float | None = None) -> BudgetRow:
            smaller = planned(model, steps)
            original_s, seconds = timer.seconds(smaller)  # noqa: B023
            predicted_s = predicted_seconds(smaller, times)  # noqa: B023
            return BudgetRow(words, precision, share, smaller.cost.macs / 1e9, predicted_s, seconds, original_s)  # noqa: B023

        plain = {
            "original": (),
            "Tucker 1/3": (("tucker", compression.method("tucker").Spec(1 / 3)),),
            "half the channels": (("prune", compression.method("prune").Spec(0.5, policy="uniform")),),
        }
        for words, steps in plain.items():
            yield earlier.get((words, precision, None)) or row(words, steps)
        for share, words, means in _budgets():
            if (words, precision, share) in earlier:
                yield earlier[words, precision, share]
                continue
            calibration = calibration or calibrate_model(model, None, threads=threads, monitor=monitor)
            spec = Spec(share, means=means, calibration=calibration.sha256)
            maker = ModelMaker(Question(model, spec, calibration, times, (), place), cache, monitor, timer)
            yield row(words, maker.timed(share).steps, share)
        timer.close()


def _budgets() -> Iterator[tuple[float, str, list[str] | None]]:
    """Share, name and means of the rows that the allocator makes."""
    for share in SHARES:
        yield share, "all means", None
        yield share, "Tucker alone", ["tucker"]
    yield SINGLY, "pruning alone", ["prune"]
    yield SINGLY, "INT8 alone", ["int8"]


def as_table(rows: Sequence[BudgetRow]) -> str:
    """The rows as text."""
    columns = f"{'asked':>7}{'measured':>10}{'GMACs':>8}{'predicted s':>13}{'measured s':>12}{'off':>7}"
    lines = [f"{'network':<20}{'precision':<11}{columns}"]
    for row in rows:
        share = "" if row.share is None else f"{row.share:.2f}"
        lines.append(
            f"{row.network:<20}{row.precision:<11}{share:>7}{row.measured_share:>10.2f}{row.gmacs:>8.0f}"
            f"{row.predicted_seconds:>13.3f}{row.measured_seconds:>12.3f}{row.error:>+7.0%}"
        )
    return "\n".join([*lines, "asked, measured: share of the original's seconds; off: the prediction"])


def _of_full_rank(model: SegmentationModel) -> SegmentationModel:
    """A model with noise on its kernels, so that no decomposition of them is exact."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def noisy(weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim < 5:
            return weight
        noise = torch.randn(weight.shape, generator=generator)
        return weight + NOISE * weight.std() * noise

    return replace(model, weights=Weights({name: noisy(each) for name, each in model.weights.items()}))
