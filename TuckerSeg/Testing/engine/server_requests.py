"""Requests of clients of a server, and what they wait for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from Testing.engine.serving_inputs import RunningServer, playing_worker
from TuckerSegLib import Job
from TuckerSegLib.records.serialization import to_json
from TuckerSegLib.serving.client_session import Limits
from TuckerSegLib.serving.server import ServerSettings

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
TOKEN = b"0123456789abcdef-not-secret"
QUICK = Limits(greeting_s=0.3, line_s=0.3, idle_s=600, stall_s=30, refusal_s=0.0)


def job(model: str = "demo", **fields) -> dict:
    return to_json(Job((), model=model, **fields))


def wait_for(condition, within_s: float = 60) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def segments_well(server, client=None) -> bool:
    """Whether a client that speaks as it should gets its labels; then nothing of it is left."""
    client = client or server.client()
    event = client.until(client.begin("segment", VOXELS, AFFINE, job=job("quick")), "result")
    wait_for(lambda: server.files() == [] and server.server.room.taken_bytes == 0)
    return event["labels"]["voxels"].shape == (2, 3, 4) and bool(event["labels"]["voxels"].all())


@contextlib.contextmanager
def played_servers(folder: Path, models: Path) -> Iterator[Callable[..., RunningServer]]:
    """A function that starts a server whose worker is played; models of these names are there."""
    for name in ("hold", "deaf", "die", "quick"):
        (models / "imported" / name).mkdir(parents=True)
    python, servers = playing_worker(folder), []

    def start(**settings) -> RunningServer:
        settings = {"port": 0, "python": str(python), "folder": folder, "limits": QUICK, **settings}
        servers.append(RunningServer(ServerSettings(**settings)))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.stop()
