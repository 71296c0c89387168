"""Materials that come with the built-in model, so that its first compression need not compute them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import catalog, tensor_file
from ..errors import ModelFileError

if TYPE_CHECKING:
    import torch

PATH = catalog.RESOURCES / "Models" / "materials.safetensors"


def shipped_material(key: str) -> dict[str, torch.Tensor] | None:
    """The tensors that a method keeps under a key of ``material.material_key``; None where they do not ship.

    The key covers the identity of the weights, the calibration and the method's version, as they were found here; so
    what ships is never taken for another model's.
    """
    return _shipped(PATH).get(key)


def write_shipped_materials(materials: Mapping[str, Mapping[str, torch.Tensor]], path: Path = PATH) -> None:
    """Write materials, key to tensors, from ``material.computed_materials``.

    Raises:
        OutputError: They cannot be written.
    """
    tensors = {f"{key}/{name}": tensor for key, own in materials.items() for name, tensor in own.items()}
    tensor_file.write_tensors(path, tensors, {})


@functools.cache
def _shipped(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """All that ships; nothing where the file is missing or damaged: then it is computed, as for other models."""
    try:
        tensors, _ = tensor_file.read_tensors(path)
    except ModelFileError:
        return {}
    materials: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        key, _, own = name.partition("/")
        materials.setdefault(key, {})[own] = tensor
    return {key: own for key, own in materials.items() if all(tensor.isfinite().all() for tensor in own.values())}
