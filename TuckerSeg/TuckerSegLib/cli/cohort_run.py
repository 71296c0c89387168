"""``tuckerseg segment`` of many images: plans, runs, tells of each case, and writes the table, also when stopped."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..cohort.case_record import FAILED, CaseRecord, is_removed, records_in
from ..cohort.cases import Case, cases_of
from ..cohort.cluster import ClusterSettings
from ..cohort.plan import CohortPlan, plan_cohort, with_all_series
from ..cohort.run import counts, run_cohort
from ..cohort.table import write_tables
from ..cohort.watching import SettledCases, watch
from ..errors import OutputError, SpecError, TuckerSegError
from ..jobs.warm_runs import Runs
from ..models.modality import modalities_of
from ..models.resolved_job import resolve
from ..monitor import Monitor
from ..outputs import TYPES
from ..records.job import Job
from .jobs_from_options import job_of, output_types_of
from .output import say, show_json
from .terminal import JsonReporter, TerminalReporter

if TYPE_CHECKING:
    from ..serving.remote_run import RemoteRuns

Listener = Callable[[dict[str, Any]], None]
SHOWN_FAILURES = 10


def segment_cohort(options: argparse.Namespace) -> None:
    """``tuckerseg segment FOLDER|LIST|CSV OUT``.

    Raises:
        TuckerSegError: Nothing can be done; or, at the end, some cases failed.
    """
    _refuse_options_of_one(options)
    job = job_of(options)
    types = output_types_of(options) or ("nifti",)
    unknown = [name for name in types if name not in TYPES]
    if unknown:
        raise OutputError(f"The types of output are {', '.join(TYPES)}; found '{unknown[0]}'.")
    _cluster_of(options)
    if options.watch:
        _watch(options, job, types)
        return
    cases = cases_of(options.images, leave_out=options.output)
    if options.all_series:
        cases = with_all_series(cases, modalities_of(resolve(job))[0])
    reporter = JsonReporter() if options.json else TerminalReporter()
    try:
        monitor = None if options.dry_run else options.monitor.through(reporter)
        plan = _plan(cases, job, types, options, monitor)
        if options.dry_run:
            _tell_plan(plan, options.json)
            return
        with _table_at_the_end(plan):
            records = _run(plan, options, reporter)
    finally:
        reporter.close()
    _tell_end(records, plan, options, reporter)


def _run(plan: CohortPlan, options: argparse.Namespace, reporter: Listener) -> list[CaseRecord]:
    monitor = options.monitor.through(reporter)
    settings = _cluster_of(options)
    if settings is None:
        return run_cohort(plan, monitor, runs=_server_of(options))
    from ..cohort.dask_run import run_on_cluster

    return run_on_cluster(plan, settings, monitor, options.retries)


def _plan(
    cases: list[Case], job: Job, types: tuple[str, ...], options: argparse.Namespace, monitor: Monitor | None
) -> CohortPlan:
    return plan_cohort(
        cases, job, options.output, types, options.split, monitor=monitor, again=options.again, server=options.server
    )


def _server_of(options: argparse.Namespace) -> RemoteRuns | None:
    """What runs jobs on the server that is named; None: none is."""
    if options.server is None:
        return None
    from .server_options import runs_on_server

    return runs_on_server(options)


def _cluster_of(options: argparse.Namespace) -> ClusterSettings | None:
    """Where the workers are; None for this process alone.

    Raises:
        SpecError: An option that has no meaning without workers.
        DependencyError: Dask is not here.
    """
    if options.cluster is None:
        for name in ("workers", "memory_limit"):
            if getattr(options, name) is not None:
                raise SpecError(f"--{name.replace('_', '-')} is for workers: say --cluster local, for example.")
        return None
    if options.server is not None:
        raise SpecError("--cluster and --server are two places to compute at: name one.")
    settings = ClusterSettings(options.cluster, options.workers, options.threads, options.memory_limit)
    settings.require_packages()
    return settings


def _watch(options: argparse.Namespace, job: Job, types: tuple[str, ...]) -> None:
    """Segment what comes into a folder, until the user stops it."""
    if options.cluster or options.dry_run or not os.path.isdir(options.images):
        raise SpecError("--watch is for a folder, and neither for --cluster nor for --dry-run.")
    modality = modalities_of(resolve(job))[0]
    reporter = JsonReporter() if options.json else TerminalReporter()
    monitor = options.monitor.through(reporter)

    with contextlib.closing(_server_of(options) or Runs()) as runs, contextlib.closing(reporter):

        def do(cases: list[Case]) -> None:
            if options.all_series:
                cases = with_all_series(cases, modality)
            plan = _plan(cases, job, types, options, monitor)
            with _table_at_the_end(plan, of_removed=True):  # a folder that is watched is emptied by others
                run_cohort(plan, monitor, runs=runs)

        _plan([], job, types, options, monitor)  # what is wrong is told at once
        settled = SettledCases(options.images, options.settle, leave_out=options.output)
        monitor.log(f"{options.images} is watched. Ctrl-C ends it.")
        watch(settled, options.images, do, monitor)


@contextlib.contextmanager
def _table_at_the_end(plan: CohortPlan, of_removed: bool = False) -> Iterator[None]:
    """Write the table of all that there is, however the run ends; of failed cases that were removed if that is said."""
    try:
        yield
    finally:
        records = [record for record in records_in(plan.folder) if of_removed or not is_removed(record)]
        if records:
            write_tables(plan.folder, records)


def _tell_plan(plan: CohortPlan, as_json: bool) -> None:
    rows = [
        {
            "case": each.case.name,
            "state": "done" if each.case.name in plan.standing else "to do",
            "images": list(each.case.images),
            "series": each.case.series,
            "files": [output.path for output in each.whole_job().outputs],
        }
        for each in plan.plans
    ]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        series = f", series {row['series']}" if row["series"] else ""
        say(f"{row['state']:6}  {row['case']}  from {row['images'][0]}{series}")
    say(f"{len(plan.waiting)} of {len(rows)} images to do, {len(plan.standing)} done and whole. Nothing was done.")


def _tell_end(records: list[CaseRecord], plan: CohortPlan, options: argparse.Namespace, reporter: Listener) -> None:
    done, failed = counts(records)
    skipped = len(plan.standing)
    if options.json:
        reporter({"event": "result", "output": plan.folder, "done": done, "failed": failed, "skipped": skipped})
    else:
        say(f"{done} of {len(records)} images are done ({skipped} were before), {failed} failed.")
        say(f"Table: {plan.folder}/cohort.csv. 'tuckerseg summarize {options.output}' makes a report to look at.")
    if failed:
        names = [record.name for record in records if record.state == FAILED]
        shown_names = ", ".join(names[:SHOWN_FAILURES]) + (", ..." if failed > SHOWN_FAILURES else "")
        raise TuckerSegError(
            f"{failed} of {len(records)} images failed: {shown_names}. The column 'message' of the table says why; the "
            "same command tries them again."
        )


def _refuse_options_of_one(options: argparse.Namespace) -> None:
    for name in ("stats", "channel"):
        if getattr(options, name):
            raise SpecError(
                f"--{name} is for one image; of many, the table has the statistics, and a .csv has columns channel_1, "
                "channel_2."
            )
