"""Servers that drip, stall or say nothing are left in time, and what came is kept."""

from __future__ import annotations

import itertools
import threading

import pytest

from Testing.unit.lying_server import CONTENT, HALF, QUICK, fetching, head, listening, ranged
from TuckerSegLib.download import Patience
from TuckerSegLib.errors import Cancelled, DownloadError


@pytest.fixture
def server():
    with listening() as server:
        yield server


@pytest.fixture
def get(server, tmp_path):
    return fetching(server, tmp_path)


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
