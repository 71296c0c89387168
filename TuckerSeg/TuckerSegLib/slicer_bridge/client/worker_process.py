"""The worker as a child process: sends requests, hands out events, and makes sure that nothing of it stays behind.

Knows the protocol's lines and Qt's process; knows nothing of MRML and of what the requests mean.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer

from ...errors import TuckerSegError
from ...records.protocol import FINAL_EVENTS, MOST_LINE_BYTES, parse_event, request_line, unusable
from ..installation.python_environment import python_environment, python_executable
from .delay import Delay
from .workspace import empty_workspace, keep_workspace, make_workspace, remove_workspace

Event = dict[str, Any]
Listener = Callable[[Event], None]

CANCEL_GRACE_MS = 1500  # what cannot be interrupted by then is killed
STDERR_LINES = 200


class WorkerProcess:
    """One worker. It starts with the first request and stays warm until it is stopped or idle.

    Args:
        python: Path of the Python that runs it; None takes :func:`python_executable`.
        on_log: Receives lines of text that belong to no request.
    """

    def __init__(self, python: str | None = None, on_log: Callable[[str], None] = lambda line: None):
        self.python = python or python_executable()
        self.folder = make_workspace()
        self._external = python is not None
        self._on_log = on_log
        self._listeners: dict[int, Listener] = {}
        self._next_id = 1
        self._unread = b""
        self._events: deque[Event] = deque()
        self._said: list[str] = []
        self._pid: int | None = None
        self._stopping = False
        self._process: qt.QProcess | None = None
        self._cancelled: set[int] = set()

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Id of the worker's own process, once it has told; not that of a launcher before it."""
        return self._pid

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._listeners)

    def start(self) -> None:
        """Start the process, if it does not run yet. Returns at once."""
        if self._process is not None:
            return
        keep_workspace(self.folder)
        self._unread, self._said, self._pid, self._stopping = b"", [], None, False
        process = qt.QProcess(slicer.app)  # without a parent it would be deleted while its own signal is handled
        process.setProcessEnvironment(python_environment(self._external))
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("readyReadStandardError()", self._read_text)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_start_failed)
        self._process = process
        process.start(self.python, ["-m", "TuckerSegLib", "worker", "--workspace", str(self.folder)])

    def request(self, kind: str, on_event: Listener, **fields: Any) -> int:
        """Send a request. ``on_event`` receives its events; the last one is one of ``FINAL_EVENTS``.

        Returns:
            The request's id, for :meth:`cancel`.
        """
        number = self._next_id
        self._next_id += 1
        try:
            self.start()
        except TuckerSegError as error:  # its folder cannot be made, as on a full disk
            answer = {"id": number, "event": "error", "kind": type(error).__name__, "message": str(error), "advice": ""}
            qt.QTimer.singleShot(0, lambda: on_event(answer))
            return number
        self._listeners[number] = on_event
        self._write(request_line(number, kind, **fields))
        return number

    def cancel(self, number: int) -> None:
        """Ask for the end of a request; a worker that cannot answer in time is killed."""
        if number not in self._listeners or number in self._cancelled:
            return
        self._write(request_line(0, "cancel", target=number))
        self._cancelled.add(number)
        Delay(CANCEL_GRACE_MS, lambda: self._give_up(number)).start()

    def wait(self, milliseconds: int = 50) -> None:
        """Let events in, for a script that has no event loop of its own."""
        slicer.app.processEvents()
        if self._process is not None:
            self._process.waitForReadyRead(milliseconds)

    def stop(self) -> None:
        """End the process and remove its files. Requests that still wait are answered with ``cancelled``."""
        if self._process is not None:
            self._stopping = True
            self._kill()
        remove_workspace(self.folder)

    def _give_up(self, number: int) -> None:
        if number in self._listeners:
            self._stopping = True
            self._kill()

    def _kill(self) -> None:
        """End the process and what it started; a launcher's child is known by the id that it told."""
        process = self._process
        if self._pid is not None:
            _kill_tree(self._pid)
        process.kill()
        process.waitForFinished(2000)
        if self._process is process:  # where the signal did not come
            self._on_finished(-1)

    def _write(self, line: str) -> None:
        if self._process is not None:
            self._process.write(line.encode("utf-8"))

    def _read(self) -> None:
        self._unread += _bytes(self._process.readAllStandardOutput())
        *lines, self._unread = self._unread.split(b"\n")
        self._unread = self._unread[: MOST_LINE_BYTES + 1]  # of a line that is too long, the rest is let go
        whole = [line.decode("utf-8", "replace") for line in lines if len(line) <= MOST_LINE_BYTES]
        if len(whole) < len(lines):
            self._on_log(f"The worker sent a line of more than {MOST_LINE_BYTES / 1e6:.0f} MB; it was passed over.")
        events = map(parse_event, whole)
        self._events += [event for event in events if event is not None]
        self._drain()

    def _drain(self) -> None:
        """Hand out what has come. Should a listener fail, the others still get theirs."""
        try:
            while self._events:
                self._dispatch(self._events.popleft())
        finally:
            if self._events:
                qt.QTimer.singleShot(0, self._drain)

    def _read_text(self) -> None:
        text = _bytes(self._process.readAllStandardError()).decode("utf-8", "replace")
        for line in filter(None, (part.strip() for part in text.splitlines())):
            self._said = [*self._said[-STDERR_LINES:], line]
            self._on_log(line)

    def _dispatch(self, event: Event) -> None:
        number, kind = event["id"], event["event"]
        if kind == "ready":
            self._pid = event["pid"]
        if number is None or number not in self._listeners:
            if kind == "log":
                self._on_log(event["message"])
            return
        listener = self._listeners[number]
        if kind in FINAL_EVENTS:
            self._forget(number)
        try:
            listener(event)
        except Exception as error:  # an answer of another shape than expected fails anywhere
            if kind == "error":
                raise
            self._forget(number)
            self._write(request_line(0, "cancel", target=number))
            why = f"{type(error).__name__}: {error}"
            listener({**unusable(event, why), "details": traceback.format_exc()})

    def _forget(self, number: int) -> None:
        self._listeners.pop(number, None)
        self._cancelled.discard(number)

    def _on_start_failed(self, error: Any = None) -> None:
        """Only for a process that never started; one that ends later reports through ``finished``."""
        if self._process is None or self._process.error() != qt.QProcess.FailedToStart:
            return
        self._end(
            {
                "event": "error",
                "kind": "WorkerError",
                "message": f"{self.python} could not be started ({self._process.errorString()}).",
                "advice": "Choose another Python under Advanced, or repair the installation of Slicer.",
            }
        )

    def _on_finished(self, exit_code: int = 0, exit_status: Any = None) -> None:
        if self._process is None:
            return
        self._read()
        self._read_text()
        if self._stopping:
            self._end({"event": "cancelled"})
        else:
            self._end(_describe_end(exit_code, self._said))

    def _end(self, event: Event) -> None:
        process, self._process = self._process, None
        process.blockSignals(True)  # until it is deleted, it could end the next one by its signals
        process.deleteLater()
        waiting = dict(self._listeners)
        for number in waiting:
            self._forget(number)
        empty_workspace(self.folder)
        for number, listener in waiting.items():
            listener({"id": number, **event})


def _describe_end(exit_code: int, said: Sequence[str]) -> Event:
    """The error event for a worker that crashed: its last words, and what the user can do."""
    last = said[-1] if said else ""
    out_of_memory = exit_code in (9, 137) or "MemoryError" in last or "bad_alloc" in last
    if out_of_memory:
        message = "The computer ran out of memory, and the system ended the run."
        advice = "Close other programs, compress more, or crop the volume; then press Segment again."
    else:
        message = f"The worker process ended unexpectedly (exit code {exit_code}). {last}".strip()
        advice = "Press Segment to try again. If it happens again, choose another device, and report the log."
    return {"event": "error", "kind": "WorkerError", "message": message, "advice": advice, "details": "\n".join(said)}


def _kill_tree(pid: int) -> None:
    """The worker starts no processes; Slicer's launcher of Python, which is its parent, ends with it."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        else:
            os.kill(pid, signal.SIGKILL)


def _bytes(array: Any) -> bytes:
    data = array.data()
    return data if isinstance(data, bytes) else bytes(data)
