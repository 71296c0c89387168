"""Which rank every layer gets, so that the summed error is smallest within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RankChoice:
    """One way to compress a layer.

    Attributes:
        ranks: (output rank r, input rank s), or None where the layer stays dense.
        cost: MACs or parameters, whatever the budget counts.
        error: What it adds to the sum; 0 where the layer stays dense.
    """

    ranks: tuple[int, int] | None
    cost: int
    error: float


def allocate(choices: Mapping[str, Sequence[RankChoice]], budget: int) -> dict[str, RankChoice]:
    """Pick one choice per layer.

    Walks down the lower convex hulls of all layers at once, always where an error bought costs least (the Lagrangian
    solution), then spends what is left of the budget on whatever single exchange gains most.

    Args:
        choices: Layer to its choices.
        budget: What the costs may sum up to. Where even the cheapest choices cost more, those are taken.

    Returns:
        Layer to its choice.
    """
    hulls = {path: _hull(each) for path, each in choices.items()}
    picked = {path: hull[0] for path, hull in hulls.items()}
    spent = sum(choice.cost for choice in picked.values())
    steps = [(_gain(*pair), path, *pair) for path, hull in hulls.items() for pair in zip(hull, hull[1:])]
    for _, path, before, after in sorted(steps, key=lambda step: -step[0]):
        # A hull is walked in order; a step too dear ends the walk of its layer.
        if picked[path] is before and spent + after.cost - before.cost <= budget:
            picked[path] = after
            spent += after.cost - before.cost
    return _spend_rest(choices, picked, budget - spent)


def rank_steps(channels: int, multiple: int) -> list[int]:
    """Candidate ranks of a mode, ascending: the multiples below its number of channels, and that number itself."""
    return [*range(multiple, channels, multiple), channels]


def total_error(picked: Mapping[str, RankChoice]) -> float:
    """Sum of the errors of a choice per layer."""
    return sum(choice.error for choice in picked.values())


def total_cost(picked: Mapping[str, RankChoice]) -> int:
    """Sum of the costs of a choice per layer, in the budget's unit."""
    return sum(choice.cost for choice in picked.values())


def _spend_rest(
    choices: Mapping[str, Sequence[RankChoice]], picked: dict[str, RankChoice], remaining: int
) -> dict[str, RankChoice]:
    """Exchange one choice after the other, that which lowers the error most first, while the remaining budget pays."""
    while True:
        exchanges = [
            (picked[path].error - choice.error, path, choice)
            for path, each in choices.items()
            for choice in each
            if choice.error < picked[path].error and choice.cost - picked[path].cost <= remaining
        ]
        if not exchanges:
            return picked
        _, path, choice = max(exchanges, key=lambda exchange: exchange[0])
        remaining -= choice.cost - picked[path].cost
        picked = {**picked, path: choice}


def _hull(choices: Sequence[RankChoice]) -> list[RankChoice]:
    """Lower convex hull of error over cost, the cheapest first; errors fall strictly."""
    hull: list[RankChoice] = []
    for choice in sorted(choices, key=lambda each: (each.cost, each.error)):
        if hull and choice.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _gain(before: RankChoice, after: RankChoice) -> float:
    """Error saved per cost."""
    return (before.error - after.error) / (after.cost - before.cost)
