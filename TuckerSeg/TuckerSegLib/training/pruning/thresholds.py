"""When the threshold rises below which a layer's channels count as alike. Pure functions of what was measured.

The reference implementation compares the last validation loss with a history that holds it already, so that its
condition is never met. Here the history ends before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .settings import PruningEpoch, SauronSettings


def may_rise(
    training_losses: Sequence[float],
    validation_losses: Sequence[float],
    *,
    waited: int,
    gone: int,
    channels: int,
    patience: int,
    hardly_any: float,
) -> bool:
    """Whether a layer's threshold rises after an epoch: training has settled, and hardly any channels go any more.

    Args:
        training_losses, validation_losses: Of all epochs so far, the last one's last.
        waited: Epochs since the threshold was set, with this one.
        gone: Channels that the layer lost in this epoch.
        channels: That it had before.
        patience: Epochs that must have passed, and that the last losses are compared with.
        hardly_any: Share of the channels below which a loss of them is none.

    Returns:
        True only where all of it holds: the patience has passed; the training loss is neither below the least nor
        above the greatest of the epochs before; the validation loss is not below the least of theirs; and fewer than
        that share of the channels went.
    """
    if waited < patience or len(training_losses) <= patience or len(validation_losses) <= patience:
        return False
    *_, last = training_losses
    before = training_losses[-patience - 1 : -1]
    settled = min(before) <= last <= max(before)
    improving = validation_losses[-1] < min(validation_losses[-patience - 1 : -1])
    return settled and not improving and gone < hardly_any * channels


def risen_after(
    epochs: Sequence[PruningEpoch],
    training_loss: float,
    validation_loss: float,
    channels: Mapping[str, int],
    settings: SauronSettings,
) -> tuple[dict[str, int], dict[str, int]]:
    """How often the threshold of each layer has risen after an epoch, and the epochs that it has waited since.

    Args:
        epochs: The start and all epochs before this one.
        training_loss, validation_loss: Of this one.
        channels: Path of a layer to the channels that it has left after this one.
        settings: How many rises there are, and when.
    """
    done, before = epochs[1:], epochs[-1]
    training_losses = [*(epoch.training_loss for epoch in done), training_loss]
    validation_losses = [*(epoch.validation_loss for epoch in done), validation_loss]
    risen, waited = dict(before.risen), {path: count + 1 for path, count in before.waited.items()}
    for path in risen:
        rises = may_rise(
            training_losses,
            validation_losses,
            waited=waited[path],
            gone=before.channels[path] - channels[path],
            channels=before.channels[path],
            patience=settings.patience,
            hardly_any=settings.hardly_any,
        )
        if rises and risen[path] < settings.rises:
            risen[path], waited[path] = risen[path] + 1, 0
    return risen, waited
