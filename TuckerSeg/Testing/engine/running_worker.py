"""The worker as an application starts it, and what it says."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from TuckerSegLib.records.protocol import FINAL_EVENTS, parse_event, request_line

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
PATIENCE_S = 600


class RunningWorker:
    """A worker process, its requests and its events.

    Args:
        python: Path of the Python that runs it.
        workspace: Its folder.
        code: Runs in place of the command line.
        environment: Variables that it has besides those of this process.
    """

    def __init__(
        self, python: str, workspace: Path, *options: str, code: str | None = None, environment: dict | None = None
    ):
        self.workspace = workspace
        self.said: list[dict[str, Any]] = []
        self._number = 0
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        program = ["-c", code] if code else ["-m", "TuckerSegLib"]
        self.process = subprocess.Popen(
            [python, *program, "worker", "--workspace", str(workspace), *options],
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

    def rest(self) -> list[dict[str, Any]]:
        """What it says until it ends."""
        events = []
        while (event := self._events.get(timeout=PATIENCE_S)) is not None:
            events.append(event)
        return events

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._events.put(parse_event(line.decode()))
        self._events.put(None)
