"""From what is asked, and what each method knows of a network, to the steps that carry it out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn

from ...errors import SpecError
from ...records.layer_times import LayerTimes
from ..layer_work import WHOLE
from ..methods import METHODS, method
from .network_problem import Evidence, problem_of
from .pricing import pricing_of
from .problem import Form, Problem
from .solve import Solution, solve
from .spec import MEANS, Spec

RANK_MULTIPLES = {"time": 8}  # ranks that processors compute at once; counts know no such thing
USUAL_MULTIPLE = 4
LEAST_SAVED = 0.02  # of the original's cost: less is not worth an error


@dataclass(frozen=True)
class Allocation:
    """What is to be done to a network, and what it is expected to cost.

    Attributes:
        steps: Method and ``Spec`` of each step, in their order; none where nothing saves anything.
        original_cost, cost: Of the network before and after, in the budget's unit: seconds, multiply-accumulates,
            parameters or bytes.
        error: Sum of the errors, as a share of the logits' energy.
        parts: Of the cost, that of the layers that each means changes; a layer that several change counts for each.
    """

    steps: tuple[tuple[str, Any], ...]
    original_cost: float
    cost: float
    error: float
    parts: dict[str, float] = field(default_factory=dict)


def available_means(spec: Spec, times: LayerTimes | None) -> tuple[str, ...]:
    """The means that a spec may use here, in the order of their steps.

    Whole numbers are offered for a budget of time where their times have been measured.
    """
    wanted = [means for means in ("prune", "tucker", "int8") if means in (spec.means or MEANS) and means in METHODS]
    measured = times is not None and any(term.startswith(WHOLE) for term in times.seconds)
    return tuple(means for means in wanted if means != "int8" or spec.budget != "time" or measured)


def material_spec(means: str, calibration: str) -> Any:
    """The ``Spec`` by which a method prepares what it knows of a network's errors.

    Args:
        means: Name of the method.
        calibration: SHA-256 of the calibration that the errors are told by.
    """
    usual = method(means).Spec.at(0.5)
    return type(usual)(**{**vars(usual), "calibration": calibration})


def allocate_steps(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None,
    materials: Mapping[str, Sequence[Any]],
    times: LayerTimes | None = None,
    corrections: Mapping[str, float] = MappingProxyType({}),
) -> Allocation:
    """Choose the steps that cost the least error within a spec's share of the network's cost.

    Args:
        network: From (B, C, Z, Y, X) to logits; the meta device will do.
        spec: How far to compress; its share counts, its agreement does not.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: Means to what its method's ``prepare`` gave for each fold, by :func:`material_spec`.
        times: Of layers on the device that will run the network; for a budget of time.
        corrections: Of prices, see ``problem.Problem``.

    Raises:
        SpecError: The network cannot take such a patch, there are no means, or time is not known.
    """
    if not materials:
        raise SpecError(f"no means of compression is to be had here; asked for: {', '.join(spec.means or MEANS)}")
    multiple = RANK_MULTIPLES.get(spec.budget, USUAL_MULTIPLE)
    evidence = _evidence(materials)
    pricing = pricing_of(spec.budget, times)
    problem = problem_of(network, patch_shape, input_channels, evidence, pricing, multiple, corrections)
    return allocate_within(problem, spec.share)


def allocate_within(problem: Problem, share: float) -> Allocation:
    """The steps that cost the least error within a share of the original's cost."""
    original = problem.original_cost()
    solution = solve(problem, share * original)
    if share >= 1 or solution.cost > (1 - LEAST_SAVED) * original:
        return Allocation((), original, original, 0.0)
    parts = _parts(problem, solution)
    return Allocation(steps_of(problem, solution), original, solution.cost, solution.error, parts)


def _parts(problem: Problem, solution: Solution) -> dict[str, float]:
    parts: dict[str, float] = {}
    for path, form in solution.forms.items():
        for means in problem.means_of(path, solution.kept, form):
            parts[means] = parts.get(means, 0.0) + form.cost
    return parts


def _evidence(materials: Mapping[str, Sequence[Any]]) -> Evidence:
    """The errors of all folds that share their structure, added up."""

    def added(means: str) -> Any:
        each = [material.evidence for material in materials.get(means, ())]
        return functools.reduce(lambda one, other: one.plus(other), each) if each else None

    ranks, channels, eight_bits = map(added, ("tucker", "prune", "int8"))
    return Evidence(ranks and ranks.errors, channels and channels.errors, eight_bits and eight_bits.errors)


def steps_of(problem: Problem, solution: Solution) -> tuple[tuple[str, Any], ...]:
    """Steps with something to do: pruning first, since ranks count from the channels that are kept; types last."""
    channels = {path: kept for path, kept in solution.kept.items() if kept < problem.groups[path].sizes[-1]}
    ranks = {path: form.ranks for path, form in solution.forms.items() if form.ranks is not None}
    layers = [_quantized(path, form) for path, form in solution.forms.items() if form.eight_bits]
    steps = []
    if channels:
        steps.append(("prune", method("prune").Spec(channels=channels)))
    if ranks:
        steps.append(("tucker", method("tucker").Spec.given(ranks)))
    if layers:
        steps.append(("int8", method("int8").Spec(layers=layers)))
    return tuple(steps)


def _quantized(path: str, form: Form) -> str:
    """Path of what is quantized of a layer: of a decomposed one its core, which Tucker's step puts in its place."""
    return path if form.ranks is None else f"{path}.{int(form.squeezed)}"
