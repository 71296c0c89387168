"""The JSON document beside an exported network, with all that a program needs to segment with it.

It says in numbers what ``preprocessing``, ``sliding_window`` and ``postprocessing`` do, so that its reader needs
neither nnU-Net nor TuckerSeg.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import catalog
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from ..sliding_window.weights import PEAK, SIGMA_FRACTION
from ..text_files import write_text

if TYPE_CHECKING:
    from ..models.model import SegmentationModel

FORMAT_VERSION = 1
INPUT_NAME, OUTPUT_NAME = "patches", "logits"

NORMALIZATION = {
    "CTNormalization": "clip to percentile_00_5 .. percentile_99_5, subtract mean, divide by std",
    "ZScoreNormalization": "subtract the mean of the cropped image, divide by its standard deviation; with use_mask, "
    "both of the nonzero voxels (holes filled), and the others stay",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "subtract the smallest value, divide by the range",
    "RGBTo01Normalization": "divide by 255",
}
_TURN = (
    "take the voxels as axes Z Y X; with `orientation` RAS, flip and permute them so that X grows to the right, Y to "
    "the front, Z to the head; then permute by `transpose_forward`"
)
_SIZE = "the new size is round(size * spacing / new spacing), half to even"
BEFORE = {
    "nnunet": (
        _TURN,
        "crop to the box of the voxels that are nonzero in any channel",
        "normalize each channel",
        "resample to `spacing_mm` by splines of the order `image.order`, as skimage.transform.resize does (the outer "
        f"edges of the voxels stay where they are, edges repeated, clipped to the range of the input); {_SIZE}. Where "
        "`force_separate_z` is null and the longest spacing, before or after, is more than 3 times the shortest, that "
        "axis is resampled last, with the order `order_z`",
    ),
    "aligned": (
        _TURN,
        "resample to `spacing_mm` linearly, as scipy.ndimage.zoom does (the centers of the outermost voxels stay "
        f"where they are), then drop decimals; {_SIZE}",
        "normalize each channel",
    ),
}
AFTER = (
    "pad with zeros around the center where an axis is shorter than the patch; patches lie along each axis at "
    "round(i * (size - patch) / n), i = 0 .. n = ceil((size - patch) / (patch * `step_fraction`))",
    "add up the patches' logits, weighted by a Gaussian around the voxel size // 2 of each side (sigma is "
    "`sigma_fraction` of the side, cut off beyond 4 sigma), scaled to `peak`, rounded to float16, zeros raised to the "
    "smallest weight above zero; divide by the summed weights",
    "resample the logits linearly to the grid before resampling, by the same convention",
    "decide as `decision` says; undo permutation and turn; what was cropped away is background",
)


def document_of(model: SegmentationModel, file: str, weights: str, dynamic_batch: bool) -> dict[str, Any]:
    """The document for one network file.

    Args:
        model: The exported model.
        file: Name of the network file.
        weights: Precision of its weights, ``fp32`` or ``fp16``.
        dynamic_batch: Whether it takes any number of patches per call.

    Returns:
        Values that JSON can hold.
    """
    plans = model.plans
    convention = plans.resampling_convention
    batch = "any" if dynamic_batch else 1
    return {
        "format": "tuckerseg-export",
        "version": FORMAT_VERSION,
        "file": file,
        "weights": weights,
        "model": {
            "name": model.name,
            "folds": list(model.folds),
            "source_sha256": model.source_sha256,
            "compression": [_step(recipe) for recipe in model.recipes],
            "cost_per_patch": {"original": to_json(model.original_cost), "this": to_json(model.cost)},
        },
        "input": {
            "name": INPUT_NAME,
            "type": "float32",
            "axes": "B C Z Y X",
            "shape": [batch, plans.input_channels, *plans.patch_shape],
        },
        "output": {
            "name": OUTPUT_NAME,
            "type": "float32",
            "axes": "B L Z Y X",
            "shape": [batch, plans.logit_channels, *plans.patch_shape],
            "is": "logits, the mean of all folds",
        },
        "labels": [{"value": label.value, "name": label.name} for label in plans.labels],
        "decision": _decision(model),
        "patch_shape": list(plans.patch_shape),
        "step_fraction": catalog.step_fraction(plans.dataset_name),
        "gaussian": {"sigma_fraction": SIGMA_FRACTION, "peak": PEAK},
        "mirror_axes": list(plans.mirror_axes),
        "spacing_mm": list(plans.spacing_mm),
        "orientation": plans.orientation,
        "transpose_forward": list(plans.transpose_forward),
        "channels": [
            {"name": name, "normalization": {**to_json(plan), "does": NORMALIZATION.get(plan.scheme, plan.scheme)}}
            for name, plan in zip(plans.channel_names, plans.normalization, strict=True)
        ],
        "resampling": {
            "convention": convention,
            "image": to_json(plans.image_resampling),
            "logits": to_json(plans.logits_resampling),
        },
        "steps": [*BEFORE[convention], *AFTER],
    }


def _step(recipe: CompressionRecipe) -> dict[str, Any]:
    """A step of a compression with its settings; a training without them, since they name the cases that it used."""
    settings = recipe.spec if recipe.changes else {}
    return {"method": recipe.method, **{name: value for name, value in settings.items() if name != "version"}}


def _decision(model: SegmentationModel) -> dict[str, Any]:
    if model.plans.region_values is None:
        return {"kind": "labels", "is": "the number of the largest logit is the voxel's value; 0 is background"}
    return {
        "kind": "regions",
        "values": list(model.plans.region_values),
        "is": "channel by channel, where the logit is above 0, write the channel's value; later channels win",
    }


def write_sidecar(path: Path, document: dict[str, Any]) -> None:
    """Write a document as a JSON file."""
    write_text(path, json.dumps(document, indent=1) + "\n")
