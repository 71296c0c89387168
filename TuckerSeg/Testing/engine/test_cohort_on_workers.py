"""A cohort on real processes of Dask, of which some are killed while they work."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

distributed = pytest.importorskip("distributed", reason="needs dask.distributed, of the cohort extra")

import dask  # noqa: E402

from Testing.engine.cohort_inputs import labels_of, write_cts  # noqa: E402
from TuckerSegLib.cohort import cluster, dask_run  # noqa: E402
from TuckerSegLib.cohort.case_record import read_record, record_path  # noqa: E402
from TuckerSegLib.cohort.case_run import failure  # noqa: E402
from TuckerSegLib.cohort.cases import cases_of  # noqa: E402
from TuckerSegLib.cohort.cluster import ClusterSettings, slurm_settings  # noqa: E402
from TuckerSegLib.cohort.dask_run import run_on_cluster  # noqa: E402
from TuckerSegLib.cohort.plan import plan_cohort  # noqa: E402
from TuckerSegLib.cohort.run import run_cohort  # noqa: E402
from TuckerSegLib.errors import BackendError, DependencyError, ImageError, OutOfMemoryError, SpecError  # noqa: E402
from TuckerSegLib.jobs.warm_runs import Runs  # noqa: E402
from TuckerSegLib.monitor import Monitor  # noqa: E402
from TuckerSegLib.records.job import InferenceSpec, Job, steps_at  # noqa: E402

CASES = 12
PLACE = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture
def job(make_model_folder) -> Job:
    return Job((), model=str(make_model_folder(patch_shape=(16, 16, 16))), inference=PLACE)


def planned(folder: Path, job: Job, out: Path, **more):
    return plan_cohort(cases_of(folder), job, out, monitor=Monitor(), **more)


@pytest.fixture
def forked_workers(monkeypatch):
    """Lets Dask fork its processes from one that has imported PyTorch: they begin in a tenth of a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "TuckerSegLib.cohort.dask_run", "torch"])
    monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", True)
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes as POSIX systems do")
def test_two_workers_are_killed_and_nothing_is_lost(job, tmp_path, forked_workers):
    cts = write_cts(tmp_path / "cts", CASES)
    (cts / "bad.nii.gz").write_bytes(b"no image")
    serial = run_cohort(planned(cts, job, tmp_path / "serial"), Monitor())

    events, killed = [], []

    def listen(event):
        events.append(event)
        done = sum(each["event"] == "case" for each in events)
        if event["event"] == "case" and done in (2, 5):  # while others are worked on
            records = map(read_record, (tmp_path / "out").glob("*.record.json"))
            workers = {int(record.host.rpartition(":")[2]) for record in records} - {*killed, os.getpid()}
            alive = sorted(filter(is_alive, workers))
            os.kill(alive[0], signal.SIGKILL)
            killed.append(alive[0])

    plan = planned(cts, job, tmp_path / "out")
    records = run_on_cluster(plan, ClusterSettings(workers=2, threads=1), Monitor(listen))
    assert len(killed) == 2
    assert [record.name for record in records] == [record.name for record in serial]
    assert [record.state for record in records] == ["failed"] + ["done"] * CASES
    for number in range(CASES):
        name = f"ct{number}.nii.gz"
        np.testing.assert_array_equal(labels_of(tmp_path / "out" / name), labels_of(tmp_path / "serial" / name))
    assert [event["total"] for event in events if event["event"] == "case"] == [CASES + 1] * (CASES + 1)
    assert any("dashboard" in event.get("message", "") for event in events)
    assert len({record.host for record in records}) >= 3, "two workers, and at least one in the place of one of them"
    assert set(planned(cts, job, tmp_path / "out").standing) == {f"ct{number}" for number in range(CASES)}
    left = [path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(("ct", "bad", "cohort"))]
    assert [name for name in left if not name.startswith(".")] == []


@pytest.fixture
def in_process(monkeypatch):
    """Dask with two workers in this process, whose functions a test can replace."""
    made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with made, distributed.Client(made) as client:
        from contextlib import contextmanager

        @contextmanager
        def connected(settings):
            yield client

        monkeypatch.setattr(dask_run, "connected", connected)
        monkeypatch.setattr(dask_run, "FIRST_WAIT_S", 0.01)
        yield client


def test_what_may_pass_is_tried_again_elsewhere_and_what_may_not_is_not(in_process, job, tmp_path, monkeypatch):
    cts = write_cts(tmp_path / "cts", 3)
    real, tries = dask_run.run_case, {}

    def sometimes(plan, runs, monitor):
        places = tries.setdefault(plan.case.name, [])
        places.append(distributed.get_worker().address)
        if plan.case.name == "ct0" and len(places) == 1:
            raise OutOfMemoryError("no memory left")
        if plan.case.name == "ct1":
            raise ZeroDivisionError("never")
        return real(plan, runs, monitor)

    monkeypatch.setattr(dask_run, "run_case", sometimes)
    records = run_on_cluster(planned(cts, job, tmp_path / "out"), ClusterSettings(threads=1), Monitor(), retries=1)
    assert [record.state for record in records] == ["done", "failed", "done"]
    assert {name: len(places) for name, places in tries.items()} == {"ct0": 2, "ct1": 2, "ct2": 1}
    assert len(set(tries["ct0"])) == 2, "on another worker"
    assert "ZeroDivisionError: never" in records[1].message
    assert read_record(record_path(tmp_path / "out", "ct1")).state == "failed"


