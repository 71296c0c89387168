"""INT8 quantization after training: 8-bit weights and inputs of convolutions, by a calibration, without labels.

Ranges are chosen by the error that they make (ranges.py), channels are brought to similar sizes exactly
(equalization.py), weights are rounded so that errors make up for each other (rounding.py), and layers are taken by
what their rounding costs. Normalizations, activations, the first and the last layer stay in floating point.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import ModelFileError, SpecError
from ...printable import excerpt, shown
from ...records.compression import Cost, LayerChange
from ..cost import count
from ..layers import convolutions, replace_modules
from ..trace import ANY_PATCH_SHAPE, Trace, structure_of, trace
from .candidates import quantizable, why_float
from .equalization import equalize
from .evidence import Int8Evidence
from .layers import QuantizedConv3d
from .material import Material, check_values, parts_of
from .sources import sources_of
from .spec import Spec

__all__ = ["Spec", "apply", "check_weights", "plan", "quantizable"]

MOST_PARTS = 64  # of a concatenation


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    materials: Sequence[Material] = (),
) -> tuple[LayerChange, ...]:
    """Decide which convolutions are quantized. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: Which ones.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: Of all networks that are quantized alike; without, the dearest layers are taken first.

    Returns:
        One entry per 3D convolution, in the network's order; those that stay in floating point say why.

    Raises:
        SpecError: The network cannot take such a patch, or the spec names layers that cannot be quantized.
    """
    forward_pass = trace(network, patch_shape, input_channels)
    convs = convolutions(network)
    reasons = {path: why_float(path, conv, forward_pass, spec.keep_pointwise) for path, conv in convs.items()}
    before = count(network, patch_shape, input_channels)
    macs = {path: before.layers[path].macs for path, reason in reasons.items() if reason is None}
    taken = _taken(convs, spec, reasons, macs, before.total.macs, _evidence(materials), forward_pass)
    sources = sources_of(network, patch_shape, input_channels)
    parts = {path: [source.channels for source in parts_of(path, sources)] for path in taken}
    smaller = structure_of(network)
    replace_modules(
        smaller,
        {smaller.get_submodule(path): QuantizedConv3d(smaller.get_submodule(path), parts[path]) for path in taken},
    )
    after = count(smaller, patch_shape, input_channels)
    return tuple(
        LayerChange(
            path=path,
            kind=type(conv).__name__,
            shape=tuple(conv.weight.shape),
            before=before.layers.get(path, Cost(0, 0)),
            after=after.layers.get(path, Cost(0, 0)),
            skipped_because=None if path in taken else reasons[path] or "rounding it costs more than what it saves",
            details={"parts": parts[path]} if path in taken else {},
        )
        for path, conv in convs.items()
    )


def apply(network: nn.Module, changes: Iterable[LayerChange], material: Material | None = None) -> None:
    """Put quantized layers in the places of the planned convolutions, in place, at every alias.

    Args:
        network: Changed in place.
        changes: What :func:`plan` decided for a network of this structure.
        material: What :func:`prepare` made of this network; None builds the structure alone, also on the meta device.

    Raises:
        SpecError: The changes or the material belong to another network; nothing has been changed then.
        ModelFileError: The changes are not those of this method.
    """
    convs, replacements = convolutions(network), {}
    for change in changes:
        conv = convs.get(change.path)
        if conv is None or type(conv).__name__ != change.kind or tuple(conv.weight.shape) != tuple(change.shape):
            actual = "no such layer" if conv is None else f"{type(conv).__name__} {tuple(conv.weight.shape)}"
            raise SpecError(
                f"{shown(change.path)}: planned for a {shown(change.kind)} {shown(change.shape)}, found {actual}"
            )
        if change.skipped_because is None:
            replacements[change.path] = (conv, _parts(change, conv))
    if material is not None:
        if missing := [path for path in replacements if path not in material.layers]:
            raise SpecError(f"{shown(missing[0])}: the rounded weights belong to another network")
        equalize(network, sources_of(network, ANY_PATCH_SHAPE), material.factors)
    quantized = {path: QuantizedConv3d(conv, parts) for path, (conv, parts) in replacements.items()}
    if material is not None:
        for path, layer in quantized.items():
            _fill(layer, material.layers[path], convs[path].weight.device)
    replace_modules(network, {convs[path]: layer for path, layer in quantized.items()})


def check_weights(changes: Iterable[LayerChange], weights: Mapping[str, Tensor]) -> None:
    """Raise ModelFileError where a quantized layer of a file holds numbers that are out of their range.

    Args:
        changes: Of the recipe.
        weights: Of one fold, by the names that its network gives them.
    """
    for change in changes:
        names = ("weight", "weight_scale", "input_scale", "input_zero_point")
        if change.skipped_because is None and all(f"{change.path}.{name}" in weights for name in names):
            check_values(excerpt(change.path), {name: weights[f"{change.path}.{name}"] for name in names})


def _evidence(materials: Sequence[Material]) -> Int8Evidence | None:
    return functools.reduce(Int8Evidence.plus, [each.evidence for each in materials]) if materials else None


def _taken(
    convs: Mapping[str, nn.Module],
    spec: Spec,
    reasons: Mapping[str, str | None],
    macs: Mapping[str, int],
    total: int,
    evidence: Int8Evidence | None,
    forward_pass: Trace,
) -> list[str]:
    """Paths of the layers to quantize, in the network's order."""
    if spec.layers is not None:
        for path in spec.layers:
            reason = "no such layer" if path not in convs else why_float(path, convs[path], forward_pass, False)
            if reason is not None:
                raise SpecError(f"{shown(path)} cannot be quantized: {reason}")
        return [path for path in convs if path in spec.layers]
    most = (1 - spec.float_share) * total  # multiply-accumulates in whole numbers
    errors = evidence.errors if evidence is not None else {path: 1.0 for path in macs}
    chosen, spent = set(), 0
    for path in sorted(macs, key=lambda path: errors[path] / max(1, macs[path])):
        if spec.float_share == 0 or spent + macs[path] <= most:
            chosen.add(path)
            spent += macs[path]
    return [path for path in convs if path in chosen]


def _parts(change: LayerChange, conv: nn.Module) -> list[int]:
    """Channels of the parts of a layer's input, from the details of a change."""
    parts = change.details.get("parts")
    is_list = isinstance(parts, (list, tuple)) and 0 < len(parts) <= MOST_PARTS
    whole = is_list and all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in parts)
    if not whole or sum(parts) != conv.in_channels or not isinstance(conv, nn.Conv3d) or conv.groups != 1:
        raise ModelFileError(
            f"{excerpt(change.path)}: details of a quantization are parts, whole numbers above 0 that add up to the "
            f"{conv.in_channels} input channels of a convolution; found {excerpt(repr(change.details))}."
        )
    return list(parts)


@torch.no_grad()
def _fill(layer: QuantizedConv3d, held: Mapping[str, Tensor], device: torch.device) -> None:
    for name in ("weight", "weight_scale", "input_scale", "input_zero_point"):
        own = getattr(layer, name)
        value = held[name].reshape(own.shape).to(device=device, dtype=own.dtype)
        setattr(layer, name, nn.Parameter(value, requires_grad=False) if name == "weight" else value)
