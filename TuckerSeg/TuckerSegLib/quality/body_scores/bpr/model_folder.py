"""Reads the folder of a Body Part Regression model: ``model.pt`` and ``inference-settings.json``, every field checked.

The weights are read as tensors only, and no size is believed before it was compared with the network.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ....errors import ModelFolderError
from ....printable import excerpt, shown
from ....text_files import read_json
from ..landmarks import DISTINCT, EXAMINED, INCLUDED
from ..profile import ScoreScale
from .model import BprModel
from .network import BodyPartRegression

WEIGHTS, SETTINGS = "model.pt", "inference-settings.json"
MOST_BYTES = 256 * 1024**2  # the network's weights are 60 MB
NOT_ALL_NEED = "head_end"
AGAIN = "Download the model again."


def read_bpr_model(folder: Path) -> BprModel:
    """Read a model of Body Part Regression.

    Args:
        folder: With ``model.pt`` and ``inference-settings.json``, as that program has it.

    Raises:
        ModelFolderError: A file is missing or damaged, or is of another network.
    """
    for name in (WEIGHTS, SETTINGS):
        if not os.path.isfile(folder / name):
            raise ModelFolderError(
                f"{folder}: expected a folder of Body Part Regression with {WEIGHTS} and {SETTINGS}; {name} is missing."
            )
    start, end, scale = _read_scale(folder / SETTINGS)
    return BprModel(_read_network(folder / WEIGHTS), start, end, scale)


def _read_network(path: Path) -> BodyPartRegression:
    tensors = _read_tensors(path)
    with torch.device("meta"):
        network = BodyPartRegression()
    weights = {}
    for name, expected in network.state_dict().items():
        tensor = tensors.get(name)
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ModelFolderError(
                f"{path}: the weights '{name}' are missing. Is it a model of another program? {AGAIN}"
            )
        if tensor.shape != expected.shape or not tensor.is_floating_point():
            raise ModelFolderError(
                f"{path}: '{name}' should be {tuple(expected.shape)} numbers with fractions; found "
                f"{excerpt(str(tuple(tensor.shape)))} of {tensor.dtype}. {AGAIN}"
            )
        weights[name] = tensor.detach().to(torch.float32).contiguous()
        if not torch.isfinite(weights[name]).all():
            raise ModelFolderError(f"{path}: '{name}' holds numbers that are not finite. {AGAIN}")
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _read_tensors(path: Path) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"it holds {size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} are expected")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (Exception, MemoryError) as error:  # torch raises many kinds; all mean the same to the user
        reason = excerpt(str(error).partition("\n")[0])
        raise ModelFolderError(f"{path} cannot be read as weights of PyTorch ({reason}). {AGAIN}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path}: expected weights by name; found {type(content).__name__}. {AGAIN}")
    return content


def _read_scale(path: Path) -> tuple[float, float, ScoreScale]:
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON ({excerpt(str(error))}). {AGAIN}") from error
    table = _field(path, document, "lookuptable_train_val", "original")
    if not isinstance(table, dict):
        raise ModelFolderError(f"{path}: 'original' should hold landmarks; found {shown(table)}. {AGAIN}")
    between = [_field(path, document, "settings", f"{side}-landmark") for side in ("start", "end")]
    start, end = (_number(path, table, str(name), "mean") for name in between)
    if not start < end:
        raise ModelFolderError(
            f"{path}: the score of the end should be above that of the start; found {start:g} and {end:g}. {AGAIN}"
        )
    names = {name for pair in (*EXAMINED.values(), *DISTINCT.values()) for name in pair if name}
    names |= {name for _, landmarks in INCLUDED.values() for name in landmarks}
    if NOT_ALL_NEED not in table:
        names.discard(NOT_ALL_NEED)
    scores = {name: (_number(path, table, name, "mean") - start) * 100 / (end - start) for name in names}
    slope = _number(path, document, "slope_mean")
    tails = tuple(_number(path, document, f"{side}_quantile_tangential_slope") for side in ("lower", "upper"))
    if slope <= 0 or not tails[0] < tails[1]:
        raise ModelFolderError(
            f"{path}: slopes should be above 0 and in order; found {slope:g}, {tails[0]:g}, {tails[1]:g}. {AGAIN}"
        )
    return start, end, ScoreScale(dict(sorted(scores.items(), key=lambda item: item[1])), slope, tails)


def _field(path: Path, document: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(document, dict) or name not in document:
            raise ModelFolderError(f"{path}: the field '{excerpt(' / '.join(names))}' is missing. {AGAIN}")
        document = document[name]
    return document


def _number(path: Path, document: Any, *names: str) -> float:
    value = _field(path, document, *names)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelFolderError(
            f"{path}: '{excerpt(' / '.join(names))}' should be a number; found {shown(value)}. {AGAIN}"
        )
    return float(value)
