"""The worker as an application starts it, and a volume to give it."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, Job
from TuckerSegLib.protocol import FINAL_EVENTS, VolumeFile, parse_event, request_line
from TuckerSegLib.records import to_json

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
AFFINE = ((-2.0, 0.0, 0.0, 30.0), (0.0, 2.5, 0.0, -40.0), (0.0, 0.0, 3.0, 5.0), (0.0, 0.0, 0.0, 1.0))


class RunningWorker:
    """A worker process, its requests and its events."""

    def __init__(self, workspace: Path, *options: str, code: str | None = None, environment: dict | None = None):
        self.workspace = workspace
        self.said: list[dict[str, Any]] = []
        self._number = 0
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        program = ["-c", code] if code else ["-m", "TuckerSegLib"]
        self.process = subprocess.Popen(
            [sys.executable, *program, "worker", "--workspace", str(workspace), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=LIBRARY_FOLDER,
            env={**os.environ, **(environment or {})},
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, kind: str, **fields: Any) -> int:
        """Send a request; returns its id."""
        self._number += 1
        self.write(request_line(self._number, kind, **fields))
        return self._number

    def write(self, text: str) -> None:
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def until(self, number: int | None, *kinds: str) -> dict[str, Any]:
        """The next event of these kinds for a request; what comes before it is in ``said``."""
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            event = self._events.get(timeout=ends_at - time.monotonic())
            assert event is not None, f"the worker ended with {self.process.wait()}; it said {self.said[-5:]}"
            self.said.append(event)
            if event["id"] == number and event["event"] in kinds:
                return event

    def answer(self, number: int) -> dict[str, Any]:
        """The event that ends a request."""
        return self.until(number, *FINAL_EVENTS)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return the event that ends it."""
        return self.answer(self.send(kind, **fields))

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._events.put(parse_event(line.decode()))
        self._events.put(None)


@pytest.fixture
def start_worker(tmp_path):
    """A function that starts a worker; all are ended with the test."""
    workers: list[RunningWorker] = []

    def start(*options: str, **settings: Any) -> RunningWorker:
        workspace = tmp_path / f"workspace-{len(workers)}"
        workspace.mkdir()
        workers.append(RunningWorker(workspace, *options, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()


@dataclass(frozen=True, eq=False)
class HandedVolume:
    """A volume as an application hands it over: voxels (Z, Y, X), and the record with its file."""

    voxels: np.ndarray
    file: VolumeFile

    @property
    def document(self) -> dict[str, Any]:
        return to_json(self.file)


@pytest.fixture
def hand_over(tmp_path):
    """A function that writes smooth noise in the range of HU, of a shape and affine, for the worker."""

    def write(shape=(40, 36, 44), affine=AFFINE, name="noise") -> HandedVolume:
        coarse = np.random.default_rng(sum(shape)).normal(size=(6, 6, 6)) * 500
        for axis, size in enumerate(shape):
            where = np.linspace(0, 5, size)
            lower = np.minimum(where.astype(int), 4)
            weight = (where - lower).reshape([-1 if other == axis else 1 for other in range(3)])
            coarse = coarse.take(lower, axis) * (1 - weight) + coarse.take(lower + 1, axis) * weight
        voxels = coarse.clip(-1000, 1500).astype(np.int16)
        path = tmp_path / f"{name}.npy"
        np.save(path, voxels)
        return HandedVolume(voxels, VolumeFile(str(path), shape, affine, name, f"{name}-{shape}"))

    return write


@pytest.fixture
def job_for():
    """A function that makes the JSON of a job: a model at a rank ratio; 1 is the original network."""

    def make(model: Path | str, rank_ratio: float = 1.0, **inference: Any) -> dict[str, Any]:
        compression = {} if rank_ratio == 1 else {"method": "tucker", "compression": {"rank_ratio": rank_ratio}}
        return to_json(Job((), model=str(model), inference=InferenceSpec(**inference), **compression))

    return make
