"""Named ways to spend a strength, of all methods together."""

from __future__ import annotations

from typing import Any

from ..errors import SpecError
from . import METHODS, method


def policies() -> dict[str, str]:
    """Every name to the method that has it. A method without a table has one policy, its own name."""
    return {policy: name for name in METHODS for policy in getattr(method(name), "POLICIES", (name,))}


def is_calibrated(policy: str) -> bool:
    """Whether a policy is meant to be calibrated.

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
        comparable: Layers that would get dearer stay as they are, so that all policies have one budget.

    Raises:
        SpecError: There is no such policy, or the strength is out of its range.
    """
    name = _method_of(policy)
    module = method(name)
    if hasattr(module, "POLICIES"):
        return name, module.policy_spec(policy, strength, comparable)
    return name, module.Spec.at(strength)


def _method_of(policy: str) -> str:
    known = policies()
    if policy not in known:
        raise SpecError(f"Unknown policy {policy}; known: {', '.join(known)}.")
    return known[policy]
