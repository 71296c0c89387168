"""Servers that lie, never end, or send something else: each ends in an error, after few requests and few bytes."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import random
import re
import socket
import ssl
import threading

import pytest

from TuckerSegLib.download import Patience, fetch
from TuckerSegLib.errors import Cancelled, DownloadError
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.printable import one_line

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


@pytest.fixture
def server():
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def get(server, tmp_path):
    def run(sha256=None, patience=QUICK, progress=None, cancelled=None, **arguments):
        arguments = {"size_bytes": len(CONTENT), **arguments}
        monitor = Monitor(progress and (lambda event: progress(event["done"], event["total"])), cancelled)
        return fetch(server.url + "/model.zip", tmp_path / "model.zip", sha256, monitor, patience=patience, **arguments)

    return run


def head(status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


def ranged(start, total=600_000, **headers):
    return head("206 Partial Content", Content_Range=f"bytes {start}-{total - 1}/{total}", **headers)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def half_then(first, later):
    """The first half of the file, and then always something else."""
    start = [head(Content_Length=len(CONTENT), ETag='"x"'), CONTENT[:HALF]]
    return lambda asked: start if asked is None else later(asked)


ENDLESS = {
    "no length": lambda start: itertools.chain([head()], itertools.repeat(b"\0" * 65536)),
    "chunks": lambda start: itertools.chain(
        [head(Transfer_Encoding="chunked")], itertools.repeat(b"10000\r\n" + b"A" * 65536 + b"\r\n")
    ),
    "chunks with a length": lambda start: itertools.chain(
        [head(Transfer_Encoding="chunked", Content_Length="10")],
        itertools.repeat(b"10000\r\n" + b"A" * 65536 + b"\r\n"),
    ),
    "range without a length": lambda start: itertools.chain([ranged(0)], itertools.repeat(b"\0" * 65536)),
    "head": lambda start: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X: " + b"a" * 60000 + b"\r\n")),
    "continue": lambda start: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "line": lambda start: itertools.repeat(b"HTTP/1.1 200 " + b"O" * 65536),
    "redirection": lambda start: itertools.chain(
        [head("302 Found", Location="/model.zip")], itertools.repeat(b"\0" * 65536)
    ),
    "refusal": lambda start: itertools.chain([head("404 Not Found")], itertools.repeat(b"\0" * 65536)),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_left(server, get, tmp_path, kind):
    server.answer = ENDLESS[kind]
    with pytest.raises(DownloadError):
        get()
    assert len(server.ranges) <= 11
    assert server.sent < 11 * 10**7  # what a socket holds ready is sent, too
    assert left_in(tmp_path) == []


def test_no_more_is_written_than_is_expected(server, get):
    server.answer, largest = ENDLESS["no length"], []
    with pytest.raises(DownloadError, match="sends more than 1 MB, where 1 MB are expected; .* thrown away"):
        get(progress=lambda done, total: largest.append(done))
    assert max(largest) < 1.1 * len(CONTENT) + 300_000


def test_where_no_size_is_known_either_the_disk_is_looked_at(server, get, monkeypatch):
    import shutil

    server.answer = ENDLESS["no length"]
    free = iter([*[10**9] * 3, 100])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, next(free)))
    with pytest.raises(DownloadError, match="are needed on this disk"):
        get(size_bytes=None)


LIES = {
    "another start": lambda start: [ranged(0, Content_Length=len(CONTENT)), CONTENT],
    "a start further on": lambda start: [ranged(start + 10), CONTENT[start:]],
    "another size": lambda start: [ranged(start, 10**6), CONTENT[start:]],
    "no size": lambda start: [head("206 Partial Content", Content_Range=f"bytes {start}-599999/*"), CONTENT[start:]],
    "no range": lambda start: [head("206 Partial Content"), CONTENT[start:]],
    "letters": lambda start: [head("206 Partial Content", Content_Range="bytes \xb2-\xb2/\xb2"), CONTENT[start:]],
    "digits": lambda start: [head("206 Partial", Content_Range=f"bytes {start}-5/{'9' * 5000}"), CONTENT[start:]],
    "more than it says": lambda start: [ranged(start), CONTENT[start:] + b"more"],
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_a_range_that_is_not_what_was_asked_for_is_never_appended(server, get, tmp_path, kind):
    server.answer, seen = half_then(CONTENT, LIES[kind]), []
    with pytest.raises(DownloadError, match="what came was thrown away"):
        get(progress=lambda done, total: seen.append((done, total)))
    assert server.ranges == [None, HALF] * 4
    assert kind == "more than it says" or max(done for done, _ in seen) == HALF
    assert left_in(tmp_path) == []


def test_other_bytes_in_the_right_range_are_seen_by_the_checksum(server, get, tmp_path):
    server.answer = half_then(CONTENT, lambda start: [ranged(start), b"X" * (len(CONTENT) - start)])
    with pytest.raises(DownloadError, match="wrong checksum"):
        get(sha256="0" * 64)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(("total", "words"), [(10**18 - 1, "has 10+ MB"), (10**15, "has 10+ MB")])
def test_a_size_that_nobody_expects_is_not_begun(server, get, tmp_path, total, words):
    server.answer = lambda start: [head(Content_Length=total), CONTENT]
    with pytest.raises(DownloadError, match=words):
        get()
    server.answer = half_then(CONTENT, lambda start: [ranged(start, total), CONTENT])
    with pytest.raises(DownloadError, match="thrown away"):
        get()
    with pytest.raises(DownloadError, match=words):
        server.answer = lambda start: [head(Content_Length=total), CONTENT]
        get(size_bytes=None)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-5", "1e3", "0x10", "1, 1", " "])
def test_a_length_that_is_none_is_passed_over(server, get, length):
    server.answer = lambda start: [head(Content_Length=length), CONTENT]
    assert get().path.read_bytes() == CONTENT


def test_a_range_that_nobody_asked_for_is_taken_where_it_is_the_whole_file(server, get):
    server.answer = lambda start: [ranged(0), CONTENT]
    assert get().path.read_bytes() == CONTENT


def test_a_file_that_is_shorter_than_it_says_is_left_and_kept(server, get, tmp_path):
    server.answer = lambda start: (
        [head(Content_Length=len(CONTENT) + 5), CONTENT] if start is None else [ranged(start, len(CONTENT) + 5)]
    )
    with pytest.raises(DownloadError, match="the connection ended early"):
        get()
    assert len(server.ranges) == 3
    assert (tmp_path / "model.zip.part").stat().st_size == len(CONTENT)


def test_a_byte_at_a_time_is_no_progress(server, get):
    def one_byte(start):
        start = start or 0
        return [ranged(start), CONTENT[start : start + 1]]

    server.answer = one_byte
    with pytest.raises(DownloadError, match="the connection ended early"):
        get()
    assert len(server.ranges) == 3


def test_requests_are_counted_however_much_each_brings(server, get):
    server.answer = lambda start: [ranged(start or 0), CONTENT[start or 0 :][:70_000]]
    with pytest.raises(DownloadError, match="the connection ended early"):
        get(patience=Patience(3, 0.001, 0.002, attempts_in_all=5))
    assert server.ranges == [None, 70_000, 140_000, 210_000, 280_000]


class Clock:
    """Seconds that pass whenever somebody looks."""

    def __init__(self, step_s):
        self.now, self.step_s = 0.0, step_s

    def __call__(self):
        self.now += self.step_s
        return self.now


def drip(first):
    return lambda start: itertools.chain([first], itertools.repeat(b"P"))


@pytest.mark.parametrize(
    "first", [head(), head(Transfer_Encoding="chunked"), b"HTTP/1.1 2", head(Content_Length=len(CONTENT))]
)
def test_a_server_that_drips_is_left(server, get, first):
    server.answer = drip(first)
    with pytest.raises(DownloadError, match=r"sends too slowly, \d+ bytes in \d+ s, where at least 1000 per second"):
        get(patience=Patience(3, 0.001, 0.002, clock=Clock(60.0)))
    assert len(server.ranges) == 1


def test_what_came_from_a_server_that_is_too_slow_is_gone_on_from(server, get):
    rest = (CONTENT[place : place + 1] for place in range(HALF, len(CONTENT)))
    server.answer = half_then_drip = lambda start: itertools.chain(
        [head(Content_Length=len(CONTENT), ETag='"x"'), CONTENT[:HALF]], rest
    )
    with pytest.raises(DownloadError, match="sends too slowly"):
        get(patience=Patience(3, 0.001, 0.002, clock=Clock(2.0)))
    server.answer = lambda start: half_then_drip(None) if start is None else [ranged(start), CONTENT[start:]]
    fetched = get()
    assert fetched.resumed and fetched.path.read_bytes() == CONTENT


def test_a_server_that_drips_its_head_can_be_cancelled(server, get):
    server.answer = drip(b"HTTP/1.1 200 ")
    with pytest.raises(Cancelled):
        get(patience=Patience(3, 0.001, 0.002, clock=Clock(2.0)), cancelled=lambda: True)


def test_a_server_that_says_nothing_is_left(server, get, monkeypatch):
    monkeypatch.setattr("TuckerSegLib.download.fetching.TIMEOUT_S", 0.02)
    release = threading.Event()
    server.answer = lambda start: [b""] if release.wait(10) else []
    try:
        with pytest.raises(DownloadError, match="cannot be reached .*timed out"):
            get()
    finally:
        release.set()


@pytest.mark.parametrize("asked", ["\xb2", "99999999999", "9" * 5000, "-1", "soon"])
def test_no_pause_is_longer_than_patience_lasts(server, get, monkeypatch, asked):
    waited = []
    monkeypatch.setattr("TuckerSegLib.download.fetching._wait", lambda seconds, cancelled: waited.append(seconds))
    server.answer = lambda start: [head("503 Busy", Retry_After=asked, Content_Length=0)]
    with pytest.raises(DownloadError, match="HTTP status 503"):
        get()
    assert len(waited) == 2 and max(waited) <= QUICK.longest_s


REDIRECTIONS = {
    "file:///etc/passwd": "addresses only",
    "ftp://127.0.0.1/x": "addresses only",
    "data:text/plain,hi": "addresses only",
    "javascript:x": "addresses only",
    "http://example.com/x.zip": "addresses only",
    "http://127.0.0.1.example.com/x": "addresses only",
    "http://localhost@example.com/x": "addresses only",
    "https://user:word@example.com/x": "addresses only",
    "http://[::1": "addresses only",
    "http://localhost:99999/": "addresses only",
    "http://localhost:x/": "addresses only",
    "/model.zip": "HTTP status 302",
    "http://evil.example/\x1b[31m\x1b]0;owned\x07": "addresses only",
    "https://localhost/\x1b[31m": "addresses only",
}


@pytest.mark.parametrize("target", REDIRECTIONS)
def test_redirections_lead_nowhere_else(server, get, tmp_path, target):
    server.answer = lambda start: [head("302 Found", Location=target, Content_Length=0)]
    with pytest.raises(DownloadError, match=REDIRECTIONS[target]) as caught:
        get()
    assert len(server.ranges) <= 11
    assert "\x1b" not in str(caught.value)
    assert left_in(tmp_path) == []


OTHER = {
    "not there": ([head("404 \x1b[31mEVIL\x1b]0;owned\x07", Content_Length=0)], r"HTTP status 404 \(\\x1b\[31mEVIL"),
    "a long reason": ([head("404 " + "A" * 60000)], r"HTTP status 404 \(A{199}…\)"),
    "no HTTP": ([b"\x1bgarbage\r\n\r\n"], "cannot be reached"),
    "nothing": ([], "cannot be reached"),
    "many headers": ([head(**{f"X-{number}": "a" * 1000 for number in range(5000)}), CONTENT], "100 headers|kB before"),
    "an empty file": ([head(Content_Length=0)], "has an empty file"),
    "no content": ([head("204 No Content")], "has an empty file"),
    "never satisfied": ([head("416 Range", Content_Range="bytes */77")], "HTTP status 416"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_is_no_file_is_told_in_words(server, get, tmp_path, kind):
    pieces, words = OTHER[kind]
    server.answer = lambda start: pieces
    with pytest.raises(DownloadError, match=words) as caught:
        get()
    assert str(caught.value) == one_line(str(caught.value)) and len(str(caught.value)) < 500
    assert len(server.ranges) <= 3
    assert left_in(tmp_path) == []


def test_what_is_packed_is_not_unpacked_on_the_way(server, get):
    packed = gzip.compress(bytes(5_000_000))
    server.answer = lambda start: [head(Content_Length=len(packed), Content_Encoding="gzip"), packed]
    assert get().path.read_bytes() == packed


@pytest.mark.parametrize(
    "note",
    [
        b"[" * 100_000, b"[]", b"{}", b"\xff", b'{"url": 1}', b'{"safe": "1", "total": null, "validator": null}',
        b'{"safe": -1, "total": 2, "validator": 3}', b'{"safe": 1e400, "total": [], "validator": {}}',
        b'{"safe": 1, "total": 2, "validator": "a\\r\\nX: y"}', b'{"safe": NaN, "total": 1, "validator": "a"}',
    ],
)  # fmt: skip
def test_a_damaged_note_beside_a_part_is_as_none(server, get, tmp_path, note):
    with contextlib.suppress(ValueError):
        document = json.loads(note) if note[:1] == b"{" else {}
        note = json.dumps({"url": server.url + "/model.zip", **document}).encode() if document else note
    (tmp_path / "model.zip.part").write_bytes(b"?" * 1000)
    (tmp_path / "model.zip.part.json").write_bytes(note)
    server.answer = lambda start: [head(Content_Length=len(CONTENT)), CONTENT]
    assert get().path.read_bytes() == CONTENT


def test_from_https_no_redirection_leads_to_http_not_even_on_this_computer(server, certificate, tmp_path, monkeypatch):
    key, file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    secure = Server(context)
    secure.answer = lambda start: [head("302 Found", Location=f"{server.url}/model.zip", Content_Length=0)]
    server.answer = lambda start: [head(Content_Length=len(CONTENT)), CONTENT]
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(DownloadError, match="leads from https:// to http://127.0.0.1:[0-9]+/model.zip, which is not"):
        fetch(secure.url + "/model.zip", tmp_path / "model.zip", patience=QUICK)
    assert server.ranges == []
    secure.listener.close()
