"""Weights of a network and memory of an optimizer as named tensors, for files from which a training goes on."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..nnunet.weights import stored_tensors
from ..printable import excerpt


@contextlib.contextmanager
def reporting_damage_of(path: Path) -> Iterator[None]:
    """Turn errors of reading a state out of a file into one that names the file and calls it damaged.

    Raises:
        ModelFileError: Something in it is missing, unknown, or of another kind or shape.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: the state in it is damaged ({type(error).__name__}: {excerpt(str(error))}). "
            "Name another file, or remove this one to begin anew."
        ) from error


def trainable(network: nn.Module, drawing_alone: bool = False) -> nn.Module:
    """The network, in place with gradients for its parameters; whole numbers have none and stay as they are.

    Args:
        network: Changed in place.
        drawing_alone: Whether only the modules of :func:`drawing` learn.
    """
    learning = nn.ModuleList(drawing(network)) if drawing_alone else network
    network.requires_grad_(False)
    for parameter in learning.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return network


def drawing(network: nn.Module) -> list[nn.Module]:
    """Modules that learn by drawing at random while they train, as those that choose tokens do."""
    return [module for module in network.modules() if getattr(module, "learns_by_drawing", False)]


def parameter_groups(network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """The parameters of a network in their order, in groups for an optimizer.

    A module may have a ``learning_rate_factor`` for its own parameters, as a codebook whose values many weights share.

    Args:
        network: Whose parameters learn.
        learning_rate: Of all others; a group's ``factor`` says how many times as much its own is.
    """
    factors = {
        parameter: getattr(module, "learning_rate_factor", 1.0)
        for module in network.modules()
        for parameter in module.parameters(recurse=False)
    }
    return [
        {"params": list(parameters), "lr": learning_rate * factor, "factor": factor}
        for factor, parameters in itertools.groupby(network.parameters(), factors.__getitem__)
    ]


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies on the CPU of all parameters and buffers of a network that files have, by name, aliases once."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in stored_tensors(network).items()}


@torch.no_grad()
def put_tensors(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Overwrite what :func:`tensors_of` gives of a network, in place, by tensors of the same names.

    Raises:
        KeyError, RuntimeError: One is missing, or of another shape.
    """
    for name, tensor in stored_tensors(network).items():
        tensor.copy_(tensors[name])


def moments_of(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """The moments that an optimizer keeps of its parameters, ``parameter/key`` to tensor.

    Args:
        optimizer: As Adam.
        names: Of its parameters, in their order.
    """
    states = optimizer.state_dict()["state"]
    return {f"{names[place]}/{key}": value for place, state in states.items() for key, value in state.items()}


def put_moments(optimizer: torch.optim.Optimizer, names: Sequence[str], moments: dict[str, Tensor]) -> None:
    """Set the moments of an optimizer, in place, to those that :func:`moments_of` gave.

    Raises:
        KeyError: They are of a parameter that is not in ``names``.
    """
    places = {name: place for place, name in enumerate(names)}
    document = optimizer.state_dict()
    for path, value in moments.items():
        name, _, key = path.rpartition("/")
        document["state"].setdefault(places[name], {})[key] = value.clone()
    optimizer.load_state_dict(document)


def sha256_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values of tensors on the CPU, as a hexadecimal string."""
    digest = hashlib.sha256(json.dumps([[n, list(t.shape), str(t.dtype)] for n, t in tensors.items()]).encode())
    for tensor in tensors.values():
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
