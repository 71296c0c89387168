"""Weight sharing: which kernels become index maps, and the layers that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...printable import shown
from ...records.compression import Cost, LayerChange
from ..cost import count
from ..layers import convolutions, replace_modules
from ..trace import Trace, structure_of, trace
from .details import SharingDetails
from .layers import SHARED, is_shareable, require_indices_within
from .spec import Spec

BITS = 32  # of a center or a scale
SMALL_KERNEL = 16  # weights per center, up to which a kernel keeps its own: little is gained, and it matters most


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    materials: Sequence[Mapping[str, Tensor]] = (),
) -> tuple[LayerChange, ...]:
    """Decide which kernels are stored as index maps. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: How weights are shared.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: Not looked at.

    Returns:
        One entry per 3D convolution, in the network's order. A codebook for all counts with the first of them.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    forward_pass, convs = trace(network, patch_shape, input_channels), convolutions(network)
    reasons = {path: _why_kept(path, conv, spec, forward_pass) for path, conv in convs.items()}
    first = next((path for path, reason in reasons.items() if reason is None), None)
    details = {
        path: SharingDetails() if reasons[path] else _details(path, conv, spec, first) for path, conv in convs.items()
    }
    nothing = Cost(0, 0)
    planned = [
        LayerChange(path, type(conv).__name__, tuple(conv.weight.shape), nothing, nothing, reasons[path], own.to_json())
        for (path, conv), own in zip(convs.items(), details.values())
    ]
    smaller = structure_of(network)
    apply(smaller, planned)
    before, after = (count(each, patch_shape, input_channels).layers for each in (network, smaller))
    return tuple(
        LayerChange(
            change.path,
            change.kind,
            change.shape,
            before.get(change.path, nothing),
            after.get(change.path, nothing) + after.get(f"{change.path}.codebook", nothing),
            change.skipped_because,
            change.details,
        )
        for change in planned
    )


@torch.no_grad()
def apply(network: nn.Module, changes: Iterable[LayerChange], material: Mapping[str, Tensor] | None = None) -> None:
    """Put layers with shared weights in place of the convolutions, in place, at every alias.

    Args:
        network: Changed in place.
        changes: What :func:`plan` decided for a network of this structure.
        material: What ``prepare`` made of this network's weights. None builds the structure with indices and values of
            zero; this works on the meta device too.

    Raises:
        SpecError: The changes or the material belong to another network; nothing has been changed then.
        ModelFileError: The changes are not those of this method.
    """
    convs, shared = convolutions(network), {}
    for change in changes:
        conv, details = convs.get(change.path), SharingDetails.from_change(change)
        if conv is None or type(conv).__name__ != change.kind or tuple(conv.weight.shape) != tuple(change.shape):
            actual = "no such layer" if conv is None else f"{type(conv).__name__} {tuple(conv.weight.shape)}"
            raise SpecError(
                f"{shown(change.path)}: planned for a {shown(change.kind)} {shown(change.shape)}, found {actual}"
            )
        if not details.centers:
            continue
        if change.kind not in SHARED or details.scales not in (0, 1, conv.out_channels):
            raise SpecError(f"{change.path}: {shown(change.kind)} cannot have {details.scales} scales")
        codebook = None
        if details.codebook_of is not None:
            source = shared.get(details.codebook_of)
            if source is None or len(source.codebook.centers) != details.centers:
                raise SpecError(f"{change.path}: {shown(details.codebook_of)} has no codebook of {details.centers}")
            codebook = source.codebook
        shared[change.path] = SHARED[change.kind](conv, details, codebook)
        if material is not None:
            _fill(shared[change.path], change.path, material)
    replace_modules(network, {convs[path]: layer for path, layer in shared.items()})


def check_weights(changes: Iterable[LayerChange], weights: Mapping[str, Tensor]) -> None:
    """Check that indices point into their codebooks.

    Args:
        changes: Of :func:`plan`.
        weights: Parameters of one fold by name, of the shapes and types of the structure.

    Raises:
        ModelFileError: An index is beyond its codebook.
    """
    for change in changes:
        size = SharingDetails.from_change(change).centers
        if size:
            require_indices_within(weights[f"{change.path}.weight"], size, change.path)


def _fill(layer: nn.Module, path: str, material: Mapping[str, Tensor]) -> None:
    """Write indices and values into a layer, in place."""
    index, centers = material.get(f"{path}/index"), material.get(f"{path}/centers")
    if index is None or index.shape != layer.weight.shape or len(centers) > len(layer.codebook.centers):
        raise SpecError(f"{path}: the codebook belongs to another network")
    layer.weight.copy_(index)
    values = layer.codebook.centers
    values[: len(centers)] = centers
    values[len(centers) :] = centers[-1]  # a quantizer may need fewer than it was given
    if layer.scales is not None:
        layer.scales.copy_(material[f"{path}/scales"])


def _why_kept(path: str, conv: nn.Module, spec: Spec, forward_pass: Trace) -> str | None:
    """Why a layer stays as it is; None where its weights are shared."""
    if spec.clusters is None:
        return "all weights are kept"
    if not forward_pass.calls_of(path):
        return "takes no part in the forward pass"
    if not conv.weight.is_floating_point():
        return f"its weights are {str(conv.weight.dtype).removeprefix('torch.')}"
    if not is_shareable(conv):
        return "grouped, or of a kind of its own"
    weights = conv.weight.numel()
    if spec.codebook == "tensor" and weights <= SMALL_KERNEL * min(spec.clusters, 256):
        return f"few weights ({weights}) for a codebook of {spec.clusters}"
    details = _details(path, conv, spec, None)
    numbers = details.scales + (details.centers if spec.codebook == "tensor" else 0)
    bits = details.index_bits * weights + BITS * numbers
    if bits >= 8 * conv.weight.element_size() * weights:
        return f"not smaller: {bits} bits for {weights} weights"
    return None


def _details(path: str, conv: nn.Module, spec: Spec, first: str | None) -> SharingDetails:
    is_global = spec.codebook == "global"
    centers = spec.clusters if is_global else min(spec.clusters, conv.weight.numel())
    if spec.clusters > 256:
        centers = max(centers, 257)  # indices of all layers are of one type
    scales = {"none": 0, "tensor": 1, "channel": conv.out_channels}[spec.scale]
    return SharingDetails(centers, scales, first if is_global and path != first else None)
