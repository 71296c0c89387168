"""Servers that lie, never end, or send something else: each ends in an error, after few requests and few bytes."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import ssl

import pytest

from Testing.unit.lying_server import CONTENT, HALF, QUICK, Server, fetching, head, listening, ranged
from TuckerSegLib.download import fetch
from TuckerSegLib.errors import DownloadError
from TuckerSegLib.printable import one_line


@pytest.fixture
def server():
    with listening() as server:
        yield server


@pytest.fixture
def get(server, tmp_path):
    return fetching(server, tmp_path)


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
