"""A server of files on this computer that behaves as a test tells it to."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What a server has and how it behaves; tests change it while it runs.

    Attributes:
        files: Path to content.
        ranges: Whether it knows ``Range``.
        validators: ``ETag`` and ``Last-Modified`` that it sends.
        cuts: Bytes of content after which it drops each of the next connections; None: it does not.
        statuses: Answers to the next requests instead of files.
        redirections: Path to address.
        requests: (path, headers) of what was asked for.
        sent: Bytes of content that were sent.
        stop_after: Bytes of content after which it sends nothing more, and leaves the connection open until
            ``go_on`` is set; None: it does not.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"first"'})
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirections: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    stop_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        behavior: FileServer = self.server.behavior
        behavior.requests.append((self.path, dict(self.headers)))
        if behavior.statuses and (status := behavior.statuses.pop(0)) != 200:
            self._answer(status, {"Content-Length": "0"})
        elif address := behavior.redirections.get(self.path):
            self._answer(302, {"Location": address, "Content-Length": "0"})
        elif self.path in behavior.files:
            self._send(behavior, behavior.files[self.path])
        else:
            self._answer(404, {"Content-Length": "0"})

    def _send(self, behavior: FileServer, content: bytes) -> None:
        headers, start, status = dict(behavior.validators), 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if behavior.ranges else None
        same = self.headers.get("If-Range") in (None, *behavior.validators.values())
        if asked and same:
            start, status = int(asked[1]), 206
            if start >= len(content):
                self._answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(status, {**headers, "Content-Length": str(len(content) - start)})
        cut = behavior.cuts.pop(0) if behavior.cuts else None
        piece = content[start:] if cut is None else content[start : start + cut]
        behavior.sent += len(piece)
        if behavior.stop_after is not None:
            self.wfile.write(piece[: behavior.stop_after])
            behavior.go_on.wait()
            return
        self.wfile.write(piece)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Answers on a port of its own as its ``behavior`` says."""

    behavior: FileServer

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behavior = FileServer(url=f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request, client_address) -> None:
        """Who cancels a download breaks the connection."""
