"""nnU-Net's own transformers, for comparisons. Its package needs torchvision, which may not fit the PyTorch here."""

from __future__ import annotations

import contextlib
import importlib

import pytest
import torch

_OPERATORS: list = []  # they are known for as long as they are held


def nnunet_module(name: str):
    """A module that imports timm; two operators that it never calls are declared where torchvision lacks its own."""
    if not _OPERATORS:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # torchvision has been imported, and has it
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _OPERATORS.append(library)
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs timm and torchvision, which nnU-Net's transformers import: {error}")


def nnunet_transformer(name: str) -> type[torch.nn.Module]:
    """A class of ``dynamic_network_architectures.architectures.primus``."""
    return getattr(nnunet_module("dynamic_network_architectures.architectures.primus"), name)
