"""Images through a server: read here, computed there, written here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .. import image
from ..errors import ImageError, OutOfMemoryError, ServerError, TuckerSegError
from ..jobs.run import check_files, read_volume
from ..models.resolved_job import ResolvedJob, resolve
from ..monitor import Monitor
from ..outputs import write_outputs
from ..outputs.extras import write_extras
from ..records.job import Job
from ..records.protocol import FINAL_EVENTS
from ..records.serialization import from_json, to_json
from ..records.server_address import Address
from ..records.statistics import RunStatistics
from ..segmentation.segment import SegmentationResult
from .connection import ServerConnection, declared
from .wire import VOXEL_TYPES

NUMBER = 1  # of the only request of a connection
OF_AN_IMAGE = {each.__name__: each for each in (ImageError, OutOfMemoryError)}  # another one may do well


class RemoteRuns:
    """Runs jobs on a server; what stays ready between them stays there. Takes the place of ``jobs.warm_runs.Runs``.

    Args:
        address: Of the server.
        token: Of the server; None: none.
    """

    def __init__(self, address: Address, token: bytes | None):
        self._address, self._token = address, token

    def segment_file(self, resolved: ResolvedJob, monitor: Monitor) -> SegmentationResult:
        """A job from file to file; see :func:`run_on_server`."""
        return self.run(resolved.job, monitor)

    def run(
        self, job: Job, monitor: Monitor, on_connection: Callable[[ServerConnection], None] | None = None
    ) -> SegmentationResult:
        """The same; ``on_connection`` is given the connection, which ends the run when it is closed."""
        return run_on_server(self._address, self._token, job, monitor, on_connection)

    def close(self) -> None:
        """Nothing is held here."""


def run_on_server(
    address: Address,
    token: bytes | None,
    job: Job,
    monitor: Monitor,
    on_connection: Callable[[ServerConnection], None] | None = None,
) -> SegmentationResult:
    """Do a job on a server; its images and outputs are files here, its model is one of the server's by name.

    Args:
        monitor: Hears of the events; a run that is interrupted here is ended there, as its connection is closed.
        on_connection: Is given the connection; whoever closes it ends the run.

    Raises:
        ServerError: The server cannot be reached, refuses, or has an error of its own.
        TuckerSegError: See ``jobs.run.run_job``.
    """
    check_files(job)
    resolved = resolve(job)
    connection = ServerConnection(address, token)  # before the image is read, which may take long
    try:
        if on_connection is not None:
            on_connection(connection)
        with monitor.stage("read"):
            volume = read_volume(resolved)
        if len(volume.array) != 1:
            raise ImageError(f"A server takes images of one channel; {volume.source} has {len(volume.array)}.")
        final = _answer(connection, _without_files(job), volume, monitor)
    finally:
        connection.close()
    result = _result(final, volume)
    with monitor.warnings_noted(), monitor.stage("write"):
        write_outputs(result, resolved)
        write_extras(result, job, volume)
    return result


def _without_files(job: Job) -> Job:
    """What the server has to know; names of files here may be those of patients."""
    job = replace(job, images=(), output=None, outputs=(), timepoint=None, series=None)
    return replace(job, structure_statistics=None, preview=False)


def _answer(connection: ServerConnection, job: Job, volume: image.Image, monitor: Monitor) -> dict:
    """The event that ends the run."""
    voxels = volume.array[0] if volume.array.dtype.name in VOXEL_TYPES else volume.array[0].astype(np.float32)
    connection.request(NUMBER, "segment", job=to_json(job), volume=declared(voxels, volume.geometry.matrix))
    for event in connection.events():
        kind = event["event"]
        if kind == "upload":
            threading.Thread(target=_send, args=(connection, voxels), daemon=True).start()
            monitor.tell("stage", stage="hand over")
        elif kind in FINAL_EVENTS or (kind == "error" and event["id"] is None):
            if kind != "result":
                raise OF_AN_IMAGE.get(event.get("kind"), ServerError)(f"{connection.address}: {_words(event)}")
            return event
        elif event["id"] == NUMBER:
            monitor.tell(kind, **{name: value for name, value in event.items() if name not in ("event", "id")})
        monitor.check()
    raise ServerError(f"The connection to {connection.address} ended before the result came. Try again.")


def _send(connection: ServerConnection, voxels: np.ndarray) -> None:
    """Beside the events, so that an error in between is heard; a lost connection is told by them."""
    try:
        for _ in connection.upload(NUMBER, voxels):
            pass
    except TuckerSegError:
        connection.close()


def _words(event: dict) -> str:
    if event["event"] != "error":
        return "the run was ended there."
    return " ".join(filter(None, (event["message"], event.get("advice", ""))))


def _result(event: dict, volume: image.Image) -> SegmentationResult:
    """The event as a run here would give it.

    Raises:
        ServerError: It does not fit the volume.
    """
    try:
        statistics = replace(from_json(RunStatistics, event["statistics"]), volume=volume.source)
        names = {int(value): str(name) for value, name in event["label_names"].items()}
        labels, shape = event["labels"], volume.geometry.shape
        whole = np.zeros(shape, np.uint8 if labels is None else labels["voxels"].dtype.newbyteorder("="))
        if labels is not None:
            part = tuple(slice(first, last) for first, last in zip(labels["lower"], labels["upper"]))
            if whole[part].shape != labels["voxels"].shape:
                raise ValueError(f"{labels['voxels'].shape} voxels do not fit into {shape}")
            whole[part] = labels["voxels"]
    except (KeyError, TypeError, ValueError, AttributeError, TuckerSegError) as error:
        raise ServerError(f"What the server sent is no result of this volume ({error}).") from error
    return SegmentationResult(whole, volume.geometry, names, statistics)
