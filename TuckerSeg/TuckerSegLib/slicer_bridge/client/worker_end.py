"""How a worker is ended, and why one has ended, as far as can be known from outside, in words for the user."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KILLED = (9, 137)  # by a signal that cannot be caught; as Qt tells it, and as a shell before it does
MEMORY_WORDS = ("MemoryError", "bad_alloc", "out of memory", "not enough memory")
LAST_LINES = 5  # of what it said; an error at the end of a program is told in one of them
OOM_COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))


def kill(pid: int) -> None:
    """End a worker. It starts no processes; Slicer's launcher of Python, which is its parent, ends with it."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        else:
            os.kill(pid, signal.SIGKILL)


def memory_kills() -> int:
    """How often this system has ended a process because memory ran out; 0 where it does not tell."""
    count = 0
    for path in OOM_COUNTERS:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        count += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return count


def describe_end(exit_code: int, said: Sequence[str], memory_kills_since_start: int = 0) -> dict[str, Any]:
    """The error event for requests whose worker has ended.

    Memory is named as the reason only where the worker or the system says so: a killed process tells nobody by whom.

    Args:
        exit_code: As Qt tells it; of a process that was killed, the signal.
        said: What it wrote to its standard error, the last lines last.
        memory_kills_since_start: See :func:`memory_kills`.
    """
    last = said[-1] if said else ""
    says_memory = any(word in line for line in said[-LAST_LINES:] for word in MEMORY_WORDS)
    if says_memory or (exit_code in KILLED and memory_kills_since_start > 0):
        message = "The computer ran out of memory, and the run was ended."
        advice = "Close other programs, compress more, or crop the volume; then press Segment again."
    elif exit_code in KILLED:
        message = "The worker process was killed, by the system or by another program."
        advice = (
            "Press Segment to try again. Where the system does it for want of memory: close other programs, "
            "compress more, or crop the volume."
        )
    else:
        message = f"The worker process ended unexpectedly (exit code {exit_code}). {last}".strip()
        advice = "Press Segment to try again. If it happens again, choose another device, and report the log."
    return {"event": "error", "kind": "WorkerError", "message": message, "advice": advice, "details": "\n".join(said)}
