"""The worker as a child process: sends requests, hands out events, and makes sure that nothing of it stays behind.

Knows the protocol's lines and Qt's process; knows nothing of MRML and of what the requests mean.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer

from ...errors import TuckerSegError
from ...records.chosen_servers import ChosenServer
from ...records.protocol import FINAL_EVENTS, MOST_LINE_BYTES, parse_event, request_line, unusable
from ..installation.python_environment import python_environment, python_executable
from .delay import Delay
from .worker_end import describe_end, kill, memory_kills
from .workspace import empty_workspace, keep_workspace, make_workspace, remove_workspace

Event = dict[str, Any]
Listener = Callable[[Event], None]

CANCEL_GRACE_MS = 1500  # what cannot be interrupted by then is killed
STDERR_LINES = 200


@dataclass
class _Request:
    """A request that waits for its last event.

    Attributes:
        line: As it was sent.
        on_lost: Sends it again; None: the line is written again.
        sent_to_idle: Whether the process had been running for a while, so that it may have ended before it read it.
        answered: Whether an event of it has come.
    """

    on_event: Listener
    line: str
    on_lost: Listener | None
    sent_to_idle: bool
    answered: bool = False
    cancelled: bool = False


class WorkerProcess:
    """One worker. It starts with the first request and stays warm until it is stopped or idle.

    A worker may end while it is idle, by itself or killed, just when a request is sent to it. What it has not answered
    with any event by then is sent once more, to a new one.

    Args:
        python: Path of the Python that runs it; None takes :func:`python_executable`.
        on_log: Receives lines of text that belong to no request.
        server: That computes in its place; it then passes everything on.
    """

    def __init__(
        self,
        python: str | None = None,
        on_log: Callable[[str], None] = lambda line: None,
        server: ChosenServer | None = None,
    ):
        self._options = server.options if server else []
        self.python = python or python_executable()
        self.folder = make_workspace()
        self._external = python is not None
        self._on_log = on_log
        self._requests: dict[int, _Request] = {}
        self._next_id = 1
        self._unread = b""
        self._events: deque[Event] = deque()
        self._said: list[str] = []
        self._pid: int | None = None
        self._stopping = False
        self._process: qt.QProcess | None = None
        self._memory_kills_before = 0

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
        return bool(self._requests)

    def start(self) -> None:
        """Start the process, if it does not run yet or has died meanwhile. Returns at once."""
        if self._process is not None and not self._requests:
            self._process.waitForFinished(0)  # Qt may not have looked yet
        self._launch()

    def _launch(self) -> None:
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
        self._memory_kills_before = memory_kills()
        process.start(self.python, ["-m", "TuckerSegLib", "worker", "--workspace", str(self.folder), *self._options])

    def request(self, kind: str, on_event: Listener, on_lost: Listener | None = None, **fields: Any) -> int:
        """Send a request. ``on_event`` receives its events; the last one is one of ``FINAL_EVENTS``.

        Where no process can be started, the last event comes before this returns.

        Args:
            on_lost: Called with the last event instead of sending the request again, where files that it names may
                have gone with the worker; the request is forgotten then.

        Returns:
            The request's id, for :meth:`cancel`.
        """
        number = self._next_id
        self._next_id += 1
        request = _Request(on_event, request_line(number, kind, **fields), on_lost, self._pid is not None)
        self._requests[number] = request  # before the start, which may fail at once
        self._send(number)
        return number

    def _send(self, number: int) -> None:
        failure = self._start_failed("nothing came of it")
        try:
            self._launch()
        except TuckerSegError as error:  # its folder cannot be made, as on a full disk
            failure = {"event": "error", "kind": type(error).__name__, "message": str(error), "advice": ""}
        request = self._requests.get(number)
        if request is None:  # answered by the start, which failed
            return
        if self._process is not None:
            self._write(request.line)
        else:
            self._forget(number)
            request.on_event({"id": number, **failure})

    def cancel(self, number: int) -> None:
        """Ask for the end of a request; a worker that cannot answer in time is killed."""
        request = self._requests.get(number)
        if request is None or request.cancelled:
            return
        self._write(request_line(0, "cancel", target=number))
        request.cancelled = True
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
        if number in self._requests:
            self._stopping = True
            self._kill()

    def _kill(self) -> None:
        """End the process and what it started; a launcher's child is known by the id that it told."""
        process = self._process
        if process is None:
            return
        if self._pid is not None:
            kill(self._pid)
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
        if number is None or number not in self._requests:
            if kind == "log":
                self._on_log(event["message"])
            return
        request = self._requests[number]
        request.answered = True
        listener = request.on_event
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
        self._requests.pop(number, None)

    def _on_start_failed(self, error: Any = None) -> None:
        """Only for a process that never started; one that ends later reports through ``finished``."""
        if self._process is None or self._process.error() != qt.QProcess.FailedToStart:
            return
        self._end(self._start_failed(self._process.errorString()))

    def _start_failed(self, why: str) -> Event:
        return {
            "event": "error",
            "kind": "WorkerError",
            "message": f"{self.python} could not be started ({why}).",
            "advice": "Choose another Python under Advanced, or repair the installation of Slicer.",
        }

    def _on_finished(self, exit_code: int = 0, exit_status: Any = None) -> None:
        if self._process is None:
            return
        self._read()
        self._read_text()
        if self._stopping:
            self._end({"event": "cancelled"})
        else:
            self._end(describe_end(exit_code, self._said, memory_kills() - self._memory_kills_before), lost=True)

    def _end(self, event: Event, lost: bool = False) -> None:
        """The process has gone: tell all who wait, or send again what it has lost."""
        process, self._process, self._pid = self._process, None, None
        process.blockSignals(True)  # until it is deleted, it could end the next one by its signals
        process.deleteLater()
        waiting, self._requests = self._requests, {}
        to_repeat = {
            number: request
            for number, request in waiting.items()
            if lost and request.sent_to_idle and not request.answered and not request.cancelled
        }
        empty_workspace(self.folder)  # half written files, too; who sends again, hands over again
        for number, request in waiting.items():
            if number not in to_repeat:
                request.on_event({"id": number, **({"event": "cancelled"} if request.cancelled else event)})
        for number, request in to_repeat.items():
            if request.on_lost is not None:
                request.on_lost({"id": number, **event})
            else:
                request.sent_to_idle = False  # once is enough
                self._requests[number] = request
                self._send(number)


def _bytes(array: Any) -> bytes:
    data = array.data()
    return data if isinstance(data, bytes) else bytes(data)
