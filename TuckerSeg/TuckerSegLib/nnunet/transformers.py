"""nnU-Net's transformers: what its trainers build whatever ``plans.json`` says.

A checkpoint of such a trainer names it; the plans beside it describe a U-Net that was never trained. To import
nnU-Net's trainers takes seconds, so their sizes are known here; that they are theirs is a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .network_classes import TRANSFORMERS

_PRIMUS = {class_name: name for name, class_name in TRANSFORMERS.items() if class_name.startswith("Primus")}
_WIDTHS = {"S": (396, 12, 6), "B": (792, 12, 12), "M": (864, 16, 12), "L": (1056, 24, 16)}  # channels, blocks, heads
_TRAINERS = {
    **{f"nnUNet_Primus_{size}_Trainer": ("Primus", size) for size in _WIDTHS},
    **{f"nnUNet_Primus_M_Trainer_{variant}": ("Primus", "M") for variant in ("BS8", "BS8_2e4")},
    **{f"nnUNet_PrimusV2{size}_Trainer": ("PrimusV2", size) for size in _WIDTHS},
    **{f"nnUNet_PrimusV3{size}_Trainer": ("PrimusV3", size) for size in _WIDTHS},
}
_COMMON = {"patch_embed_size": [8, 8, 8], "drop_path_rate": 0.2, "scale_attn_inner": True, "init_values": 0.1}


def trainers_transformer(trainer: object, patch_shape: Sequence[int]) -> tuple[str, dict[str, Any]] | None:
    """Class and arguments of the transformer that one of nnU-Net's trainers builds.

    Args:
        trainer: Name in a checkpoint, as ``nnUNet_Primus_M_Trainer``.
        patch_shape: (Z, Y, X) of the configuration.

    Returns:
        As plans would name them; None for a trainer that builds none.
    """
    if not isinstance(trainer, str) or trainer not in _TRAINERS:
        return None
    class_name, size = _TRAINERS[trainer]
    width, depth, heads = _WIDTHS[size]
    sizes = {"embed_dim": width, "eva_depth": depth, "eva_numheads": heads, "input_shape": list(patch_shape)}
    return _PRIMUS[class_name], {**sizes, **_COMMON}
