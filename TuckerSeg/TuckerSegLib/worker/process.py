"""The worker's process: lines in, lines out, and a certain end.

Standard output belongs to the protocol alone; whatever a library prints goes to standard error. The process ends when
its input ends, which is what the operating system does to it when the application is gone, however that went.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Cancelled, TuckerSegError
from ..files.full_disk import with_full_disk_named
from ..files.leftovers import is_temporary, sweep
from ..monitor import Monitor
from ..printable import excerpt
from ..records.protocol import PROTOCOL_VERSION, REQUESTS, event_line
from ..records.statistics import versions
from .advice import advice_for
from .lanes import Lane, Work
from .requests import RequestError, check_fields, lines_of, read_request

Request = dict[str, Any]
LIGHT = ("describe_model", "devices", "list_images", "policies")  # answered while a run computes
NICENESS = 5  # below what the user works with
LONGEST_SLEEP_S = 3600.0  # systems do not sleep for years
REMOVALS = 5  # a thread that computes may write a file into a folder that is being removed


class RequestServer:
    """Reads requests until its input ends.

    Args:
        workspace: Folder of the application for files that pass; removed at the end.
        idle_s: End after that many seconds without a request.
    """

    def __init__(self, workspace: Path, idle_s: float):
        self._workspace, self._idle_s = workspace, idle_s
        self._input, self._output = protocol_streams()
        self._writing = threading.Lock()
        self._ending = threading.RLock()  # a signal may come while the end has begun
        self._light, self._heavy = Lane(), Lane()
        self._handlers: Any = None
        self._broken: Exception | None = None
        self._imported = threading.Event()

    def run(self) -> None:
        """Serve until the input ends, nobody asks for long, or a signal comes. Does not return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end(0))
        _be_nice()
        try:
            self._tell(None, "ready", pid=os.getpid(), protocol=PROTOCOL_VERSION)
            self._start(self._read)
            for lane in (self._light, self._heavy):
                self._start(lambda lane=lane: self._serve(lane))
            self._import()
            self._wait_until_idle()
            self._end(0)
        finally:
            self._end(1)

    def _start(self, duty: Callable[[], None]) -> None:
        """Do a duty beside this thread, which stays free for signals. Should the duty stop, everything ends."""

        def keep() -> None:
            try:
                duty()
            except BaseException:
                traceback.print_exc()
            self._end(1)

        threading.Thread(target=keep, daemon=True).start()

    def _wait_until_idle(self) -> None:
        started = time.monotonic()
        quiet_s = 0.0
        while quiet_s < self._idle_s:
            time.sleep(min(max(self._idle_s - quiet_s, 0.01), LONGEST_SLEEP_S))
            quiet_s = min(self._light.idle_s, self._heavy.idle_s, time.monotonic() - started)

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
        for line in lines_of(self._input):
            try:
                self._accept(read_request(line))
            except RequestError as error:
                self._tell(None, "log", message=f"This is no request, and was passed over: {error}")
        self._end(0)

    def _accept(self, request: Request) -> None:
        kind = request["request"]
        if kind == "shutdown":
            self._end(0)
        elif kind == "cancel":
            for lane in (self._light, self._heavy):
                lane.cancel(request["target"])
        else:
            light = kind in LIGHT or (kind == "estimate" and not request.get("measure"))
            (self._light if light else self._heavy).put(Work(request))

    def _serve(self, lane: Lane) -> None:
        self._imported.wait()
        while True:
            work = lane.take()
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
        except Exception as failure:  # whatever a request does, the next one is served
            error = with_full_disk_named(failure)
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
        if work.kind not in REQUESTS:
            raise TuckerSegError(
                f"Unknown request '{excerpt(work.kind)}'. Application and worker are of different versions."
            )
        check_fields(work.request)
        monitor = Monitor(lambda event: self._forward(work, event), work.cancelled.is_set)
        return getattr(self._handlers, work.kind)(work.request, monitor)

    def _forward(self, work: Work, event: dict[str, Any]) -> None:
        self._tell(work.number, event["event"], **{key: value for key, value in event.items() if key != "event"})

    def _tell(self, number: int | None, event: str, /, **fields: Any) -> None:
        with self._writing:
            try:
                self._output.write(event_line(number, event, **fields).encode())
                self._output.flush()
            except OSError:  # the reader is gone
                self._end(0)

    def _end(self, code: int) -> None:
        """At once: threads that compute are not waited for."""
        with self._ending:
            for _ in range(REMOVALS):
                shutil.rmtree(self._workspace, ignore_errors=True)
                if not os.path.exists(self._workspace):
                    break
            if is_temporary(self._workspace.parent):  # what an application that was killed leaves of it
                sweep(self._workspace.parent.parent)
            os._exit(code)


def protocol_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for the protocol; for everybody else, output is standard error and input is empty."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
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
