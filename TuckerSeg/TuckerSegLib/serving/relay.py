"""A worker that lets a server compute: requests of the application go there, events and labels come back.

The application sees no difference: volumes and labels pass through files here, and bytes through the connection.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ServerError, TuckerSegError
from ..files.atomic_writes import written_whole
from ..records.protocol import FINAL_EVENTS, PROTOCOL_VERSION, BoxFile, VolumeFile, event_line
from ..records.serialization import from_json, to_json
from ..records.server_address import Address
from ..worker.process import protocol_streams
from ..worker.requests import RequestError, lines_of, read_request
from .connection import ServerConnection, declared
from .file_requests import OF_FILES, FileRequests
from .remote_run import RemoteRuns
from .wire import read_token

Event = dict[str, Any]


@dataclass
class OpenRequest:
    """A request that the server has: its volume and the file for its labels, where it has them."""

    voxels: np.ndarray | None = None
    volume_name: str = ""
    labels: str = ""


class Relay:
    """Reads requests until its input ends. The connection is made with the first, and again after it was lost.

    Args:
        workspace: Folder of the application for files that pass; removed at the end.
        address: Of the server.
        token_file: With its token; None: none.
    """

    def __init__(self, workspace: Path, address: Address, token_file: str | None):
        self._workspace, self._address, self._token_file = workspace, address, token_file
        self._input, self._output = protocol_streams()
        self._connection: ServerConnection | None = None
        self._open: dict[int, OpenRequest] = {}
        self._files = FileRequests(lambda: RemoteRuns(address, self._token()), self._tell, self._fail)
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def run(self) -> None:
        """Serve the application until its input ends."""
        self._tell(None, "ready", pid=os.getpid(), protocol=PROTOCOL_VERSION)
        try:
            for line in lines_of(self._input):
                try:
                    request = read_request(line)
                except RequestError as error:
                    self._tell(None, "log", message=f"This is no request, and was passed over: {error}")
                    continue
                if request["request"] == "shutdown":
                    break
                self._pass_on(request)
        finally:
            if self._connection is not None:
                self._connection.close()
            shutil.rmtree(self._workspace, ignore_errors=True)

    def _pass_on(self, request: Event) -> None:
        kind = request["request"]
        number = request["target"] if kind == "cancel" else request["id"]
        try:
            if kind in OF_FILES:
                self._files.begin(request)
                return
            if kind == "cancel":
                if not self._files.cancel(number) and number in self._open:
                    self._connected().request(0, "cancel", target=number)
                return
            open_request, fields = _for_server(request)
            connection = self._connected()
            self._open[number] = open_request
            connection.request(number, kind, **fields)
        except Exception as error:  # whatever a request has for fields, the next one is served
            self._fail(number, error)

    def _token(self) -> bytes | None:
        return read_token(self._token_file) if self._token_file else None

    def _connected(self) -> ServerConnection:
        with self._lock:
            if self._connection is None:
                self._connection = ServerConnection(self._address, self._token())
                threading.Thread(target=self._listen, args=(self._connection,), daemon=True).start()
            return self._connection

    def _listen(self, connection: ServerConnection) -> None:
        words = f"The connection to {self._address} ended. Try again."
        try:
            for event in connection.events():
                if event["id"] is None and event["event"] == "error":
                    words = f"{self._address}: {event['message']}"
                elif event["id"] in self._open:
                    self._take(connection, event)
        except Exception as error:  # whatever a server says, those who wait are told
            words = str(error) if isinstance(error, TuckerSegError) else f"{words} ({type(error).__name__}: {error})"
        connection.close()
        with self._lock:
            self._connection = None
        for number in list(self._open):
            self._fail(number, ServerError(words))

    def _take(self, connection: ServerConnection, event: Event) -> None:
        number, kind = event["id"], event["event"]
        if kind == "upload":
            threading.Thread(target=self._send, args=(connection, number), daemon=True).start()
            self._tell(number, "stage", stage="hand over")
            return
        if kind == "result":
            try:
                event = _with_files(event, self._open[number])
            except Exception as error:  # the disk is full, or the labels are none
                self._fail(number, error)
                return
        if kind in FINAL_EVENTS:
            self._open.pop(number, None)
        self._tell(number, kind, **{name: value for name, value in event.items() if name not in ("id", "event")})

    def _send(self, connection: ServerConnection, number: int) -> None:
        request = self._open.get(number)
        if request is None or request.voxels is None:
            return
        try:
            for _ in connection.upload(number, request.voxels):
                if number not in self._open:  # cancelled meanwhile
                    return
        except (TuckerSegError, OSError, ValueError):
            connection.close()  # whoever listens tells of it

    def _fail(self, number: int, error: Exception) -> None:
        self._open.pop(number, None)
        known = isinstance(error, TuckerSegError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        self._tell(number, "error", kind=type(error).__name__, message=message, advice="")

    def _tell(self, number: int | None, event: str, /, **fields: Any) -> None:
        with self._writing:
            self._output.write(event_line(number, event, **fields).encode())
            self._output.flush()


def _for_server(request: Event) -> tuple[OpenRequest, Event]:
    """What is kept of a request here, and its fields for the server: voxels in place of names of files."""
    fields = {name: value for name, value in request.items() if name not in ("id", "request", "labels")}
    if "volume" not in request:
        return OpenRequest(), fields
    file = from_json(VolumeFile, request["volume"])
    voxels = np.load(file.path, mmap_mode="r")
    return OpenRequest(voxels, file.name, str(request.get("labels", ""))), {
        **fields,
        "volume": declared(voxels, file.affine),
    }


def _with_files(event: Event, request: OpenRequest) -> Event:
    """A result as the application awaits it: labels in its file, and the volume under its own name."""
    labels, statistics = event.get("labels"), event.get("statistics")
    if request.labels and labels is not None:
        with written_whole(request.labels, labels["voxels"].nbytes) as beside:
            np.save(beside, labels["voxels"])
        event = {**event, "labels": to_json(BoxFile(request.labels, tuple(labels["lower"]), tuple(labels["upper"])))}
    if isinstance(statistics, dict) and "volume" in statistics:
        event = {**event, "statistics": {**statistics, "volume": request.volume_name}}
    return event
