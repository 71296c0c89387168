"""Measure a cohort on workers: images per minute with one and with two, what a case costs beside its run, and kills.

Makes images of the built-in volume, runs them one after the other in this process and then on Dask's workers, of one
thread each, and compares all labels. Needs the extra ``cohort``; on two quiet cores it takes a minute with cubes of 64.

``steady`` is what a worker does from its first image's end to its last one's: without its start, of which every worker
has one however many images there are, and without the last images, when workers have nothing left to do.

    python tools/measure_cohort.py --cases 40 --kill 2 --size 64 --out cohort-measured
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from pathlib import Path

import nibabel
import numpy as np

from TuckerSegLib.catalog.resources import DEMO_VOLUME
from TuckerSegLib.cohort.case_record import CaseRecord, read_record, record_path
from TuckerSegLib.cohort.cases import cases_of
from TuckerSegLib.cohort.cluster import ClusterSettings
from TuckerSegLib.cohort.dask_run import run_on_cluster
from TuckerSegLib.cohort.plan import CohortPlan, plan_cohort
from TuckerSegLib.cohort.run import run_cohort
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.records.job import InferenceSpec, Job

FIRST_KILL, BETWEEN_KILLS = 4, 8  # cases that are done before
COLUMNS = (
    "run", "workers", "cases", "seconds", "start_s", "images_per_minute", "steady_images_per_minute",
    "beside_the_run_s", "steady_beside_the_run_s", "processor_s_per_image", "killed", "equal",
)  # fmt: skip


def write_images(folder: Path, count: int, size: int | None) -> Path:
    """Copies of the built-in volume with noise of their own; of a size, cubes of so many voxels from its middle."""
    folder.mkdir(parents=True, exist_ok=True)
    source = nibabel.load(DEMO_VOLUME)
    values = np.asarray(source.dataobj)
    if size is not None:
        values = values[tuple(slice(max(0, (length - size) // 2), (length + size) // 2) for length in values.shape)]
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 10, values.shape)
        noisy = np.clip(values + noise, -1024, 3000).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(noisy, source.affine), folder / f"case{number:03d}.nii.gz")
    return folder


class Watch:
    """Notes when the first case can begin and when each ended, and kills workers on the way."""

    def __init__(self, plan: CohortPlan, kills: int = 0):
        self._plan, self._kills_left = plan, kills
        self.began = self.ready = time.perf_counter()
        self.ended: dict[str, float] = {}
        self._processor_s = processor_seconds()
        self.killed: list[int] = []

    def __call__(self, event: dict) -> None:
        if event["event"] == "log":
            self.ready = time.perf_counter()
        if event["event"] != "case":
            return
        self.ended[event["case"]] = time.perf_counter()
        if not self._kills_left:
            return
        if event["number"] < FIRST_KILL + BETWEEN_KILLS * len(self.killed):
            return
        host = read_record(record_path(self._plan.folder, event["case"])).host
        process = int(host.rpartition(":")[2])
        if process not in self.killed:
            os.kill(process, signal.SIGKILL)
            self.killed.append(process)
            self._kills_left -= 1

    def processor_s(self) -> float:
        """Of this process and of those that it began and that have ended, since the beginning."""
        return processor_seconds() - self._processor_s


def processor_seconds() -> float:
    """Of this process, and of those that it began and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def steady(records: list[CaseRecord], watch: Watch) -> tuple[float, float]:
    """Seconds of a worker per case after its first one, and how many of them are not its run's."""
    seconds, runs_s, cases = 0.0, 0.0, 0
    for host in {record.host for record in records}:
        own = sorted((record for record in records if record.host == host), key=lambda record: watch.ended[record.name])
        seconds += watch.ended[own[-1].name] - watch.ended[own[0].name]
        runs_s += sum(run_seconds(record) for record in own[1:])
        cases += len(own) - 1
    return (seconds / cases, (seconds - runs_s) / cases) if cases else (float("nan"), float("nan"))


def run_seconds(record: CaseRecord) -> float:
    """Of a case's run, from the image to the files."""
    return record.statistics.seconds["total"] if record.statistics else 0.0


def row(name: str, workers: int, records: list[CaseRecord], watch: Watch, equal: bool) -> dict:
    """Numbers of a run; what a case costs beside its run is the time of all workers without that of the runs."""
    seconds = max(watch.ended.values()) - watch.ready
    steady_s, steady_beside_s = steady(records, watch)
    return {
        "run": name,
        "workers": workers,
        "cases": len(records),
        "seconds": round(seconds, 2),
        "start_s": round(watch.ready - watch.began, 2),
        "images_per_minute": round(60 * len(records) / seconds, 2),
        "steady_images_per_minute": round(60 * workers / steady_s, 2),
        "beside_the_run_s": round((seconds * workers - sum(map(run_seconds, records))) / len(records), 3),
        "steady_beside_the_run_s": round(steady_beside_s, 3),
        "processor_s_per_image": round(watch.processor_s() / len(records), 3),
        "killed": len(watch.killed),
        "equal": equal,
    }


def same_labels(records: list[CaseRecord], one: str, other: str) -> bool:
    """Whether all cases are done, with equal labels in both folders."""
    if any(record.state != "done" for record in records):
        return False
    names = [record.outputs[0].name for record in records]
    return all(
        np.array_equal(*(np.asarray(nibabel.load(Path(folder, name)).dataobj) for folder in (one, other)))
        for name in names
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--kill", type=int, default=2, help="workers that are killed in a run of its own")
    parser.add_argument("--size", type=int, help="voxels of each edge (default: the whole volume)")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--out", type=Path, default=Path("cohort-measured"))
    options = parser.parse_args()
    images = write_images(options.out / "images", options.cases, options.size)
    job = Job((), model=options.model, inference=InferenceSpec(threads=1))
    rows = []

    def measured(name: str, workers: int, kills: int = 0) -> None:
        folder = options.out / name
        shutil.rmtree(folder, ignore_errors=True)
        plan = plan_cohort(cases_of(images), job, folder, monitor=Monitor())
        watch = Watch(plan, kills)
        if workers:
            settings = ClusterSettings(workers=workers, threads=1)
            records = run_on_cluster(plan, settings, Monitor(watch))
        else:
            records = run_cohort(plan, Monitor(watch))
        numbers = row(name, workers or 1, records, watch, equal=True)
        numbers["equal"] = same_labels(records, str(options.out / "serial"), str(folder))
        rows.append(numbers)
        print(json.dumps(numbers), flush=True)

    measured("serial", 0)
    measured("one-worker", 1)
    measured("two-workers", 2)
    if options.kill:
        measured("killed", 2, options.kill)
    gain, steady_gain = (
        rows[2][column] / rows[1][column] for column in ("images_per_minute", "steady_images_per_minute")
    )
    print(" | ".join(COLUMNS))
    for numbers in rows:
        print(" | ".join(str(numbers[column]) for column in COLUMNS))
    print(f"Two workers: {gain:.2f} times the images of one; {steady_gain:.2f} times without start and end.")
    measured_here = {"rows": rows, "gain": gain, "steady_gain": steady_gain}
    (options.out / "measured.json").write_text(json.dumps(measured_here, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
