"""Which channels go and what becomes of every layer, so that the summed error is smallest within a budget.

At a fixed price of cost in error (a Lagrange multiplier), layers are independent once the channels are settled, and
channels are settled group by group, the others as they are, until none moves. The price is found by bisection. Then the
layers' forms are chosen anew for the best settings of the channels that were met, to spend the budget to its end.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ..layer_work import BLOCK
from ..tucker.rank_allocation import allocate
from .problem import Form, Kept, Problem

SWEEPS = 20  # over all groups; few are needed
BISECTIONS = 24
EXCHANGES = 12  # of one group each, at the end
LEAST_PRICE, MOST_PRICE = 1e-9, 1e4  # error per cost of the whole network
CANDIDATES = 4  # settings of the channels that the budget is spent for to its end
MEANS = ("tucker", "prune", "int8")


@dataclass(frozen=True)
class Solution:
    """What is chosen.

    Attributes:
        kept: Channels of every group.
        forms: Of every layer.
        cost: Of the whole network, in the budget's unit.
        error: Sum of all errors.
    """

    kept: Kept
    forms: dict[str, Form]
    cost: float
    error: float


def solve(problem: Problem, budget: float) -> Solution:
    """Choose the forms of all layers and the channels of all groups.

    Never worse than what one means alone gives: those are looked at, too.

    Args:
        problem: Layers, groups and their prices.
        budget: What the network may cost. Where nothing is so cheap, the cheapest that was found is taken.
    """
    solutions = [_solved(problem, budget)]
    solutions += [_solved(problem.by_one_means(means), budget) for means in MEANS]
    return _best(solutions, budget)


def _solved(problem: Problem, budget: float) -> Solution:
    whole, original = problem.everything(), problem.original_cost()
    low, high = LEAST_PRICE / original, MOST_PRICE / original
    met: dict[tuple, Kept] = {tuple(whole.values()): whole}
    kept = whole
    for _ in range(BISECTIONS if _has_groups(problem) else 0):
        price = (low * high) ** 0.5
        kept = min((_settled(problem, start, price) for start in (kept, whole)), key=_value_at(problem, price))
        met.pop(tuple(kept.values()), None)
        met[tuple(kept.values())] = kept  # the latest comes last
        if _solution(problem, kept, _cheapest_at(problem, kept, price)).cost > budget:
            low = price
        else:
            high = price
    # Near the end of the bisection the settings differ least from what the budget asks for.
    latest = list(met.values())[-CANDIDATES:]
    best = _best([_spent(problem, each, budget) for each in (whole, *latest)], budget)
    return _exchanged(problem, best, budget)


def _exchanged(problem: Problem, solution: Solution, budget: float) -> Solution:
    """A solution after one group after the other has kept a step more or less, while that lowers the error."""
    for _ in range(EXCHANGES):
        neighbors = []
        for path, group in problem.groups.items():
            place = group.sizes.index(solution.kept[path])
            for size in (*group.sizes[max(0, place - 1) : place], *group.sizes[place + 1 : place + 2]):
                neighbors.append(_spent(problem, {**solution.kept, path: size}, budget))
        better = _best([solution, *neighbors], budget)
        if better is solution:
            break
        solution = better
    return solution


def _has_groups(problem: Problem) -> bool:
    return any(len(group.sizes) > 1 for group in problem.groups.values())


def _settled(problem: Problem, kept: Kept, price: float) -> Kept:
    """Channels of all groups, each the best for the others, from a start; and of pairs that a layer reads together."""
    kept = dict(kept)
    for _ in range(SWEEPS):
        before = dict(kept)
        for path in problem.groups:
            kept = _best_sizes(problem, kept, price, (path,))
        if kept == before:
            for pair in _pairs(problem):
                kept = _best_sizes(problem, kept, price, pair)
        if kept == before:
            break
    return kept


def _pairs(problem: Problem) -> list[tuple[str, str]]:
    """Groups that one layer reads side by side: channels are computed in blocks, and both may have to share one."""
    return list(dict.fromkeys(layer.sources[:2] for layer in problem.layers.values() if len(layer.sources) > 1))


def _best_sizes(problem: Problem, kept: Kept, price: float, paths: tuple[str, ...]) -> Kept:
    """The best sizes of one group or two, all others as they are; of equally good ones the largest."""
    groups = [problem.groups[path] for path in paths]
    layers = dict.fromkeys(layer for path in paths for layer in problem.touching[path])
    best, best_value = kept, None
    for sizes in itertools.product(*(group.sizes for group in groups)):
        if len(paths) > 1 and sum(sizes) % BLOCK:
            continue
        candidate = {**kept, **dict(zip(paths, sizes))}
        value = sum(_least_value(problem, layer, candidate, price) for layer in layers)
        for group, size in zip(groups, sizes):
            norms = sum(problem.pricing.norm(size, voxels, learned) for voxels, learned in group.norms)
            value += group.errors[group.sizes.index(size)] + price * float(norms)
        order = (value, [-size for size in sizes])
        if best_value is None or order < best_value:
            best, best_value = candidate, order
    return best


def _value_at(problem: Problem, price: float):
    """What a setting of the channels costs and loses at a price."""

    def value(kept: Kept) -> float:
        layers = sum(_least_value(problem, path, kept, price) for path in problem.layers)
        return problem.error_of_groups(kept) + price * problem.cost_of_groups(kept) + layers

    return value


def _least_value(problem: Problem, path: str, kept: Kept, price: float) -> float:
    return min(form.error + price * form.cost for form in problem.forms(path, kept))


def _cheapest_at(problem: Problem, kept: Kept, price: float) -> dict[str, Form]:
    return {
        path: min(problem.forms(path, kept), key=lambda form: form.error + price * form.cost) for path in problem.layers
    }


def _spent(problem: Problem, kept: Kept, budget: float) -> Solution:
    """The best forms of all layers for a setting of the channels."""
    forms = {path: problem.forms(path, kept) for path in problem.layers}
    return _solution(problem, kept, allocate(forms, budget - problem.cost_of_groups(kept)))


def _solution(problem: Problem, kept: Kept, forms: dict[str, Form]) -> Solution:
    cost = problem.cost_of_groups(kept) + sum(form.cost for form in forms.values())
    error = problem.error_of_groups(kept) + sum(form.error for form in forms.values())
    return Solution(kept, forms, cost, error)


def _best(solutions: list[Solution], budget: float) -> Solution:
    """The least error within the budget; where none is within it, the cheapest."""
    affordable = [each for each in solutions if each.cost <= budget * (1 + 1e-9)]
    if affordable:
        return min(affordable, key=lambda each: (each.error, each.cost))
    return min(solutions, key=lambda each: (each.cost, each.error))
