"""Networks with the weights of a checkpoint: compared name by name and shape by shape before memory is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ModelFolderError
from ..printable import shown
from .network import build_network
from .plans import ModelPlans
from .two_dimensional import thick_weights

if TYPE_CHECKING:
    import torch


def network_with_weights(
    plans: ModelPlans, weights: Mapping[str, torch.Tensor], where: str, advice: str = ""
) -> torch.nn.Module:
    """Build the network that plans describe, with a checkpoint's weights in it.

    Args:
        plans: Of the model.
        weights: By the names that the network gives them. Those of float32 are taken, not copied.
        where: Names model and fold in error messages, as ``model: fold_0``.
        advice: Follows the message where names or shapes of weights are not the network's, see
            ``reading.trained_by``.

    Raises:
        ModelFolderError: Other names or shapes than the network's, or values that are no numbers.
        UnsupportedModelError: The architecture has a class or an argument that is not known.
    """
    import torch

    with torch.device("meta"):
        network = build_network(plans.architecture, plans.input_channels, plans.logit_channels)
    expected = network.state_dict()
    weights = thick_weights(weights, expected) if plans.slice_wise else weights
    _check_fit(expected, weights, where, advice)
    _check_values([weights[name] for name in stored_tensors(network)], where)
    check_finite(weights, where)
    values = {
        name: tensor.float() if expected[name].is_floating_point() else tensor.to(expected[name].dtype)
        for name, tensor in weights.items()
    }
    network.load_state_dict({name: tensor.contiguous() for name, tensor in values.items()}, assign=True)
    return network


def stored_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a network that belong into files, by name; aliases once, under the first name."""
    in_files = network.state_dict(keep_vars=True)
    named = dict((*network.named_parameters(), *network.named_buffers()))
    return {name: tensor for name, tensor in named.items() if name in in_files}


def check_finite(weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Raises ModelFolderError where a weight is NaN or infinite; ``where`` names the file in the message."""
    for name, tensor in weights.items():
        values = tensor.float()  # as it is used: a float64 may be more than a float32 can hold
        if not values.isfinite().all():
            kind = "NaN" if values.isnan().any() else "infinity"
            raise ModelFolderError(
                f"{where} holds {kind} (in {shown(name)}): its training diverged. Use another checkpoint."
            )


def _check_fit(
    expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], where: str, advice: str
) -> None:
    """Raises ModelFolderError where names, shapes or kinds of weights are not those that are expected."""
    begin = f"{where}: the weights do not fit the network in plans.json:"
    if missing := [name for name in expected if name not in weights]:
        raise ModelFolderError(f"{begin} {missing[0]} is missing, and {len(missing) - 1} more.{advice}")
    if unknown := [name for name in weights if name not in expected]:
        more = f"and {len(unknown) - 1} more are not"
        raise ModelFolderError(f"{begin} {shown(unknown[0])} is not part of it, {more}.{advice}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            shapes = f"expected {tuple(expected[name].shape)}, found {tuple(tensor.shape)}"
            raise ModelFolderError(f"{begin} {name}: {shapes}.{advice}")
        wanted = expected[name]
        of_kind = tensor.is_floating_point() if wanted.is_floating_point() else tensor.dtype == wanted.dtype
        if not of_kind:
            raise ModelFolderError(f"{begin} {name}: expected {wanted.dtype}, found {tensor.dtype}.")


def _check_values(tensors: Sequence[torch.Tensor], where: str) -> None:
    """Raises ModelFolderError where weights share values: in a network they would take more memory than in the file."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > sum(storages.values()):
        raise ModelFolderError(f"{where}: the network has weights of {needed} bytes, of which the file has fewer.")
