"""Named ways to spend a strength, of all methods together, and what may follow them."""

from __future__ import annotations

from typing import Any

from ..errors import SpecError
from .methods import ALLOCATOR, METHODS, method

IMPROVEMENTS = ("refit", "repair")  # that may follow a policy, as auto+refit+repair: in this order, each once


def policies() -> dict[str, str]:
    """Name of every policy to the name of its method; a method without ``POLICIES`` has one policy, its own name."""
    named = (*METHODS, ALLOCATOR)
    return {policy: name for name in named for policy in getattr(method(name), "POLICIES", (name,))}


def is_calibrated(policy: str) -> bool:
    """Whether a policy, by its name in :func:`policies`, is meant to be used with a calibration.

    Raises:
        SpecError: There is no such policy.
    """
    module = method(_method_of(policy))
    if hasattr(module, "POLICIES"):
        return module.POLICIES[policy].calibrated
    return module.Spec.at(0.5).needs_calibration


def policy_spec(policy: str, strength: float, comparable: bool = False) -> tuple[str, Any]:
    """The method that a policy belongs to, and the ``Spec`` that it stands for at a strength.

    Args:
        policy: Name in :func:`policies`.
        strength: In the method's own measure, above 0 up to 1; 1 keeps the network as it is.
        comparable: Layers that would get dearer stay as they are, so that all policies have one budget.

    Raises:
        SpecError: There is no such policy, or the strength is out of its range.
    """
    name = _method_of(policy)
    module = method(name)
    if hasattr(module, "POLICIES"):
        return name, module.policy_spec(policy, strength, comparable)
    return name, module.Spec.at(strength)


def explanation(policy: str) -> str:
    """What a policy does, for people; empty where its method says nothing of it.

    Raises:
        SpecError: There is no such policy.
    """
    module = method(_method_of(policy))
    return module.POLICIES[policy].explanation if hasattr(module, "POLICIES") else ""


def with_improvements(policy: str) -> tuple[str, tuple[str, ...]]:
    """A policy, and the improvements that follow it.

    Args:
        policy: As ``auto``, ``auto+refit`` or ``paper+repair``.

    Raises:
        SpecError: There is no such policy, or it is followed by what cannot follow it.
    """
    base, *improvements = policy.split("+")
    _method_of(base)
    if improvements != [each for each in IMPROVEMENTS if each in improvements]:
        raise SpecError(f"A policy may be followed by +refit, +repair or +refit+repair; found {policy}.")
    if "refit" in improvements and _method_of(base) == ALLOCATOR:
        raise SpecError(f"A refit is part of {base}; leave +refit out.")
    if "refit" in improvements and not is_calibrated(base):
        raise SpecError(f"A refit goes on from a calibrated compression, and {base} is none; found {policy}.")
    return base, tuple(improvements)


def _method_of(policy: str) -> str:
    method_of_policy = policies()
    if policy not in method_of_policy:
        raise SpecError(f"Unknown policy {policy}; known: {', '.join(method_of_policy)}.")
    return method_of_policy[policy]