def test_what_concerns_every_image_ends_the_cohort(in_process, job, tmp_path, monkeypatch):
    cts, begun = write_cts(tmp_path / "cts", 4), []

    def unusable(plan, runs, monitor):
        begun.append(plan.case.name)
        raise BackendError("no such device")

    monkeypatch.setattr(dask_run, "run_case", unusable)
    with pytest.raises(BackendError, match="no such device"):
        run_on_cluster(planned(cts, job, tmp_path / "out"), ClusterSettings(threads=1), Monitor())
    assert begun and not list((tmp_path / "out").iterdir())


def test_the_first_image_calibrates_the_model_for_all(in_process, job, tmp_path, monkeypatch):
    cts, running, seen = write_cts(tmp_path / "cts", 4), set(), []
    lock = threading.Lock()

    def watched(plan, runs, monitor):
        with lock:
            running.add(plan.case.name)
            seen.append(set(running))
        time.sleep(0.2)
        running.discard(plan.case.name)
        return failure(plan, ImageError("not looked at"))

    monkeypatch.setattr(dask_run, "run_case", watched)
    compressed = Job((), model=job.model, inference=PLACE, steps=steps_at(0.5))
    run_on_cluster(planned(cts, compressed, tmp_path / "out"), ClusterSettings(threads=1), Monitor())
    assert seen[0] == {"ct0"} and all("ct0" not in names for names in seen[1:])
    assert max(map(len, seen)) == 2, "the others do not wait for each other"


def test_images_wait_for_a_worker_that_is_free_and_not_for_a_certain_one(in_process, job, tmp_path, monkeypatch):
    cts, scheduler, held = write_cts(tmp_path / "cts", 12), in_process.cluster.scheduler, []

    def watched(plan, runs, monitor):
        for _ in range(1000):
            if len(scheduler.tasks) + len(held) >= 12:  # all are there
                break
            time.sleep(0.01)
        held.append(max(len(worker.processing) for worker in scheduler.workers.values()))
        return failure(plan, ImageError("not looked at"))

    monkeypatch.setattr(dask_run, "run_case", watched)
    run_on_cluster(planned(cts, job, tmp_path / "out"), ClusterSettings(threads=1), Monitor())
    assert len(held) == 12 and max(held) <= 2


def test_each_worker_keeps_its_model_ready(in_process, job, tmp_path, monkeypatch):
    cts, made = write_cts(tmp_path / "cts", 5), []
    monkeypatch.setattr(dask_run, "Runs", lambda: made.append(1) or Runs())
    run_on_cluster(planned(cts, job, tmp_path / "out"), ClusterSettings(threads=1), Monitor())
    assert 1 <= len(made) <= 2


def test_the_command_line_runs_a_cohort_on_workers(in_process, run_here, job, tmp_path):
    cts, out = write_cts(tmp_path / "cts", 2), tmp_path / "out"
    place = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1, "--json")
    words = ("segment", cts, out, "--model", job.model, *place)
    more = ("--cluster", "local", "--workers", 2, "--memory-limit", "2GB", "--retries", 0)
    states = [json.loads(line).get("state") for line in run_here(*words, *more).splitlines()]
    assert states.count("done") == 2
    states = [json.loads(line).get("state") for line in run_here(*words).splitlines()]
    assert states.count("skipped") == 2, "whoever did them"
    run_here(*words, "--workers", 2, code=1)
    run_here(*words, "--cluster", "nowhere", code=1)
    run_here(*words, "--cluster", "local", "--retries", -1, code=1)


def test_workers_have_the_memory_that_was_said_and_are_set_up_for_long_tasks(forked_workers):
    with cluster.connected(ClusterSettings(workers=1, threads=1, memory_limit="1GB")) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [(worker["memory_limit"], worker["nthreads"]) for worker in workers] == [(10**9, 1)]
        (told,) = client.run(lambda: [dask.config.get(name) for name in cluster.LONG_TASKS]).values()
        assert told == list(cluster.LONG_TASKS.values())
        assert client.cluster.scheduler.WORKER_SATURATION == 1.0
    assert dask.config.get("distributed.worker.profile.enabled"), "others keep what they had"


def test_an_image_that_ends_its_workers_is_a_failure_with_that_reason():
    class Future:
        status = "error"

        def exception(self):
            return distributed.KilledWorker("task", type("Worker", (), {"address": "tcp://x:1"})(), 3)

    outcome = dask_run._outcome(Future())
    assert outcome.record is None and outcome.worker == "tcp://x:1"
    assert isinstance(outcome.error, OutOfMemoryError) and "ended 4 times" in str(outcome.error)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"place": "elsewhere"}, "address of a Dask scheduler"),
        ({"workers": 0}, "workers should be from 1"),
        ({"place": "tcp://x:1", "memory_limit": "8GB"}, "limits of memory of their own"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        ClusterSettings(**settings)


def test_a_memory_limit_that_is_none_is_told():
    with pytest.raises(SpecError, match="like 8GB"), cluster.connected(ClusterSettings(memory_limit="much")):
        pass


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "LONGEST_WAIT_S", 0.2)
    with (
        pytest.raises(BackendError, match="No Dask scheduler answers"),
        cluster.connected(ClusterSettings("tcp://127.0.0.1:9")),
    ):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="distributed"):
        ClusterSettings().require_packages()


def test_a_job_of_slurm_is_asked_for_as_said(monkeypatch):
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue, of the cohort extra")
    settings = ClusterSettings("slurm", workers=3, threads=4, memory_limit="12GB")
    made = jobqueue.SLURMCluster(**slurm_settings(settings))
    try:
        script = made.job_script()
    finally:
        made.close()
    assert "#SBATCH --cpus-per-task=4" in script and "#SBATCH --mem=12G" in script
    assert "--nthreads 1" in script
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BackendError, match="sbatch"), cluster.connected(settings):
        pass
