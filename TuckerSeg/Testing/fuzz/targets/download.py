"""Answers of a server to the request for a file: status, headers, and how the body comes."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from pathlib import Path
from typing import Any

from answers import answer, require
from dangerous_names import LEFTOVER
from hypothesis import strategies as st
from samples import Samples

SHORT = 20
CONTENT = bytes(range(256)) * 40
OK = (b"HTTP/1.1 200 OK", (("Content-Length", str(len(CONTENT))), ("ETag", '"one"')), (("body", 0, len(CONTENT)),))
UNDAMAGED = (((OK,), True),)
EXAMPLES: tuple = ()

ENDLESS_BYTES = 256 * 1024**2  # an endless body ends here at last: the disk is everybody's
LARGEST_BYTES = 64 * 1024**2  # that may lie on the disk of what should be some kilobytes
WAIT_S = 0.2
ATTEMPTS = 3
STATUSES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.1 301 Moved",
    b"HTTP/1.1 404 \x1b[31mNot here\x07",
    b"HTTP/1.1 416 Range",
    b"HTTP/1.1 429 Slowly",
    b"HTTP/1.1 503 Later",
    b"HTTP/1.1 204 Nothing",
    b"HTTP/1.1 999 What",
    b"HTTP/1.1 0 Zero",
    b"HTTP/1.1 -1 Minus",
    b"HTTP/9.9 200 OK",
    b"ICY 200 OK",
    b"\x00\xff",
    b"",
    b"HTTP/1.1 200 " + b"x" * 70_000,
)
NUMBERS = ("0", "1", "-1", str(len(CONTENT)), "99999", str(10**15), "9" * 5000, "1e3", "²", "nan", "")
RANGES = (
    "bytes 0-10239/10240",
    "bytes 5120-10239/10240",
    "bytes 5120-10239/*",
    "bytes 0-0/0",
    "bytes 99999999999999999999-1/1",
    f"bytes 0-1/{'9' * 5000}",
    "bytes */10240",
    "bytes ²-²/²",
    "words",
)
ADDRESSES = (
    f"/{LEFTOVER}",
    "/file.zip",
    f"http://{LEFTOVER}.invalid/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "https://127.0.0.1:1/x",
    "http://[::1",
    "http://127.0.0.1:99999/",
    "//",
    "\x00",
    "javascript:alert(1)",
)


def cases(samples: Samples) -> st.SearchStrategy:
    header = st.one_of(
        st.tuples(st.just("Content-Length"), st.sampled_from(NUMBERS)),
        st.tuples(st.just("Content-Range"), st.sampled_from(RANGES)),
        st.tuples(st.just("Location"), st.sampled_from(ADDRESSES)),
        st.tuples(st.just("Retry-After"), st.sampled_from(("0", "1", "²", "-1", "9" * 30, "Wed, 01 Jan 2070"))),
        st.tuples(st.just("Transfer-Encoding"), st.sampled_from(("chunked", "gzip", "identity"))),
        st.tuples(st.just("Content-Encoding"), st.sampled_from(("gzip", "br"))),
        st.tuples(st.just("ETag"), st.sampled_from(('"one"', '"two"', 'W/"one"', "\x1b", '"' + "x" * 60_000 + '"'))),
        st.tuples(st.just("Last-Modified"), st.sampled_from(("never", "\u00e9", ""))),
        st.tuples(
            st.sampled_from(("X", "", "X Y", "X\x00")), st.text(alphabet=st.characters(max_codepoint=255), max_size=9)
        ),
    )
    size = st.sampled_from((0, 1, 5120, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 50_000))
    step = st.one_of(
        st.tuples(st.just("body"), st.integers(0, len(CONTENT)), size),
        st.tuples(st.just("body"), st.just(5120), st.just(5120)),
        st.tuples(
            st.just("raw"), st.sampled_from((b"5\r\nabcde\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"\r\n"))
        ),
        st.tuples(st.just("wait")),
        st.tuples(st.just("endless")),
    )
    reply = st.tuples(
        st.sampled_from(STATUSES), st.lists(header, max_size=4).map(tuple), st.lists(step, max_size=3).map(tuple)
    )
    return st.tuples(st.lists(reply | st.just(OK), min_size=1, max_size=3).map(tuple), st.booleans())


def check(case: tuple, samples: Samples, folder: Path) -> Any:
    from unittest import mock

    from TuckerSegLib.download import Patience, fetch, fetching

    replies, known = case
    target = folder / "downloads" / "file.zip"
    sha256 = hashlib.sha256(CONTENT).hexdigest() if known else None
    patience = Patience(ATTEMPTS, 0.001, 0.005)
    with _server(replies) as url, mock.patch.object(fetching, "TIMEOUT_S", WAIT_S):
        found = answer(fetch, f"{url}/file.zip", target, sha256, patience=patience, size_bytes=len(CONTENT))
    here = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    require(here <= LARGEST_BYTES, f"{here} bytes on the disk")
    require(target.exists() == (found is not None), "a file without an answer, or an answer without its file")
    if found is not None and known:
        require(target.read_bytes() == CONTENT, "another file than the checksum's")
    return found


@contextlib.contextmanager
def _server(replies: tuple):
    """A server that gives these replies to one connection after the other, the last one to all that follow."""
    listening = socket.socket()
    with contextlib.closing(listening):
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.02)
        ended = threading.Event()
        thread = threading.Thread(target=_serve, args=(listening, replies, ended), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def _serve(listening: socket.socket, replies: tuple, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with contextlib.closing(connection):
                connection.settimeout(2)
                connection.recv(65536)
                _reply(connection, replies[min(number, len(replies) - 1)], ended)
                number += 1


def _reply(connection: socket.socket, reply: tuple, ended: threading.Event) -> None:
    status, headers, steps = reply
    lines = [status, *(f"{name}: {value}".encode("latin-1", "replace") for name, value in headers), b"", b""]
    connection.sendall(b"\r\n".join(lines))
    for kind, *more in steps:
        if kind == "body":
            connection.sendall((CONTENT * 6)[more[0] : more[0] + more[1]])
        elif kind == "raw":
            connection.sendall(more[0])
        elif kind == "wait":
            ended.wait(WAIT_S * 2)
        elif kind == "endless":
            for _ in range(ENDLESS_BYTES // len(CONTENT) // 64):
                connection.sendall(CONTENT * 64)
