"""Named ways to spend a strength, of all methods together."""

from __future__ import annotations

from typing import Any

from ..errors import SpecError
from .methods import METHODS, method


def policies() -> dict[str, str]:
    """Name of every policy to the name of its method; a method without ``POLICIES`` has one policy, its own name."""
    return {policy: name for name in METHODS for policy in getattr(method(name), "POLICIES", (name,))}


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


def _method_of(policy: str) -> str:
    method_of_policy = policies()
    if policy not in method_of_policy:
        raise SpecError(f"Unknown policy {policy}; known: {', '.join(method_of_policy)}.")
    return method_of_policy[policy]
