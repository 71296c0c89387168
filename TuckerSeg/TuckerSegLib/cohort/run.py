"""A cohort in this process: one case after the other, with models that stay ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from ..cache import Cache
from ..errors import Cancelled
from ..jobs.warm_runs import Runs
from ..monitor import Monitor
from .case_record import DONE, FAILED, CaseRecord
from .case_run import failure, is_of_cohort, run_case
from .plan import CohortPlan

SKIPPED = "skipped"  # done and whole before


def run_cohort(
    plan: CohortPlan, monitor: Monitor, cache: Cache | None = None, runs: Runs | None = None
) -> list[CaseRecord]:
    """Do what is to be done; what goes wrong with one case does not end it.

    Args:
        plan: From ``plan_cohort``.
        monitor: Hears ``case`` events (see :class:`CohortProgress`) beside those of the runs, and is asked whether to
            stop.
        cache: None takes the user's.
        runs: What keeps models ready beyond this cohort, or a server that computes; None: this computer does, and they
            are closed at its end.

    Returns:
        Records of all cases, in their order.

    Raises:
        Cancelled: The monitor said so; what is done stays done.
        TuckerSegError: Every other case would fail in the same way.
    """
    if runs is None:
        with closing(Runs(cache)) as own:
            return run_cohort(plan, monitor, runs=own)
    progress = CohortProgress(plan, monitor.on_event)
    return progress.collected(_records(plan, runs, monitor, progress))


def _records(plan: CohortPlan, runs: Runs, monitor: Monitor, progress: CohortProgress) -> Iterator[CaseRecord]:
    """Records as they come."""
    for case_plan in plan.waiting:
        monitor.check("The cohort")
        progress.begins(case_plan.case.name)
        started = time.perf_counter()
        try:
            yield run_case(case_plan, runs, Monitor(progress.of_run, monitor.stop))
        except Cancelled:
            raise
        except Exception as error:
            if is_of_cohort(error):
                raise
            yield failure(case_plan, error, time.perf_counter() - started)


class CohortProgress:
    """Tells how far a cohort is: a ``case`` event for each that ended, with its record's facts and the seconds left.

    Args:
        plan: Of the cohort.
        on_event: Receives the events.
        at_once: How many cases are worked on.
        clock: Seconds.
    """

    def __init__(
        self,
        plan: CohortPlan,
        on_event: Callable[[dict], None],
        at_once: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._plan, self._on_event, self._at_once, self._clock = plan, on_event, at_once, clock
        self._total = len(plan.plans)
        self._ended = 0
        self._done_here = 0
        self._started = clock()
        self._name = ""

    def collected(self, records: Iterator[CaseRecord]) -> list[CaseRecord]:
        """All records in the order of the cases: those that stand, and these, each told of when it comes."""
        of_name = dict(self._plan.standing)
        for name, record in of_name.items():
            self._ended += 1
            self._tell(record, SKIPPED, name)
        for record in records:
            of_name[record.name] = record
            self._ended += 1
            self._done_here += record.state == DONE  # what failed took no time that could be told of others
            self._tell(record, record.state, record.name)
        return [of_name[plan.case.name] for plan in self._plan.plans if plan.case.name in of_name]

    def begins(self, name: str) -> None:
        """Whose run's events follow."""
        self._name = name

    def of_run(self, event: dict) -> None:
        """An event of the run that goes on, told with its case."""
        self._on_event({**event, "case": self._name, "case_number": self._ended + 1, "case_count": self._total})

    def _tell(self, record: CaseRecord, state: str, name: str) -> None:
        left = self._total - self._ended
        remaining_s = None
        if self._done_here and state != SKIPPED:
            remaining_s = (self._clock() - self._started) / self._done_here * left
        structures = len(record.statistics.structures) if record.statistics else None
        self._on_event(
            {
                "event": "case",
                "case": name,
                "state": state,
                "number": self._ended,
                "total": self._total,
                "seconds": record.seconds,
                "structures": structures,
                "message": record.message,
                "remaining_s": remaining_s,
            }
        )


def counts(records: list[CaseRecord]) -> tuple[int, int]:
    """How many are done, and how many failed."""
    return sum(each.state == DONE for each in records), sum(each.state == FAILED for each in records)
