"""The training loop of a repair: a network learns its original's outputs (Hinton et al. 2015, arXiv:1503.02531).

Crops are drawn by step number and seed, so an interrupted repair goes on exactly where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ...monitor import Monitor
from .repair_run import DrawCrop, RepairRun
from .settings import RepairRecord, RepairSettings
from .split_network import SplitNetwork

STAGE = "repair"


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repaired network with the best weights, in evaluation mode and without gradients; and the record."""

    network: nn.Module
    record: RepairRecord


def repair_network(
    compressed: SplitNetwork,
    original: SplitNetwork,
    draw_crop: DrawCrop,
    held_back: Sequence[Tensor],
    settings: RepairSettings,
    *,
    state_file: Path | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
    widths_differ: bool = False,
    drawing_alone: bool = False,
) -> Repaired:
    """Train a compressed network to give its original's outputs. No labels are involved.

    First what every stage gives is matched along with the logits, then the logits alone. What is measured and kept
    is a moving average of the weights: the one that agrees best with the original on the held-back crops, or the
    weights of the start, if no later ones are better.

    Where no learning rate is given, the highest of ``LEARNING_RATES`` is taken with which a few steps leave the network
    no worse than it was: steps of a size that helps one that is far from its original throw back one that is near.

    Args:
        compressed: A copy of its network is trained; its head stays as it is.
        original: Whose outputs it learns; not changed.
        draw_crop: Gives a crop (1, C, Z, Y, X) for a generator.
        held_back: Crops to measure on, never trained on.
        settings: How.
        state_file: Written at every check. If it is there, the run goes on from it.
        device: See ``training_device``. The networks given stay where they are.
        monitor: Hears of the stage ``repair`` and its progress, and is asked before every step whether to stop.
        widths_differ: See ``stage_loss``.
        drawing_alone: See ``trainable``.

    Raises:
        BackendError: There is no such device.
        SpecError: The loss is not a number any more.
        ModelFileError: The state file is damaged or of another run.
        OutputError: It cannot be written.
        Cancelled: The monitor said so.
    """
    monitor = (monitor or Monitor()).begin(STAGE)
    run = RepairRun(compressed, original, draw_crop, held_back, settings, device, widths_differ, drawing_alone)
    run.begin(state_file, monitor)
    started, first = time.perf_counter(), run.record.steps_done
    while run.record.steps_done < settings.steps:
        losses = []
        for step in range(run.record.steps_done, min(settings.steps, run.record.steps_done + settings.check_every)):
            monitor.check("The repair")
            losses.append(run.step(step))
            remaining_s = (time.perf_counter() - started) / (step + 1 - first) * (settings.steps - step - 1)
            monitor.progress(step + 1, settings.steps, remaining_s=remaining_s)
        run.check(losses)
        loss, agreement = run.record.losses[-1], run.record.agreement[-1]
        monitor.log(f"Step {run.record.steps_done}: loss {loss:.4f}, agreement {agreement:.4f}.")
        if state_file is not None:
            run.write(state_file)
    return Repaired(run.best_network(), run.record)
