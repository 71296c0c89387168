"""A server that sends what it is told to, byte by byte."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading

from TuckerSegLib.download import Patience, fetch
from TuckerSegLib.monitor import Monitor

CONTENT = random.Random(0).randbytes(600_000)
HALF = len(CONTENT) // 2
QUICK = Patience(attempts=3, first_s=0.001, longest_s=0.002)


class Server:
    """Answers with raw bytes. ``answer`` takes the first byte that is asked for, None where no range is."""

    def __init__(self, context=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        if context:
            self.listener = context.wrap_socket(self.listener, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer = lambda start: []
        self.ranges: list[int | None] = []
        self.sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            match = re.search(rb"Range: bytes=(\d+)-", request)
            start = int(match[1]) if match else None
            self.ranges.append(start)
            for piece in self.answer(start):
                connection.sendall(piece)
                self.sent += len(piece)


def head(status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


def ranged(start, total=600_000, **headers):
    return head("206 Partial Content", Content_Range=f"bytes {start}-{total - 1}/{total}", **headers)


def fetching(server: Server, folder):
    """A function that fetches the server's file into a folder."""

    def run(sha256=None, patience=QUICK, progress=None, cancelled=None, **arguments):
        arguments = {"size_bytes": len(CONTENT), **arguments}
        monitor = Monitor(progress and (lambda event: progress(event["done"], event["total"])), cancelled)
        return fetch(server.url + "/model.zip", folder / "model.zip", sha256, monitor, patience=patience, **arguments)

    return run


@contextlib.contextmanager
def listening():
    """A server, until the end."""
    server = Server()
    try:
        yield server
    finally:
        server.listener.close()
