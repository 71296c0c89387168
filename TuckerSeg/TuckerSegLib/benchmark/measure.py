"""One command in a process of its own: wall seconds, and the peak memory of it and of all it starts.

Memory is sampled from /proc (Linux). Elsewhere the operating system's own record of the largest single process is
taken, which counts helper processes only when they are the larger ones.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import TuckerSegError

SAMPLE_S = 0.1
SUM_S = 0.5
LAST_LINES = 15


@dataclass(frozen=True)
class Measurement:
    """What a command took.

    Attributes:
        wall_s: Seconds from start to exit.
        peak_memory_bytes: Of the command with every process it started; 0 where the system does not tell.
        largest_process_bytes: Of the one process that took most, as ``time -v`` tells it.
        output: What it printed, stdout and stderr together.
        processor_s: Of all cores together, with the processes that it waited for; unlike wall seconds hardly more where
            other programs run as well. 0 where the system does not tell.
    """

    wall_s: float
    peak_memory_bytes: int
    largest_process_bytes: int
    output: str
    processor_s: float = 0.0


def measure(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, timeout_s: float = 3600.0
) -> Measurement:
    """Run a command to its end. It and its children are ended when it takes too long or the caller is interrupted.

    Args:
        command: Program and arguments; no shell.
        environment: The whole environment; None passes the caller's.

    Raises:
        TuckerSegError: It cannot be started, fails, or takes too long; with the last lines that it printed.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                words, stdout=printed, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        except OSError as error:
            raise TuckerSegError(f"{words[0]} cannot be started: {error}. Check the path.") from error
        sampler = _Sampler(process.pid)
        timer = threading.Timer(timeout_s, _end_session, [process.pid])
        timer.start()
        sampler.start()
        try:
            largest_single, processor_s = _wait(process)
            wall_s = time.perf_counter() - started
        finally:
            late = not timer.is_alive()
            timer.cancel()
            sampler.stop()
            _end_session(process.pid)
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    if process.returncode:
        raise TuckerSegError(_failure(words, process.returncode, timeout_s if late else None, output))
    peak_bytes, largest_bytes = sampler.peak_bytes, sampler.largest_process_bytes
    return Measurement(wall_s, peak_bytes or largest_single, largest_bytes or largest_single, output, processor_s)


def _wait(process: subprocess.Popen) -> tuple[int, float]:
    """Wait for the end; returns the largest memory of a single process and seconds on a processor, 0 where not told."""
    if not hasattr(os, "wait4"):
        process.wait()
        return 0, 0.0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), usage.ru_utime + usage.ru_stime


def _end_session(session: int) -> None:
    """End what is left of a session: all processes of a command, also those that outlived it."""
    with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(session, signal.SIGKILL)


def _failure(words: Sequence[str], code: int, timeout_s: float | None, output: str) -> str:
    if timeout_s is not None:
        reason = f"was ended after {timeout_s:.0f} s"
    elif code == -signal.SIGKILL:
        reason = "was killed by the system, most likely for want of memory"
    else:
        reason = f"ended with exit code {code}"
    # Progress bars overwrite their line; only what such a line ended with is of interest.
    lines = [line.rsplit("\r", 1)[-1] for line in output.rstrip().split("\n")][-LAST_LINES:]
    return f"{' '.join(words[:4])} … {reason}. Its last lines:\n" + "\n".join(f"    {line}" for line in lines)


class _Sampler(threading.Thread):
    """Adds up the memory of all processes of a session.

    Several processes are added up by their proportional set sizes, in which a page that n processes share counts 1/n
    in each: helpers that were forked share nearly everything with their parent. Linux takes a while to tell those of
    a large process, so they are asked for twice a second at most, and only where resident sizes allow a new peak. A
    process's own high-water mark catches peaks between samples. ``ru_maxrss`` will not do here: a new process starts
    with that of the process that started it.
    """

    def __init__(self, session: int):
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.largest_process_bytes = 0
        self._session = session
        self._end = threading.Event()
        self._next_sum = 0.0

    def run(self) -> None:
        if not os.path.exists("/proc/self/status"):
            return
        while not self._end.is_set():
            self._sample()
            self._end.wait(SAMPLE_S)

    def stop(self) -> None:
        self._end.set()
        self.join()

    def _sample(self) -> None:
        processes = _session_processes(self._session)
        status = [_kibibytes(process / "status", "VmHWM", "VmRSS") for process in processes]
        self.largest_process_bytes = max(
            [self.largest_process_bytes, *(peak_and_resident[0] for peak_and_resident in status)]
        )
        self.peak_bytes = max(self.peak_bytes, self.largest_process_bytes)
        resident = sum(peak_and_resident[1] for peak_and_resident in status)
        if len(processes) > 1 and resident > self.peak_bytes and time.perf_counter() >= self._next_sum:
            shares = [_kibibytes(process / "smaps_rollup", "Pss")[0] for process in processes]
            self.peak_bytes = max(self.peak_bytes, sum(shares))
            self._next_sum = time.perf_counter() + SUM_S


def _kibibytes(path: Path, *names: str) -> list[int]:
    """Values in bytes of lines like ``VmRSS: 12 kB``; 0 where a line is missing or the process has just ended."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
    except OSError:
        return [0] * len(names)
    return [int(lines[name].split()[0]) * 1024 if name in lines else 0 for name in names]


def _session_processes(session: int) -> list[Path]:
    processes = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # pid (name) state parent group session ...; the name may hold spaces and brackets
                fields = (
                    Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
                )
                if int(fields[3]) == session:
                    processes.append(Path(entry.path))
    return processes
