"""The table of compression methods, and what is asked of a method by its name.

A method is one module (a file, or a package whose face gives the names) and one line in ``METHODS``. It has

* ``Spec``: what the user asks; a frozen dataclass that checks itself, with ``needs_calibration`` (whether moments of a
  calibration make it better), ``needs_weights`` (whether its plan looks at what ``prepare`` gave) and
  ``at(strength)`` (what a slider's value means for it: 1 keeps the network as it is, lower compresses more);
* ``prepare(network, spec, moments, keep, monitor)``: what is slow, once per fold; gives a material;
* ``plan(network, spec, patch_shape, input_channels, materials)``: decides and touches nothing; gives changes;
* ``apply(network, changes, material)``: changes the network in place; without a material, its structure alone;
* ``describe(spec, changes)``: what was done, in words.

ARCHITECTURE.md says what each takes and gives, and what a method may have beside: options of the command line
(``add_options``, ``spec_of``), named policies (``POLICIES``, ``policy_spec``), ``layer_words``, ``refit_network`` and
``VERSION``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..errors import SpecError
from ..printable import excerpt
from ..records.compression import LayerChange
from ..records.job import ALLOCATOR  # is asked for as a method is, and carried out by steps of those in the table

METHODS = {
    "tucker": "TuckerSegLib.compression.tucker",
    "prune": "TuckerSegLib.compression.pruning",
    "int8": "TuckerSegLib.compression.int8",
    "sharing": "TuckerSegLib.compression.sharing",
    "tokens": "TuckerSegLib.compression.tokens",
}

_ALLOCATOR_HOME = "TuckerSegLib.compression.allocation"


def method(name: str) -> ModuleType:
    """The module of a compression method, imported on first use.

    Args:
        name: In ``METHODS``, as ``tucker``; or ``ALLOCATOR``, which has a ``Spec`` and options, but no changes.

    Raises:
        SpecError: The name is not in the table.
    """
    if name == ALLOCATOR:
        return importlib.import_module(_ALLOCATOR_HOME)
    if name not in METHODS:
        known = sorted((*METHODS, ALLOCATOR))
        raise SpecError(f"unknown compression method {excerpt(repr(name))}; known: {known}")
    return importlib.import_module(METHODS[name])


def spec_of(name: str, fields: Mapping[str, Any]) -> Any:
    """The ``Spec`` of a method from its fields, as a job or a recipe has them.

    Args:
        name: Of the method, in ``METHODS``, or ``ALLOCATOR``.
        fields: Names of the dataclass's fields to their values; those left out keep their defaults.

    Raises:
        SpecError: The method is not in the table, has no such field, or a value is out of range.
    """
    spec_type = method(name).Spec
    known = [field.name for field in dataclasses.fields(spec_type)]
    for field in fields:
        if field not in known:
            raise SpecError(f"the compression method {name!r} has no setting {field!r:.80}; known: {known}")
    return spec_type(**fields)


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of every method to a command.

    Args:
        parser: Of the command; changed in place.
        strength: False leaves out how far to compress, for a command that tries several strengths.
    """
    for name in (*METHODS, ALLOCATOR):
        if hasattr(module := method(name), "add_options"):
            module.add_options(parser, strength)


def spec_of_options(name: str, options: argparse.Namespace, strength: float | None = None) -> Any:
    """The ``Spec`` of a method by the options of the command line; None where they do not say how far it goes.

    Args:
        name: Of the method, in ``METHODS``.
        options: As the parser that :func:`add_options` changed has read them.
        strength: As typed beside the method's name; None takes the method's own options.

    Raises:
        SpecError: No such method, options that contradict each other, or a strength out of range.
    """
    if hasattr(module := method(name), "spec_of"):
        return module.spec_of(options, strength)
    return None if strength is None else module.Spec.at(strength)


def layer_words(name: str, change: LayerChange) -> str:
    """What a method makes of a layer, as ``8 x 16`` for Tucker ranks; empty where the layer stays as it is."""
    if change.skipped_because is not None:
        return ""
    if hasattr(module := method(name), "layer_words"):
        return module.layer_words(change)
    return " ".join(f"{key} {value}" for key, value in change.details.items())
