"""A narrower network that begins as the original with its least channels left out, in place of fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..cache import Cache
from ..compression import pruning
from ..compression.channel_graph import channel_graph
from ..errors import SpecError
from ..image import Image
from ..monitor import Monitor
from .calibration import calibrate_model
from .fresh import FOLD
from .material import prepare_fold
from .model import SegmentationModel, weights_of

CALIBRATED_ON = 3  # volumes at most


def pruned_weights(
    original: SegmentationModel,
    student: SegmentationModel,
    volumes: Sequence[Image],
    cache: Cache | None = None,
    threads: int | None = None,
    monitor: Monitor | None = None,
) -> dict[str, torch.Tensor]:
    """Weights for a narrower network: those channels of the original whose loss changes its logits most.

    What reads them makes up for those that are gone, as after a pruning. Of a model of several folds the first is
    taken.

    Args:
        original: A U-Net, not compressed.
        student: Of the same labels, with fewer features in every stage.
        volumes: Of which the first few are calibrated on.
        cache: Keeps in which order channels go; None takes the user's.
        threads: Of the processor; None leaves a core free where there are more than two.
        monitor: Hears what fraction is done, and is asked now and then whether to stop.

    Returns:
        The student's weights, by its names.

    Raises:
        SpecError: The student is not the original with fewer channels.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """
    fold, structure, plans = original.folds[0], original.structure(), original.plans
    channels = _channels(structure, student, channel_graph(structure, plans.patch_shape, plans.input_channels).groups)
    calibration = None
    for volume in volumes[:CALIBRATED_ON]:
        calibration = calibrate_model(original, volume, calibration, threads, monitor)
    sha256 = calibration and calibration.sha256
    spec = pruning.Spec(multiple=1, minimum=1, channels=channels, calibration=sha256)
    material = prepare_fold(original, fold, spec, "prune", cache or Cache(), calibration, monitor)
    network = original.network(fold, stored=True)
    changes = pruning.plan(structure, spec, plans.patch_shape, plans.input_channels)
    pruning.apply(network, changes, material)
    weights = weights_of(network, FOLD)
    if {name: each.shape for name, each in weights.items()} != {
        name: each.shape for name, each in student.weights.items()
    }:
        raise _not_narrower(student)
    return weights


def _channels(structure: nn.Module, student: SegmentationModel, prunable: dict) -> dict[str, int]:
    """Path of every convolution of the original that may lose channels to those that the student's has."""
    narrow = dict(student.structure().named_modules())
    if not prunable or not prunable.keys() <= narrow.keys():
        raise _not_narrower(student)
    channels = {path: narrow[path].out_channels for path in prunable}
    if any(count > structure.get_submodule(path).out_channels for path, count in channels.items()):
        raise _not_narrower(student)
    return channels


def _not_narrower(student: SegmentationModel) -> SpecError:
    return SpecError(
        f"{student.name}: the narrower network is not the original with fewer channels, so it cannot begin as a pruned "
        "one. Expected an original of plain convolutions, not compressed, and all of its stages.",
        shell="Begin with --start fresh.",
    )
