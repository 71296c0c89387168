"""What budgets of time buy: predicted and measured seconds of a patch of the full-size 3 mm network.

The weights are random, which costs no time. First the time model is held against whole networks (the original, Tucker
at a third, half of the channels); then the allocator spends 1/1.5, 1/2 and 1/3 of the original's time by all means and
by Tucker alone, in single precision and in the processor's best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import compression, hardware
from ..cache import Cache
from ..compression.allocation import Spec
from ..compression.heads import find_head
from ..compression.layer_work import network_work
from ..compression.layers import replace_modules
from ..layer_times.measured import fastest_seconds, layer_times
from ..measurements import Measurements
from ..models.allocation_question import Question, allocation_of
from ..models.calibration import calibrate_model
from ..models.loading import load_model
from ..models.model import SegmentationModel
from ..models.planning import plan_compression
from ..monitor import Monitor
from ..records.layer_times import LayerTimes
from .standin import write_standin

if TYPE_CHECKING:
    from torch import nn

SHARES = (1 / 1.5, 1 / 2, 1 / 3)
RUNS = 3
STANDARD_DEVIATION = 0.02  # of the random weights: small, so that nothing overflows


@dataclass(frozen=True)
class BudgetRow:
    """One network in one precision.

    Attributes:
        network: In words.
        precision: In which it ran.
        share: Of the original's predicted time that was asked for; None where nothing was.
        gmacs: 10^9 multiply-accumulates per patch.
        predicted_seconds, measured_seconds: Of one patch.
    """

    VERSION = 1

    network: str
    precision: str
    share: float | None
    gmacs: float
    predicted_seconds: float
    measured_seconds: float

    @property
    def error(self) -> float:
        """How far the prediction is off, relative to what was measured."""
        return self.predicted_seconds / self.measured_seconds - 1


def measure_budgets(folder: Path, threads: int | None = None, monitor: Monitor | None = None) -> Iterator[BudgetRow]:
    """Measure the networks one after the other; rows come when they are done.

    Args:
        folder: For the stand-in's files and a cache of its own; what is there already is used.
        threads: Of the processor; None leaves a core free where there are more than two.
        monitor: Asked now and then whether to stop.
    """
    monitor, cache = (monitor or Monitor()).quiet(), Cache(folder / "cache")
    model = load_model(write_standin(folder / "models")[0], cache=cache)
    device, _ = hardware.choose("auto", hardware.devices())
    best, _ = hardware.choose_precision("auto", device)
    threads = threads or hardware.default_threads()
    calibration = None
    for precision in dict.fromkeys(("fp32", best)):
        times = layer_times(device, precision, threads, Measurements(cache), monitor)

        def row(words: str, steps: tuple, share: float | None = None) -> BudgetRow:
            monitor.check()
            return _measured(words, model, steps, (device, precision, threads), times, share)  # noqa: B023

        yield row("original", ())
        yield row("Tucker 1/3", (("tucker", compression.method("tucker").Spec(1 / 3)),))
        yield row("half the channels", (("prune", compression.method("prune").Spec(0.5, policy="uniform")),))
        calibration = calibration or calibrate_model(model, None, threads=threads, monitor=monitor)
        for share in SHARES:
            for words, means in (("all means", None), ("Tucker alone", ["tucker"])):
                spec = Spec(share, means=means, calibration=calibration.sha256)
                steps = allocation_of(Question(model, spec, calibration, times, ()), cache, monitor).steps
                yield row(words, steps, share)


def as_table(rows: list[BudgetRow]) -> str:
    """The rows as text."""
    lines = [f"{'network':<20}{'precision':<11}{'share':>6}{'GMACs':>8}{'predicted s':>13}{'measured s':>12}{'off':>7}"]
    for row in rows:
        share = "" if row.share is None else f"{row.share:.2f}"
        lines.append(
            f"{row.network:<20}{row.precision:<11}{share:>6}{row.gmacs:>8.0f}{row.predicted_seconds:>13.3f}"
            f"{row.measured_seconds:>12.3f}{row.error:>+7.0%}"
        )
    return "\n".join(lines)


def _measured(
    words: str,
    model: SegmentationModel,
    steps: tuple[tuple[str, Any], ...],
    place: tuple[hardware.Device, str, int],
    times: LayerTimes,
    share: float | None,
) -> BudgetRow:
    import torch

    for method, spec in steps:
        model = plan_compression(model, spec, method).model
    plans = model.plans
    work = network_work(_features(model), plans.patch_shape, plans.input_channels)
    device, precision, threads = place
    prepared = hardware.PrepareSpec(plans.patch_shape, plans.input_channels, precision=precision, threads=threads)
    predictor = hardware.backend(device.backend).prepare(lambda: _with_random_weights(model), device, prepared)
    try:
        patch = torch.rand(1, plans.input_channels, *plans.patch_shape)
        seconds = fastest_seconds(lambda: predictor(patch), RUNS)
    finally:
        predictor.close()
    return BudgetRow(words, precision, share, model.cost.macs / 1e9, times.of(work), seconds)


def _features(model: SegmentationModel) -> nn.Module:
    """The network as it runs on patches, on the meta device: without its head."""
    from torch import nn

    network = model.structure()
    head = find_head(network, model.plans.patch_shape, model.plans.input_channels)
    if head is not None:
        replace_modules(network, {network.get_submodule(head): nn.Identity()})
    return network.eval()


def _with_random_weights(model: SegmentationModel) -> nn.Module:
    import torch

    network = _features(model).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0, STANDARD_DEVIATION, generator=generator).abs_()
            else:
                tensor.random_(0, 100, generator=generator)
    return network
