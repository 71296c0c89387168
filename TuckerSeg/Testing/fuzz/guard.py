"""Watches what the program does to the computer while it reads one input, and what it takes.

An audit hook cannot be taken away again, and a limit of memory is for the whole process: so all of this is for a
process of its own, which ``run.py`` starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dangerous_names import CANARY

HEADROOM_BYTES = 3 * 1024**3  # of address space beyond what the imports took; what needs more gets a MemoryError
MOST_BYTES = 600 * 1024**2  # that one input may add to the process's memory
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WAITING = 6  # times the processor's time is what an input may take by the clock
NULL = ("/dev/null", "nul")


class Finding(AssertionError):
    """The program did what it must not do."""


class ForbiddenAct(BaseException):
    """Stops an act before it is done; no handler of exceptions may swallow it."""


class TooSlow(BaseException):
    """One input took longer than it may."""


class Guard:
    """One per process, see :func:`current`.

    Args:
        seconds: Of the processor that one input may take; None: whatever it takes.
    """

    _only: Guard

    def __init__(self, seconds: float | None = None):
        self.seconds = seconds
        self._folder = ""  # where the input lies
        self._listening = False
        self._text = ""
        self._acts: list[str] = []
        self._quiet = threading.local()
        self._checks = self._table()
        sys.addaudithook(self._hear)
        Guard._only = self

    @contextlib.contextmanager
    def watching(self, folder: Path, case: Any) -> Iterator[None]:
        """See to it that what happens meanwhile in :meth:`listening` happens in a folder.

        Raises:
            Finding: Afterwards, for what was tried, whatever became of it.
        """
        self._text, self._acts, self._folder = repr(case), [], os.path.realpath(folder)
        tempfile.tempdir = self._folder
        try:
            yield
        finally:
            tempfile.tempdir = None
            if self._acts:
                raise Finding("; ".join(self._acts))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """The program is at work now; before and after it, the fuzzer.

        Raises:
            Finding: It took too much time or memory, changed the process, or wanted to end it.
        """
        state, started = _state(), _reset_peak()
        self._set_timers(self.seconds)
        self._listening = True
        try:
            yield
        except TooSlow:
            raise Finding(f"took longer than {self.seconds:g} s") from None
        except (ForbiddenAct, SystemExit) as error:
            raise Finding(f"{type(error).__name__}: {error}") from error
        finally:
            self._listening = False
            self._set_timers(0)
            self._acts += _restored(state)
        if (taken := _peak() - started) > MOST_BYTES:
            raise Finding(f"took {taken / 1e6:.0f} MB of memory")

    def _set_timers(self, seconds: float | None) -> None:
        """Of the processor's time, and for what only waits, of the clock: a busy computer makes nothing slow."""
        if self.seconds:
            for number, timer, longest in (
                (signal.SIGPROF, signal.ITIMER_PROF, seconds),
                (signal.SIGALRM, signal.ITIMER_REAL, seconds * WAITING),
            ):
                signal.signal(number, _stop)
                signal.setitimer(timer, longest)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self._listening or getattr(self._quiet, "now", False):
            return
        check = self._checks.get(event)
        if check is None:
            return
        self._quiet.now = True
        try:
            reason = check(*arguments)
        finally:
            self._quiet.now = False
        if reason:
            self._acts.append(f"{event}: {reason}")
            raise ForbiddenAct(f"{event}: {reason}")

    def _table(self) -> dict[str, Callable[..., str | None]]:
        def never(*arguments: Any) -> str:
            return repr(arguments)[:300]

        starts = "os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.startfile subprocess.Popen pty.spawn"
        others = "os.kill os.killpg signal.pthread_kill webbrowser.open pickle.find_class os.chown"
        network = "socket.bind socket.gethostbyname socket.sendto smtplib.connect ftplib.connect"
        one_place = "os.remove os.rmdir os.mkdir os.chmod os.truncate os.utime shutil.rmtree shutil.chown os.chflags"
        two_places = "os.rename os.link os.symlink shutil.move shutil.copyfile shutil.copytree"
        return {
            **dict.fromkeys(f"{starts} {others} {network}".split(), never),
            **dict.fromkeys(one_place.split(), self._place),
            **dict.fromkeys(two_places.split(), self._places),
            "open": self._open,
            "socket.connect": _connection,
            "socket.getaddrinfo": lambda host, *_: None if host in ("127.0.0.1", "localhost", "::1") else repr(host),
            "import": self._import,
            "ctypes.dlopen": lambda library: repr(library) if library else None,
            "compile": lambda source, name: repr(name) if CANARY in _as_text(source) else None,
            "exec": lambda code: repr(code) if CANARY in repr((code.co_names, code.co_consts)) else None,
        }

    def _open(self, path: Any, mode: Any, flags: int) -> str | None:
        return self._outside(path) if flags & WRITING else None

    def _place(self, path: Any, *more: Any) -> str | None:
        return self._outside(path, more[-1] if more else -1)

    def _places(self, source: Any, target: Any, *more: Any) -> str | None:
        folders = more if len(more) == 2 else (-1, -1)
        return self._outside(source, folders[0]) or self._outside(target, folders[1])

    def _outside(self, path: Any, folder: Any = -1) -> str | None:
        """The path, where it is not below the input's folder."""
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if text.lower() in NULL:
            return None
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text) if os.path.isdir("/proc") else ""
        parent, name = os.path.split(os.path.abspath(text))
        full = os.path.join(os.path.realpath(parent), name)
        inside = full == self._folder or full.startswith(self._folder + os.sep)
        return None if inside or not text else f"{full} lies outside the folder that was given"

    def _import(self, module: str, *_: Any) -> str | None:
        named = module in sys.modules or f"{module!r}" not in self._text
        return None if CANARY not in module and named else f"{module}, which the input names"


def current() -> Guard:
    """The process's guard."""
    return Guard._only


def limit_memory() -> None:
    """Let this process grow by no more than ``HEADROOM_BYTES``, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _stop(*_: Any) -> None:
    raise TooSlow


def _connection(socket: Any, address: Any) -> str | None:
    return None if isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1") else repr(address)


def _as_text(source: Any) -> str:
    return source.decode("latin-1") if isinstance(source, bytes) else str(source)


def _state() -> dict[str, Any]:
    """What of the process no input may change."""
    import torch

    return {
        "working folder": os.getcwd(),
        **{f"variable {name} of the environment": value for name, value in os.environ.items()},
        "import path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
        "threads of torch": torch.get_num_threads(),
        "default type of torch": torch.get_default_dtype(),
        "gradients of torch": torch.is_grad_enabled(),
    }


def _restored(before: dict[str, Any]) -> list[str]:
    """Names of what was changed; it is as before then."""
    import torch

    after = _state()
    changed = [f"changed the {name}" for name in before | after if before.get(name) != after.get(name)]
    if changed:
        os.chdir(before["working folder"])
        environment = {name.split()[1]: value for name, value in before.items() if name.startswith("variable ")}
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = before["import path"]
        sys.setrecursionlimit(before["recursion limit"])
        torch.set_num_threads(before["threads of torch"])
        torch.set_default_dtype(before["default type of torch"])
        torch.set_grad_enabled(before["gradients of torch"])
    return changed


def _reset_peak() -> int:
    """Forget the largest size until now, where the system can; returns the size from which growth counts, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _peak()


def _peak() -> int:
    """The largest size of the process, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
