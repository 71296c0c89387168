"""Weights of a network and memory of an optimizer as named tensors, for files from which a training goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..printable import excerpt


@contextlib.contextmanager
def taking_state_of(path: Path) -> Iterator[None]:
    """Tell of whatever a state's file lacks or holds wrongly as damage of that file.

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


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies on the CPU of all parameters and buffers, aliases once."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in named}


@torch.no_grad()
def put_tensors(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Overwrite parameters and buffers in place."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        tensor.copy_(tensors[name])


def moments_of(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """What an optimizer remembers, ``parameter/key`` to tensor; ``names`` in the order of its parameters."""
    remembered = optimizer.state_dict()["state"]
    return {f"{names[place]}/{key}": value for place, entry in remembered.items() for key, value in entry.items()}


def put_moments(optimizer: torch.optim.Optimizer, names: Sequence[str], moments: dict[str, Tensor]) -> None:
    """Give an optimizer back what :func:`moments_of` took."""
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
