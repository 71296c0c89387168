"""A cohort on Dask's workers: a task per image, a model that stays ready on each worker.

Which worker does what, and that the work of a worker that is gone is given to another, is Dask's. What is added: an
image that failed for a reason that may pass (memory, something unforeseen) is tried again later, on another worker, and
a task that Dask gives out twice finds what is done already.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import distributed

from .. import hardware
from ..errors import BackendError, OutOfMemoryError, SpecError
from ..jobs.warm_runs import Runs
from ..models.resolved_job import resolve
from ..monitor import Monitor
from .case_record import CaseRecord
from .case_run import CasePlan, failure, is_of_cohort, run_case
from .cluster import LOCAL, ClusterSettings, connected
from .plan import CohortPlan
from .run import CohortProgress

PLUGIN = "tuckerseg"
USUAL_RETRIES, MOST_RETRIES = 2, 10
FIRST_WAIT_S = 1.0  # before the second try; twice as long before each further one


class WarmModels(distributed.WorkerPlugin):
    """What a worker keeps between images."""

    name = PLUGIN

    def setup(self, worker: Any) -> None:
        """Called by Dask where a worker begins."""
        hardware.use_usual_thresholds()
        self.runs: Runs | None = None
        self.lock = threading.Lock()  # one image at a time, however many threads the worker has

    def teardown(self, worker: Any) -> None:
        """Called by Dask where a worker ends."""
        if self.runs is not None:
            self.runs.close()

    def __reduce__(self) -> tuple:
        return WarmModels, ()


@dataclass(frozen=True)
class Attempt:
    """What a worker made of an image.

    Attributes:
        record: Of the case; None where it went wrong for a reason that may pass, or that concerns every case.
        error: That reason.
        worker: Address.
    """

    record: CaseRecord | None
    error: Exception | None
    worker: str


def do_case(plan: CasePlan) -> Attempt:
    """The task: an image, on a worker."""
    worker = distributed.get_worker()
    plugin = worker.plugins[PLUGIN]
    with plugin.lock:
        if plugin.runs is None:
            plugin.runs = Runs()
        try:
            return Attempt(run_case(plan, plugin.runs, Monitor()), None, worker.address)
        except Exception as error:
            return Attempt(None, _plain(error), worker.address)


def run_on_cluster(
    plan: CohortPlan, settings: ClusterSettings, monitor: Monitor, retries: int = USUAL_RETRIES
) -> list[CaseRecord]:
    """Do what is to be done on the workers of a cluster; arguments, result and errors as of ``run.run_cohort``.

    The folders of images and results have to be the same for all workers.

    Args:
        settings: Where they are.
        retries: How often an image is tried again that failed for a reason that may pass.

    Raises:
        DependencyError: Dask is not here.
        BackendError: The cluster is not to be had.
        SpecError: A number of retries out of range.
    """
    if not 0 <= retries <= MOST_RETRIES:
        raise SpecError(f"The number of retries should be from 0 to {MOST_RETRIES}; found {retries}.")
    if settings.place == LOCAL:
        plan = _with_threads(plan, settings.local_threads)
    if not plan.waiting:
        return CohortProgress(plan, monitor.on_event).collected(iter(()))
    with connected(settings) as client:
        client.register_plugin(WarmModels())
        if client.dashboard_link:
            monitor.log(f"Dask's dashboard: {client.dashboard_link}")
        progress = CohortProgress(plan, monitor.on_event)
        return progress.collected(_records(client, plan.waiting, monitor, retries))


def _records(
    client: distributed.Client, plans: Sequence[CasePlan], monitor: Monitor, retries: int
) -> Iterator[CaseRecord]:
    """Records as they come. Where the first image calibrates the model, the others wait for it."""
    rounds = [list(plans)]
    if calibrates(plans[0]):
        rounds = [[each] for each in plans[:1]] + [list(plans[1:])]
    for group in rounds:
        waiting, failed_on = group, {plan.case.name: set() for plan in group}
        for attempt in range(retries + 1):
            again = []
            for plan, outcome in _outcomes(client, waiting, failed_on, attempt, monitor):
                if outcome.record is not None:
                    yield outcome.record
                elif is_of_cohort(outcome.error):
                    raise outcome.error
                elif attempt == retries:
                    yield failure(plan, outcome.error, host=outcome.worker)
                else:
                    failed_on[plan.case.name].add(outcome.worker)
                    again.append(plan)
            waiting = again
            if not waiting:
                break
            monitor.log(f"{len(waiting)} images failed and are tried again: {waiting[0].case.name} and so on.")
            time.sleep(FIRST_WAIT_S * 2**attempt)


def _outcomes(
    client: distributed.Client,
    plans: Sequence[CasePlan],
    failed_on: dict[str, set[str]],
    attempt: int,
    monitor: Monitor,
) -> Iterator[tuple[CasePlan, Attempt]]:
    """What becomes of each image, as it comes; nothing is left to be done where somebody leaves early."""
    plan_of = {}
    # Of one group, so that Dask holds them back until a worker is free; else it deals them all out at once, and in the
    # end a worker waits until it has taken some from another.
    group = f"images-{attempt}-{time.monotonic_ns():x}"
    for number, plan in enumerate(plans):
        future = client.submit(
            do_case,
            plan,
            key=(group, plan.case.name),
            pure=False,
            priority=-number,  # in their order
            **_elsewhere(client, failed_on[plan.case.name]),
        )
        plan_of[future] = plan
    try:
        for future in distributed.as_completed(list(plan_of), raise_errors=False):
            monitor.check("The cohort")
            plan = plan_of.pop(future)
            yield plan, _outcome(future)
            future.release()  # what a worker keeps of it is lost with it, and would be done again
    finally:
        client.cancel(list(plan_of), force=True)


def _elsewhere(client: distributed.Client, failed_on: set[str]) -> dict[str, Any]:
    """Where an image is rather done than where it failed."""
    if not failed_on:
        return {}
    others = [address for address in client.scheduler_info(n_workers=-1)["workers"] if address not in failed_on]
    return {"workers": others, "allow_other_workers": True} if others else {}


def _outcome(future: distributed.Future) -> Attempt:
    if future.status == "finished":
        return future.result()
    error = future.exception() if future.status == "error" else None
    if isinstance(error, distributed.KilledWorker):
        address = str(getattr(error.last_worker, "address", ""))
        words = (
            f"The workers that had this image were ended {error.allowed_failures + 1} times, most likely for lack of "
            "memory. Give each worker more memory, or run fewer of them."
        )
        return Attempt(None, OutOfMemoryError(words), address)
    return Attempt(None, error or BackendError(f"The image was {future.status} by the cluster."), "")


def calibrates(plan: CasePlan) -> bool:
    """Whether the first image may decide how the model is compressed for the others."""
    return bool(resolve(plan.job).steps) and plan.job.calibrate != "none"


def _with_threads(plan: CohortPlan, threads: int) -> CohortPlan:
    plans = []
    for each in plan.plans:
        inference = replace(each.job.inference, threads=each.job.inference.threads or threads)
        plans.append(replace(each, job=replace(each.job, inference=inference)))
    return replace(plan, plans=tuple(plans))


def _plain(error: Exception) -> Exception:
    """An error that can go from one process to another: its own class where that is ours, else its words."""
    if type(error).__module__.startswith("TuckerSegLib"):
        return type(error)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error} (process {os.getpid()})")
