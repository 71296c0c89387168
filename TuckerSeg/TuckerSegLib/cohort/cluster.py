"""Where the workers of a cohort are: processes of this computer, a Dask cluster that runs already, or jobs of Slurm.

What is given to whom, and what becomes of the work of a worker that is gone, is Dask's business, see ``dask_run``.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, DependencyError, SpecError
from ..hardware.processor import default_threads
from ..printable import shown

if TYPE_CHECKING:
    import distributed

LOCAL, SLURM = "local", "slurm"
LONGEST_WAIT_S = 30.0  # for a scheduler to answer
MOST_WORKERS = 10_000
USUAL_SLURM_MEMORY = "16GB"
DASHBOARD = "127.0.0.1:0"  # for this computer alone, on a port that is free
# Dask is set up for tasks of milliseconds, where ours take seconds. By default each process looks at its threads a
# hundred times a second, for the dashboard's profile, and fifty times at its event loops: on two cores, a thirtieth of
# both. And each worker gets a task beside the one that it works on, which in the end another would have begun earlier.
LONG_TASKS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500 ms",
    "distributed.scheduler.worker-saturation": 1.0,
}


@dataclass(frozen=True)
class ClusterSettings:
    """How many workers there are, and what each may take.

    Attributes:
        place: ``local``, ``slurm``, or the address of a scheduler, as ``tcp://10.0.0.1:8786``.
        workers: How many; None takes as many as there are cores for (local), or one (Slurm).
        threads: Of each worker; None divides the cores (local), or takes one (Slurm).
        memory_limit: Of each worker, as ``8GB``; a worker above it is ended and begun anew. None divides the memory.
    """

    place: str = LOCAL
    workers: int | None = None
    threads: int | None = None
    memory_limit: str | None = None

    def __post_init__(self):
        if self.place not in (LOCAL, SLURM) and "://" not in self.place:
            raise SpecError(
                f"The cluster should be {LOCAL}, {SLURM} or the address of a Dask scheduler, as tcp://10.0.0.1:8786; "
                f"found {shown(self.place)}."
            )
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST_WORKERS:
                raise SpecError(f"The number of {name} should be from 1 to {MOST_WORKERS}; found {value}.")
        if self.memory_limit is not None and self.place not in (LOCAL, SLURM):
            raise SpecError("Workers of a cluster that runs already have limits of memory of their own.")

    def require_packages(self) -> None:
        """Look whether Dask is here.

        Raises:
            DependencyError: It is not.
        """
        for package in ("distributed", *(("dask_jobqueue",) if self.place == SLURM else ())):
            if importlib.util.find_spec(package) is None:
                raise DependencyError(
                    f"Workers ({self.place}) need the Python package {package.replace('_', '-')}.",
                    shell="Install it with: pip install tuckerseg[cohort]",
                )

    @property
    def local_workers(self) -> int:
        """How many processes of this computer."""
        return self.workers or max(1, default_threads() // (self.threads or 1))

    @property
    def local_threads(self) -> int:
        """Threads of each of them."""
        return self.threads or max(1, default_threads() // self.local_workers)


@contextmanager
def connected(settings: ClusterSettings) -> Iterator[distributed.Client]:
    """A client of a cluster with workers; what was begun here is ended with it.

    Raises:
        DependencyError: Dask is not here.
        BackendError: There is no such cluster, or it cannot be begun.
    """
    settings.require_packages()
    import dask
    import distributed

    if settings.place == LOCAL:
        with dask.config.set(LONG_TASKS):  # workers that are begun anew have it, too
            cluster = distributed.LocalCluster(
                n_workers=settings.local_workers,
                threads_per_worker=1,  # one image at a time; its own threads are another thing
                processes=True,
                memory_limit=_bytes(settings.memory_limit) or "auto",
                dashboard_address=DASHBOARD,
                silence_logs=logging.CRITICAL,  # what concerns an image is told with it
            )
    elif settings.place == SLURM:
        cluster = _slurm(settings)
    else:
        cluster = None
    try:
        try:
            client = distributed.Client(cluster or settings.place, timeout=LONGEST_WAIT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise BackendError(
                f"No Dask scheduler answers at {settings.place} ({error}). Start it, and workers of one thread each.",
                shell="That is 'dask scheduler', and 'dask worker ADDRESS --nthreads 1'.",
            ) from error
        with client:
            yield client
    finally:
        if cluster is not None:
            with suppress(TimeoutError):
                cluster.close(timeout=10)


def _slurm(settings: ClusterSettings) -> Any:
    if shutil.which("sbatch") is None:
        raise BackendError("There is no sbatch on this computer, so no jobs of Slurm can be begun. Go to a login node.")
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(**slurm_settings(settings))
    cluster.scale(jobs=settings.workers or 1)
    return cluster


def slurm_settings(settings: ClusterSettings) -> dict[str, Any]:
    """What a job of Slurm asks for; queue, account, time and the like come from Dask's ``jobqueue.yaml``."""
    threads = settings.threads or 1
    return {
        "cores": 1,  # images at a time
        "processes": 1,
        "job_cpu": threads,
        "memory": settings.memory_limit or USUAL_SLURM_MEMORY,
        "worker_extra_args": ["--no-dashboard"],
    }


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except (ValueError, KeyError) as error:
        raise SpecError(f"The memory limit should be like 8GB or 512MiB; found {shown(text)}.") from error
