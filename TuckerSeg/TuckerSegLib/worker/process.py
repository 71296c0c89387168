"""The worker's process: lines in, lines out, two lanes of work, and a certain end.

Standard output belongs to the protocol alone; whatever a library prints goes to standard error. The process ends when
its input ends, which is what the operating system does to it when the application is gone, however that went.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Cancelled, TuckerSegError
from ..protocol import LATEST_WINS, PROTOCOL_VERSION, event_line
from ..statistics import versions
from .advice import advice_for

Request = dict[str, Any]
NICENESS = 5  # below what the user works with


class Work:
    """A request that was accepted, and whether it is still wanted."""

    def __init__(self, request: Request):
        self.request, self.number, self.kind = request, request["id"], request["request"]
        self.cancelled = threading.Event()
        self.dropped = False


class Lane:
    """Requests that are done one after the other, by one thread."""

    def __init__(self):
        self._queue: queue.Queue[Work] = queue.Queue()
        self._open: dict[int, Work] = {}
        self._lock = threading.Lock()

    def put(self, work: Work) -> None:
        """Accept a request; of a kind of which only the latest counts, the others are given up."""
        with self._lock:
            for other in self._open.values():
                if work.kind in LATEST_WINS and other.kind == work.kind:
                    other.dropped = True
                    other.cancelled.set()
                elif work.kind == "segment" and other.kind in LATEST_WINS:  # the run that the user waits for goes first
                    other.cancelled.set()
            self._open[work.number] = work
        self._queue.put(work)

    def cancel(self, number: int) -> None:
        """Mark a request as not wanted; one that is done already is none."""
        with self._lock:
            if number in self._open:
                self._open[number].cancelled.set()

    def take(self, timeout_s: float | None = None) -> Work:
        """The next request; raises ``queue.Empty`` where none comes in time."""
        return self._queue.get(timeout=timeout_s)

    def done(self, work: Work) -> None:
        with self._lock:
            self._open.pop(work.number, None)

    @property
    def idle(self) -> bool:
        return not self._open


class WorkerProcess:
    """Reads requests until its input ends.

    Args:
        workspace: Folder of the application for files that pass; removed at the end.
        idle_s: End after that many seconds without a request.
    """

    def __init__(self, workspace: Path, idle_s: float):
        self._workspace, self._idle_s = workspace, idle_s
        self._input, self._output = _protocol_streams()
        self._writing = threading.Lock()
        self._light, self._heavy = Lane(), Lane()
        self._handlers: Any = None
        self._broken: Exception | None = None
        self._imported = threading.Event()

    def run(self) -> None:
        """Serve until the input ends, nobody asks for long, or a signal comes. Does not return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end(0))
        _be_nice()
        self._tell(None, "ready", pid=os.getpid(), protocol=PROTOCOL_VERSION)
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._serve, args=(self._light, None), daemon=True).start()
        self._import()
        with contextlib.suppress(queue.Empty):
            self._serve(self._heavy, self._idle_s)
        self._end(0)

    def _import(self) -> None:
        """Import what computes, which takes seconds; a request that is there meanwhile waits for it."""
        try:
            from .handlers import Handlers

            self._handlers = Handlers()
        except Exception as error:  # broken installations raise anything; every request is answered with it
            self._broken = error
        self._imported.set()
        if self._broken is None:
            self._tell(None, "imported", versions=versions())

    def _read(self) -> None:
        """Accept requests until the input ends; then everything ends."""
        for line in self._input:
            with contextlib.suppress(ValueError):
                self._accept(json.loads(line))
        self._end(0)

    def _accept(self, request: Request) -> None:
        kind = request["request"]
        if kind == "shutdown":
            self._end(0)
        elif kind == "cancel":
            for lane in (self._light, self._heavy):
                lane.cancel(request["target"])
        else:
            light = kind in ("describe_model", "devices") or (kind == "estimate" and not request.get("measure"))
            (self._light if light else self._heavy).put(Work(request))

    def _serve(self, lane: Lane, idle_s: float | None) -> None:
        self._imported.wait()
        while True:
            try:
                work = lane.take(idle_s)
            except queue.Empty:
                if self._light.idle:
                    raise
                continue
            try:
                self._do(work)
            finally:
                lane.done(work)

    def _do(self, work: Work) -> None:
        if work.cancelled.is_set():
            self._tell(work.number, "dropped" if work.dropped else "cancelled")
            return
        try:
            fields = self._handle(work)
        except Cancelled:
            self._tell(work.number, "dropped" if work.dropped else "cancelled")
        except Exception as error:  # whatever a request does, the next one is served
            details = "" if isinstance(error, TuckerSegError) else traceback.format_exc()
            message = str(error) or type(error).__name__
            self._tell(
                work.number,
                "error",
                kind=type(error).__name__,
                message=message,
                advice=advice_for(error),
                details=details,
            )
        else:
            self._tell(work.number, "result", **fields)

    def _handle(self, work: Work) -> dict[str, Any]:
        if self._broken is not None:
            raise self._broken
        from .handlers import Context

        handler: Callable | None = getattr(self._handlers, work.kind, None)
        if handler is None or work.kind.startswith("_") or work.kind == "close":
            raise TuckerSegError(f"Unknown request '{work.kind}'. Application and worker are of different versions.")
        context = Context(lambda event: self._forward(work, event), work.cancelled.is_set)
        return handler(work.request, context)

    def _forward(self, work: Work, event: dict[str, Any]) -> None:
        self._tell(work.number, event["event"], **{key: value for key, value in event.items() if key != "event"})

    def _tell(self, number: int | None, kind: str, **fields: Any) -> None:
        with self._writing:
            try:
                self._output.write(event_line(number, kind, **fields).encode())
                self._output.flush()
            except OSError:  # the reader is gone
                self._end(0)

    def _end(self, code: int) -> None:
        """At once: threads that compute are not waited for."""
        shutil.rmtree(self._workspace, ignore_errors=True)
        os._exit(code)


def _protocol_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for the protocol; for everybody else, output is standard error and input is empty."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def _be_nice() -> None:
    """Leave the processor to what the user works with."""
    if sys.platform == "win32":
        import ctypes

        below_normal = 0x4000  # BELOW_NORMAL_PRIORITY_CLASS, winbase.h
        ctypes.windll.kernel32.SetPriorityClass(ctypes.windll.kernel32.GetCurrentProcess(), below_normal)
    else:
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
