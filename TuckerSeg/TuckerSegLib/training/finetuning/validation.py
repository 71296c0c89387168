"""Mean Dice, and loss, of a network on patches that it is not trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ...errors import DatasetError
from .passes import autocast_of, summable
from .patches import Batch


def mean_patch_dice(
    network: torch.nn.Module, batches: Iterable[Batch], ignore_label: int | None, precision: str = "nnunet"
) -> float:
    """Dice of each structure over all patches together, averaged over the structures that the labels show.

    Arguments and errors as for :func:`dice_and_loss`.
    """
    return dice_and_loss(network, batches, ignore_label, precision=precision)[0]


@torch.no_grad()
def dice_and_loss(
    network: torch.nn.Module,
    batches: Iterable[Batch],
    ignore_label: int | None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    precision: str = "nnunet",
) -> tuple[float, float]:
    """The mean Dice of the structures that the labels show, and the mean loss of the batches.

    Args:
        network: From (B, C, Z, Y, X) to logits (B, L, Z, Y, X); its device is used. Left in evaluation mode.
        batches: Images (B, C, Z, Y, X) and labels (B, 1, Z, Y, X).
        ignore_label: Of voxels that do not count; None: all count.
        loss: Of logits and labels; None: 0.
        precision: See ``FineTuningSettings``.

    Raises:
        DatasetError: The labels show no structure.
    """
    device = next(network.parameters()).device
    network.eval()
    predicted_voxels, true_voxels, common_voxels = 0, 0, 0
    losses = []
    for images, labels in batches:
        with autocast_of(device, precision):
            logits = summable(network(images.to(device)))
            losses.append(0.0 if loss is None else float(loss(logits, labels.to(device))))
        truth = labels[:, 0].to(device, torch.int64)
        counted = torch.ones_like(truth, dtype=torch.bool) if ignore_label is None else truth != ignore_label
        truth, prediction = truth[counted], logits.argmax(1)[counted]
        count = logits.shape[1]
        predicted_voxels = predicted_voxels + torch.bincount(prediction, minlength=count)
        true_voxels = true_voxels + torch.bincount(truth, minlength=count)
        common_voxels = common_voxels + torch.bincount(truth[truth == prediction], minlength=count)
    structures = [value for value in range(1, len(true_voxels)) if true_voxels[value]]
    if not structures:
        raise DatasetError(
            "The held-back cases show none of the model's structures where patches were drawn, so nothing tells "
            "whether training helps. Expected at least one; hold back more cases, or choose another seed."
        )
    counted_voxels = predicted_voxels[structures] + true_voxels[structures]
    return float((2 * common_voxels[structures] / counted_voxels).mean()), sum(losses) / len(losses)
