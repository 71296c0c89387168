"""Lines that are written to a real worker: whatever they are, the process goes on, and ends when its input ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from answers import require
from damage import as_json, byte_edits, damaged, edited, edits_of
from hypothesis import strategies as st
from samples import Samples

SHORT = 4
UNDAMAGED = ((b"{}",),)
EXAMPLES: tuple = ()

LIBRARY_FOLDER = Path(__file__).resolve().parents[3]
PATIENCE_S = 50
REQUEST = {"id": 1, "request": "describe_model", "model": "no such model", "folds": None}
LINES = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b'"shutdown"',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"9" * 5000,
    b'{"id": 1, "request": "shutdown\\u0000"}',
    b'{"id": [], "request": "cancel", "target": []}',
    b'{"id": {}, "request": {}}',
    b"x" * 3_000_000,
)


def cases(samples: Samples) -> st.SearchStrategy:
    request = st.tuples(edits_of(REQUEST), byte_edits()).map(
        lambda edits: damaged(as_json(edited(REQUEST, edits[0])).encode("utf-8", "surrogatepass"), edits[1])
    )
    line = st.sampled_from(LINES) | request | st.binary(max_size=30)
    return st.lists(line, min_size=1, max_size=5).map(tuple)


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    worker = _Worker.of(folder)
    number = worker.number = worker.number + 1
    last = json.dumps({"id": number, "request": "devices"}).encode()
    lines = [line.replace(b"\n", b" ") for line in case if line != b"" and b"shutdown" not in line]
    worker.write(b"".join(line + b"\n" for line in [*lines, last]))
    return worker.answer(number)


class _Worker:
    """A worker process that one case after the other writes to."""

    _running: _Worker | None = None

    @classmethod
    def of(cls, folder: Path) -> _Worker:
        """The one that runs, else a new one."""
        if cls._running is None or cls._running.process.poll() is not None:
            cls._running = cls(folder)
        return cls._running

    def __init__(self, folder: Path):
        workspace = folder.parent / "workspace"
        workspace.mkdir(exist_ok=True)
        self.number = 10**6  # of the request that follows a case's lines
        self._events: Queue[dict[str, Any] | None] = Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "TuckerSegLib", "worker", "--workspace", str(workspace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=LIBRARY_FOLDER,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def write(self, lines: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is seen when the answer is waited for
            self.process.stdin.write(lines)
            self.process.stdin.flush()

    def answer(self, number: int) -> dict[str, Any]:
        """The event that ends a request."""
        while True:
            try:
                event = self._events.get(timeout=PATIENCE_S)
            except Empty:
                self.process.kill()
                raise AssertionError("the worker does not answer any more") from None
            require(event is not None, f"the worker ended with {self.process.poll()}")
            if event["id"] == number and event["event"] in ("result", "error"):
                require(event["event"] == "result", f"{event}")
                return event

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self.process.wait()
        self._events.put(None)
