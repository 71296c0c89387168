"""The entry of a recipe for weights that were trained on after a compression: it changes no structure.

What was trained, and on what, stands in the recipe's ``spec``; the weights are in the model's file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ..records.compression import LayerChange


def apply(network: nn.Module, changes: Iterable[LayerChange], basis: object | None = None) -> None:
    """Leave the network as it is."""


def describe(method: str, spec: dict[str, Any]) -> str:
    """What was done, in words."""
    if method == "finetune":
        return f"fine-tuning of {spec['epochs']} epochs on {spec['dataset']}"
    return f"{method} of {spec['steps']} steps" if "steps" in spec else method
