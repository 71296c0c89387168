"""Index maps of a model in its file: entropy-coded, and decoded once when it is read.

The header says of every coded tensor by which codec it was written, and its type and shape. Nobody believes it: the
shapes are compared with the model's network, on the meta device, before a stream is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..entropy_coding import codecs
from ..errors import ModelFileError
from ..printable import shown
from ..records.serialization import from_json, to_json

if TYPE_CHECKING:
    import torch

CODED = "coded"  # the field of the header
FORMAT = 2  # of files with coded tensors, which earlier programs cannot read
FEWEST = 1024  # numbers of a tensor that is coded
MOST_AXES = 5
MOST_NUMBERS = 2**40


@dataclass(frozen=True)
class CodedTensor:
    """How a tensor is coded.

    Attributes:
        codec: Name in ``entropy_coding.codecs.CODECS``.
        kind: Its type, ``uint8`` or ``uint16``.
        shape: Its shape.
    """

    codec: str
    kind: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.codec not in codecs.CODECS or self.kind not in codecs.TYPES:
            raise ModelFileError(
                f"coded tensors are {' or '.join(codecs.TYPES)} by {', '.join(codecs.CODECS)}; found "
                f"{shown(self.kind)} by {shown(self.codec)}."
            )
        possible = len(self.shape) <= MOST_AXES and all(size > 0 for size in self.shape)
        if not possible or math.prod(self.shape) > MOST_NUMBERS:
            raise ModelFileError(
                f"a coded tensor has up to {MOST_AXES} axes and {MOST_NUMBERS} numbers; found {shown(self.shape)}."
            )


def coded(weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights as a file holds them, and the fields of its header that say how.

    Args:
        weights: On the CPU or elsewhere; not changed.

    Returns:
        Tensors by name, index maps as streams of bytes where these are shorter; no fields where none is.
    """
    import numpy as np
    import torch

    tensors, described = dict(weights), {}
    for name, tensor in weights.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind in codecs.TYPES and tensor.numel() >= FEWEST:
            codec, stream = codecs.encode(tensor.detach().cpu().contiguous().numpy().ravel())
            if len(stream) < tensor.numel() * tensor.element_size():
                tensors[name] = torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
                described[name] = to_json(CodedTensor(codec, kind, tuple(tensor.shape)))
    return tensors, {"format": FORMAT, CODED: described} if described else {}


def described(tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> dict[str, CodedTensor]:
    """The coded tensors of a file by name; none where its header says of none.

    Args:
        tensors: As the file holds them, with values or on the meta device.
        document: The header.

    Raises:
        ModelFileError: The header makes no sense, or tells of tensors that are no streams.
    """
    import torch

    fields = document.get(CODED, {})
    if not isinstance(fields, dict):
        raise ModelFileError(f"{CODED} should be an object; found {shown(fields)}.")
    for name in fields:
        if name not in tensors or tensors[name].dtype != torch.uint8 or tensors[name].ndim != 1:
            raise ModelFileError(f"{CODED}: {shown(name)} should be one of the file's tensors, a list of bytes.")
    return {name: from_json(CodedTensor, each) for name, each in fields.items()}


def shapes(tensors: Mapping[str, torch.Tensor], coded_tensors: Mapping[str, CodedTensor]) -> dict[str, torch.Tensor]:
    """The tensors of a file, those that are coded by type and shape alone, on the meta device."""
    import torch

    forms = {
        name: torch.empty(each.shape, dtype=getattr(torch, each.kind), device="meta")
        for name, each in coded_tensors.items()
    }
    return {**tensors, **forms}


def decoded(tensors: Mapping[str, torch.Tensor], coded_tensors: Mapping[str, CodedTensor]) -> dict[str, torch.Tensor]:
    """The tensors of a file with those that are coded decoded.

    Args:
        tensors: As the file holds them.
        coded_tensors: Whose shapes have been found to be those that they have to be.

    Raises:
        ModelFileError: A stream is damaged, or ends early or late.
    """
    import torch

    result = dict(tensors)
    for name, each in coded_tensors.items():
        try:
            symbols = codecs.decode(each.codec, tensors[name].numpy().tobytes(), math.prod(each.shape), each.kind)
        except ModelFileError as error:
            raise ModelFileError(f"{shown(name)}: {error}") from error
        result[name] = torch.from_numpy(symbols.copy()).reshape(each.shape)
    return result
