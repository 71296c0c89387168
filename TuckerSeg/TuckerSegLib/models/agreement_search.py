"""The least share of the cost at which networks agree well enough with their original, by few looks at dear ones."""

from __future__ import annotations

import math
from collections.abc import Callable

NEAR = 0.6  # of the disagreement that is allowed: a network that spends so much of it is taken without a further look
AIM = 0.8  # of the same: what the next network is meant to spend
LEAST_LOSS = 1e-4  # agreements beyond that differ by chance
EDGE = 0.15  # of what is left to search, from either end: a guess nearer to it would tell little


def least_share(
    agreement_of: Callable[[float], float], target: float, between: tuple[float, float], looks: int
) -> float:
    """The least share of the cost that was found to keep an agreement.

    The first look halves the range in logarithms. Once both a good and a bad share are known, the next one is where the
    logarithm of the disagreement, taken for linear between them, is what was asked for.

    Args:
        agreement_of: Mean Dice with the original of the network at a share of the cost.
        target: That is to be kept; shares above one that keeps it are taken to keep it, too.
        between: A share that is too small, and one that is known to do, or is returned where none was found to.
        looks: How often to ask at most.
    """
    low, high = map(math.log, between)
    bad = good = None  # logarithms of the disagreements at both ends, once known
    allowed = max(1 - target, LEAST_LOSS)
    for _ in range(looks):
        part = 0.5
        if bad is not None and good is not None:
            part = min(1 - EDGE, max(EDGE, (bad - math.log(AIM * allowed)) / (bad - good)))
        share = low + part * (high - low)
        agreement = agreement_of(math.exp(share))
        loss = max(1 - agreement, LEAST_LOSS)
        if agreement < target:
            low, bad = share, math.log(max(loss, allowed * 1.001))
            continue
        high, good = share, math.log(loss)
        if loss >= NEAR * allowed:
            break
    return between[1] if good is None else math.exp(high)
