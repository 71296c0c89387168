"""Anchored refit of a compressed model on volumes: patches, folds, and the model that comes of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from .. import catalog, compression, hardware
from ..cache import Cache
from ..compression.logit_distance import distance
from ..errors import SpecError
from ..image import Image, read_image
from ..monitor import Monitor
from ..records.compression import CompressionRecipe
from .calibration import ModelCalibration, calibration_patches, has_built_in_volumes, volume_id
from .model import SegmentationModel, require_pair
from .model_file import cached_model, store_model

FITTED = 3  # crops per volume
HELD_BACK = 1  # crops per volume
SEED = 11  # other crops than those of calibration


def refit_model(
    compressed: SegmentationModel,
    original: SegmentationModel,
    volumes: Sequence[Image],
    calibration: ModelCalibration,
    cache: Cache,
    threads: int | None = None,
    monitor: Monitor | None = None,
) -> SegmentationModel:
    """Fit a compressed model's layers once more, to the inputs that compressed layers before them give.

    Needs neither labels nor gradients. A fold whose outputs do not come nearer to the original's on held-back
    crops stays as it is.

    Args:
        compressed: Made of ``original`` with this calibration, as its last step.
        original: The model before that step.
        volumes: Any that the model can segment. For a model of CTs the built-in synthetic torso is added.
        calibration: Of the original.
        cache: Where the result is kept, and read from where it is there already.
        threads: Of the processor; None leaves a core free where there are more than two.
        monitor: Hears what fraction is done, and is asked after each layer whether to stop.

    Raises:
        SpecError: The models do not belong together, or there is no volume.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """
    require_pair(compressed, original)
    monitor = monitor or Monitor()
    recipe = compressed.recipes[-1]
    if recipe.spec.get("calibration") != calibration.sha256:
        raise SpecError(f"{compressed.name} was not compressed with this calibration; a refit goes on from it.")
    refit_network = getattr(compression.method(recipe.method), "refit_network", None)
    if refit_network is None:
        raise SpecError(f"The compression {recipe.method} knows no refit; leave it out.")
    volumes = list(volumes) + ([read_image(catalog.DEMO_VOLUME)] if has_built_in_volumes(original) else [])
    if not volumes:
        raise SpecError("A refit needs at least one volume.")
    spec = {"volumes": [volume_id(volume) for volume in volumes], "crops": FITTED, "held_back": HELD_BACK, "seed": SEED}
    planned = compressed.planned(
        CompressionRecipe("refit", spec, ()), original=original.key, calibration=calibration.sha256
    )
    if cached := cached_model(cache, planned):
        return cached
    crops = [calibration_patches(original, volume, FITTED + HELD_BACK, SEED) for volume in volumes]
    held_back = [crop for each in crops for crop in each[FITTED:]]
    patches = [crop for each in crops for crop in each[:FITTED]] + held_back
    weights = dict(compressed.weights)
    with hardware.torch_threads(threads or hardware.default_threads()), hardware.freed_memory_kept():
        for number, fold in enumerate(original.folds):
            network, fitted = original.network(fold), copy.deepcopy(compressed.network(fold))
            before = distance(network, fitted, held_back)
            moments, share = calibration.folds[fold], monitor.share(number, len(original.folds))
            refit_network(network, fitted, recipe.changes, moments, patches, len(held_back), monitor=share)
            if distance(network, fitted, held_back) < before:
                weights |= {f"{fold}/{name}": value.detach() for name, value in fitted.named_parameters()}
    refitted = planned.with_weights(weights)
    store_model(cache, refitted.key, refitted)
    return refitted
