"""Network to smaller network: the table of compression methods. Knows nothing of nnU-Net, images or hardware.

A method is one module with ``Spec`` (what the user asks; checks itself), ``plan(network, spec, patch_shape,
input_channels)`` (decides, touches nothing), ``decompose(network)`` (its slow, cacheable part) and
``apply(network, changes, basis)`` (changes the network in place). A new method is one file and one line here.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..errors import SpecError

METHODS = {
    "tucker": "TuckerSegLib.compression.tucker",
}
RETRAINED = {  # what a recipe may name after a method: other weights, the same structure
    "refit": "TuckerSegLib.compression.retraining",
    "repair": "TuckerSegLib.compression.retraining",
    "finetune": "TuckerSegLib.compression.retraining",
}


def method(name: str) -> ModuleType:
    """The module of a compression method, imported on first use.

    Raises:
        SpecError: The name is not in the table.
    """
    known = METHODS | RETRAINED
    if name not in known:
        raise SpecError(f"unknown compression method {name!r}; known: {sorted(METHODS)}")
    return importlib.import_module(known[name])


def spec_of(name: str, fields: Mapping[str, Any]) -> Any:
    """The ``Spec`` of a method from its fields, as a job or a recipe has them.

    Raises:
        SpecError: The method is not in the table, has no such field, or a value is out of range.
    """
    if name not in METHODS:
        raise SpecError(f"unknown compression method {name!r}; known: {sorted(METHODS)}")
    kind = method(name).Spec
    known = [field.name for field in dataclasses.fields(kind)]
    for field in fields:
        if field not in known:
            raise SpecError(f"the compression method {name!r} has no setting {field!r:.80}; known: {known}")
    return kind(**fields)
