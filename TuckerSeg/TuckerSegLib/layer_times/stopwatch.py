"""Seconds of work that is repeated, on a computer that may be busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

INTERRUPTED = 0.75  # of the time of all threads that the processor gave; with less, others had some of it
LONG = 0.02  # s: what is shorter is now and then left alone even on a busy computer


def fastest_seconds(run: Callable[[], object], runs: int, threads: int = 0) -> float:
    """Seconds of the fastest of several runs, after one that does not count.

    Args:
        run: What is measured.
        runs: How often; whatever else the computer does only adds.
        threads: Of the processor, all of which the work keeps busy; 0: it is done elsewhere.
    """
    return alternated_seconds((run,), runs, threads)[0]


def alternated_seconds(runs: Sequence[Callable[[], object]], rounds: int, threads: int = 0) -> list[float]:
    """Seconds of the fastest run of several works, one after the other in each round, so that all meet the same hours.

    Where others had a part of the processor in every run, the time that it gave to this process counts.

    Args:
        runs: Works that are measured.
        rounds: How often each runs, after one time that does not count.
        threads: As for :func:`fastest_seconds`.
    """
    fastest = [float("inf")] * len(runs)
    for number in range(rounds + 1):
        for place, run in enumerate(runs):
            started, given = time.perf_counter(), time.process_time()
            run()
            wall_s, given_s = time.perf_counter() - started, time.process_time() - given
            if number:
                fastest[place] = min(fastest[place], undisturbed_seconds(wall_s, given_s, threads))
    return fastest


def undisturbed_seconds(wall_s: float, given_s: float, threads: int) -> float:
    """What a run would have taken had nothing else run.

    Args:
        wall_s: Seconds that went by.
        given_s: Seconds of processor time that this process got meanwhile, of all threads.
        threads: As for :func:`fastest_seconds`.
    """
    if not threads or wall_s < LONG or given_s >= INTERRUPTED * threads * wall_s:
        return wall_s
    return given_s / threads
