"""Several models in one ``.tuckerseg`` file: the networks of a task, compressed, to be passed on as one.

The header has, per part, what the header of its own file would have, and which of the task's labels its values mean;
tensors have the part's number before their names. Each part is read by itself, through the checks of a single model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tensor_file
from ..errors import ModelFileError, TuckerSegError
from ..nnunet.fields import sequence, text, whole_number
from ..printable import shown
from ..records.serialization import from_json, to_json
from . import coded_weights
from .model import SegmentationModel, Weights

if TYPE_CHECKING:
    import torch

PACK = "pack"  # the field of the header
MOST_PARTS = 64
LARGEST_LABEL = 65535


@dataclass(frozen=True)
class PackedPart:
    """One network of a pack.

    Attributes:
        name: For people.
        values: Label value of the network to that of the pack; None: they are the same.
    """

    name: str
    values: dict[int, int] | None

    def __post_init__(self) -> None:
        text(self.name, f"{PACK}: name of a part")
        for own, value in (self.values or {}).items():
            whole_number(own, f"{PACK}: values", 0, LARGEST_LABEL)
            whole_number(value, f"{PACK}: values", 0, LARGEST_LABEL)


@dataclass(frozen=True)
class Pack:
    """What a file says of the models in it.

    Attributes:
        name: Of the task, for people.
        label_names: Every label value of the task to its name.
        parts: In the order in which they run; later ones overwrite.
        step_fraction: Patch step / patch size where a run leaves it open; None: nnU-Net's.
    """

    name: str
    label_names: dict[int, str]
    parts: tuple[PackedPart, ...]
    step_fraction: float | None = None

    def __post_init__(self) -> None:
        text(self.name, f"{PACK}: name")
        sequence(self.parts, f"{PACK}: parts", range(1, MOST_PARTS + 1))
        for value, name in self.label_names.items():
            whole_number(value, f"{PACK}: label_names", 0, LARGEST_LABEL)
            text(name, f"{PACK}: label_names")
        if self.step_fraction is not None and not 0 < self.step_fraction <= 1:
            raise ModelFileError(f"{PACK}: step_fraction should lie in (0, 1]; found {shown(self.step_fraction)}.")


def write_pack(path: Path, pack: Pack, models: Sequence[SegmentationModel]) -> None:
    """Write models into one file.

    Args:
        path: Of the file; one that is there is replaced.
        pack: What they are together.
        models: One per part, in the same order.

    Raises:
        OutputError: It cannot be written.
    """
    tensors, documents = {}, []
    for number, model in enumerate(models):
        own, fields = coded_weights.coded(model.weights)
        tensors |= {f"{number}:{name}": tensor for name, tensor in own.items()}
        documents.append({**model.header(), **fields})
    header = {"format": coded_weights.FORMAT, PACK: to_json(pack), "models": documents}
    tensor_file.write_tensors(path, tensors, header)


def read_pack(path: Path) -> Pack | None:
    """What a ``.tuckerseg`` file says of several models in it; None where it holds one.

    Raises:
        ModelFileError: Damaged, newer, or not such a file.
    """
    _, document = tensor_file.read_shapes(path)
    return _pack_of(path, document) if PACK in document else None


def read_part(path: Path, number: int, weights: bool = True) -> SegmentationModel:
    """One model of a pack.

    Args:
        path: Of the file.
        number: Of the part, from 0.
        weights: False reads the model's facts alone.

    Raises:
        ModelFileError: The file is damaged, or a part is.
        UnsupportedModelError: A network of no kind that is known.
    """
    from .model_file import model_of

    read = tensor_file.read_tensors if weights else tensor_file.read_shapes
    tensors, document = read(path)
    _pack_of(path, document)
    identity = f"{'file' if weights else 'claimed'} {document.get('sha256')} part {number}"
    return model_of(path, Weights(_of_part(tensors, number), identity), document["models"][number])


def _of_part(tensors: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    prefix = f"{number}:"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _pack_of(path: Path, document: dict[str, Any]) -> Pack:
    """The checked pack of a header, which has a model's own header for every part."""
    try:
        pack = from_json(Pack, document[PACK])
        models = sequence(document.get("models"), "models", range(len(pack.parts), len(pack.parts) + 1))
    except TuckerSegError as error:
        raise ModelFileError(f"{path} is damaged or was changed: {error} Make the file again.") from error
    if not all(isinstance(each, dict) for each in models):
        raise ModelFileError(f"{path} is damaged or was changed: models should be objects. Make the file again.")
    return pack
