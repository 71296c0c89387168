"""Shows a run's events to a user (a status line with a bar and the time left) or to a program (JSON lines)."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, TextIO

from ..printable import indented, one_line
from ..records.statistics import STAGE_TITLES
from .output import show_json

BAR_WIDTH = 24
REFRESH_S = 0.1
STAGES_OF_BYTES = ("download", "unpack")


class JsonReporter:
    """Writes each event as one line of JSON to standard output; events may come from several threads."""

    def __init__(self):
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        with self._lock:
            show_json(event, indent=None)

    def close(self) -> None:
        """Does nothing; there is nothing to close."""


class TerminalReporter:
    """Shows events as a status line that is rewritten in place on a terminal; elsewhere it prints logs only.

    Args:
        stream: Where to write; None takes standard error.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._shown_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._tell(event)

    def _tell(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "log":
            self._clear()
            print(indented(event["message"]), file=self._stream, flush=True)
        elif kind == "case":
            self._clear()
            print(one_line(_case(event)), file=self._stream, flush=True)
        elif kind == "stage":
            self._show(_part(event) + STAGE_TITLES.get(event["stage"], event["stage"]) + " ...", now=True)
        elif kind == "progress":
            self._show(_bar(event), now=event["done"] == event["total"])

    def close(self) -> None:
        """Take the line that shows progress away."""
        self._clear()

    def _show(self, text: str, now: bool) -> None:
        if self._live and (now or time.monotonic() - self._shown_at > REFRESH_S):
            self._shown_at = time.monotonic()
            self._rewrite(one_line(text))

    def _clear(self) -> None:
        if self._live:
            self._rewrite("")

    def _rewrite(self, text: str) -> None:
        write = getattr(self._stream, "write_obeyed", self._stream.write)
        write(f"\r\x1b[K{text}")
        self._stream.flush()


def _bar(event: dict[str, Any]) -> str:
    fraction = event["done"] / max(event["total"], 1)
    filled = round(BAR_WIDTH * fraction)
    remaining = event.get("remaining_s")
    eta = f", {remaining:.0f} s left" if remaining is not None else ""
    title = STAGE_TITLES.get(event["stage"], event["stage"])
    done = f"{event['done']}/{event['total']}"
    if event["stage"] in STAGES_OF_BYTES:
        done = f"{event['done'] / 1e6:.0f}/{event['total'] / 1e6:.0f} MB"
    return f"{_part(event)}{title} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}{eta}"


def _part(event: dict[str, Any]) -> str:
    """A prefix that names the image, where there are many, and the network, for a task with several; else empty."""
    case = f"[{event['case_number']}/{event['case_count']}] {event['case']}: " if "case_number" in event else ""
    return case + (f"{event['part']} of {event['parts']}, {event['part_name']}: " if "part" in event else "")


def _case(event: dict[str, Any]) -> str:
    """A line about an image of many that has ended."""
    start = f"[{event['number']}/{event['total']}] {event['case']}: "
    if event["state"] == "skipped":
        return start + "done and whole before"
    if event["state"] == "failed":
        words = f"failed: {event['message']}"
    else:
        words = f"done in {event['seconds']:.1f} s, {event['structures']} structures"
    left_s = event["remaining_s"]
    return start + words + (f" ({_duration(left_s)} left)" if left_s else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
