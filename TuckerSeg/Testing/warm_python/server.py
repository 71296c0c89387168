"""A Python that has imported the large packages of others, and forks a process for each program it is asked for.

Importing PyTorch takes longer than most of what the tests have a process do. Nothing of TuckerSegLib is imported here,
so each program still starts with its own imports. ``python server.py SOCKET`` listens until its standard input ends.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import NoReturn

PACKAGES = (
    "torch",
    "torch.fx.experimental.symbolic_shapes",
    "scipy.ndimage",
    "SimpleITK",
    "nibabel",
    "openvino.opset8",
    "safetensors.torch",
    "tensorly",
    "dynamic_network_architectures.architectures.unet",
    "certifi",
)
LONGEST_REQUEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Program:
    """What a launcher asks for: ``python -m module arguments``, in a folder and an environment."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


class Server:
    """One loop over the launchers and the processes that were forked for them."""

    def __init__(self, listener: socket.socket):
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._input_ended)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._running: dict[socket.socket, int] = {}  # launcher to process

    def forked(self) -> Program | None:
        """Serve until the input ends: None. In a process that was forked: its program."""
        while True:
            for key, _ in self._selector.select():
                program = key.data()
                if program is not None:
                    return program
                if self._listener is None:
                    return None

    def _input_ended(self) -> None:
        for pid in self._running.values():
            os.kill(pid, signal.SIGKILL)
        self._listener = None

    def _accept(self) -> Program | None:
        launcher, _ = self._listener.accept()
        data, streams, *_ = socket.recv_fds(launcher, LONGEST_REQUEST_BYTES, 3)
        if not data:  # killed before it has asked
            launcher.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._leave_to(streams)
            launcher.close()
            return Program(**json.loads(data))
        for stream in streams:
            os.close(stream)
        self._running[launcher] = pid
        ended = os.pidfd_open(pid)
        self._selector.register(launcher, selectors.EVENT_READ, lambda: self._listen(launcher, pid))
        self._selector.register(ended, selectors.EVENT_READ, lambda: self._tell_end(launcher, pid, ended))
        return None

    def _leave_to(self, streams: list[int]) -> None:
        """Make the streams those of this process, and close what belongs to the server."""
        self._selector.close()
        self._listener.close()
        for launcher in self._running:
            launcher.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)

    def _listen(self, launcher: socket.socket, pid: int) -> None:
        """A launcher sends numbers of signals; where it has ended, so shall its process."""
        if launcher not in self._running:  # its process has ended in this very round
            return
        with contextlib.suppress(ConnectionError):
            if number := launcher.recv(1):
                os.kill(pid, number[0])
                return
        self._selector.unregister(launcher)
        os.kill(pid, signal.SIGKILL)

    def _tell_end(self, launcher: socket.socket, pid: int, ended: int) -> None:
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(KeyError):
            self._selector.unregister(launcher)
        self._selector.unregister(ended)
        os.close(ended)
        del self._running[launcher]
        with contextlib.suppress(OSError):
            launcher.sendall(str(status).encode())
        launcher.close()


def become(program: Program, paths: list[str]) -> NoReturn:
    """Run a program as a Python that was started for it would."""
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.folder)
    more = [path for path in program.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [program.folder, *more, *paths]
    sys.argv[:] = [program.module, *program.arguments]
    encoding, _, errors = program.environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    at_once = "PYTHONUNBUFFERED" in program.environment
    for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        own_errors = errors or ("backslashreplace" if name == "stderr" else "strict")
        raw = os.fdopen(number, mode, closefd=False)
        stream = io.TextIOWrapper(raw, encoding, own_errors, line_buffering=name == "stderr", write_through=at_once)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    try:
        runpy.run_module(program.module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    # As the interpreter ends, but for the taking apart of all modules, which takes longer than a short command.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code or 0)


def main() -> None:
    address = sys.argv[1]
    paths = sys.path[1:]
    sys.modules["openvino_telemetry"] = None  # OpenVINO does without it, and it would start a thread
    for name in PACKAGES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a process of several threads must not be forked"
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)  # who sees it is answered
        program = Server(listener).forked()
    if program is not None:
        become(program, paths)


if __name__ == "__main__":
    main()
