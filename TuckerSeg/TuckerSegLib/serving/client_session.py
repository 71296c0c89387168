"""One client of a server, from its greeting to the end of its connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ServerError, TuckerSegError
from ..printable import excerpt
from ..records.protocol import LATEST_WINS, event_line
from ..text_files import parse_json
from ..worker.requests import RequestError, read_request
from .checked_requests import checked
from .client_job import ClientJob
from .compute import Compute
from .turns import Turns
from .uploads import UploadRoom
from .wire import PIECE_BYTES, SERVER_PROTOCOL, is_answer, version_words

MOST_OPEN_REQUESTS = 16  # of one client
MOST_UNSENT_EVENTS = 1000  # a client that takes none is no client
KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 4))


@dataclass(frozen=True)
class Limits:
    """Patience with clients, in seconds.

    Attributes:
        greeting_s: Until a client has told its version and token.
        line_s: Until a line is whole that has begun, and until a piece of a volume is.
        idle_s: Without a request.
        stall_s: Until a client takes what is sent.
        least_bytes_per_s: Of a volume; slower ones are given up.
        refusal_s: That a wrong token waits, so that trying many takes long.
    """

    greeting_s: float = 10.0
    line_s: float = 60.0
    idle_s: float = 7200.0
    stall_s: float = 120.0
    least_bytes_per_s: float = 50_000.0
    refusal_s: float = 1.0


@dataclass(frozen=True)
class Shared:
    """What the clients of a server share: token, folder of jobs, room, worker, its queues, limits, log and fullness."""

    token: bytes | None
    jobs: Path
    room: UploadRoom
    compute: Compute
    light: Turns
    heavy: Turns
    limits: Limits
    log: Callable[[str], None]
    is_full: Callable[[], bool]


class Refused(Exception):
    """The connection ends, with words for the client."""


class ClientSession:
    """A connection: reads requests, sends events, and leaves nothing behind."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shared: Shared):
        self._reader, self._writer, self.shared = reader, writer, shared
        self._jobs: dict[int, ClientJob] = {}
        self._tasks: set[asyncio.Task] = set()
        self._unsent: asyncio.Queue[str | ClientJob] = asyncio.Queue()
        self._closed = self.welcome = False
        _keep_alive(writer)

    async def serve(self) -> None:
        """Until the connection ends, whoever ends it; its requests end with it."""
        sender = asyncio.ensure_future(self._send_all())
        try:
            await self._greet()
            self.shared.log("A client is here.")
            await self._read_all()
        except Refused as refusal:
            sender.cancel()
            self.shared.log(f"A client was refused: {refusal}")
            await self.refuse(str(refusal))
        except (OSError, EOFError):
            self.shared.log("A client has gone.")
        finally:
            self._closed = True
            sender.cancel()
            for job in list(self._jobs.values()):
                job.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refuse(self, words: str) -> None:
        """Tell why, and end the connection; what the client still sends is let go meanwhile, so that it hears it."""
        line = event_line(None, "error", kind="ServerError", message=words, advice="")
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            self._writer.write(line.encode())
            await asyncio.wait_for(self._writer.drain(), self.shared.limits.greeting_s)
            self._writer.write_eof()
            ends_at = time.monotonic() + 1.0
            while (left_s := ends_at - time.monotonic()) > 0:
                if not await asyncio.wait_for(self._reader.read(PIECE_BYTES), left_s):
                    break

    def tell(self, number: int | None, event: str, /, **fields: Any) -> None:
        """Send an event as soon as the client takes it."""
        self._put(event_line(number, event, **fields))

    def send_labels(self, job: ClientJob) -> None:
        """Send a result whose labels follow it; then the job may go."""
        self._put(job)

    def _put(self, item: str | ClientJob) -> None:
        if self._closed or self._unsent.qsize() > MOST_UNSENT_EVENTS:
            self._writer.transport.abort()
        else:
            self._unsent.put_nowait(item)

    async def _send_all(self) -> None:
        try:
            while True:
                item = await self._unsent.get()
                if isinstance(item, str):
                    await self._send(item.encode())
                    continue
                try:
                    for part in item.answer():
                        await self._send(part)
                finally:
                    item.sent.set()
        except Exception:  # gone, too slow, or a fault of ours: no half answers
            self._writer.transport.abort()  # its reader then ends, too

    async def _send(self, content: bytes) -> None:
        self._writer.write(content)
        await asyncio.wait_for(self._writer.drain(), self.shared.limits.stall_s)

    async def _greet(self) -> None:
        challenge, limits = secrets.token_hex(16), self.shared.limits
        self.tell(None, "hello", protocol=SERVER_PROTOCOL, challenge=challenge, token=self.shared.token is not None)
        try:
            line = await asyncio.wait_for(self._reader.readuntil(b"\n"), limits.greeting_s)
            greeting = parse_json(line)
        except (ValueError, asyncio.LimitOverrunError):
            raise Refused("This is a server of TuckerSeg; what came is no greeting of a client.") from None
        except TimeoutError:
            raise Refused(f"No greeting came within {limits.greeting_s:g} s.") from None
        if not isinstance(greeting, dict) or "protocol" not in greeting:
            raise Refused("This is a server of TuckerSeg; what came is no greeting of a client.")
        if greeting["protocol"] != SERVER_PROTOCOL or type(greeting["protocol"]) is not int:
            raise Refused(version_words(greeting["protocol"]))
        if not is_answer(greeting.get("answer"), challenge, self.shared.token):
            await asyncio.sleep(limits.refusal_s)
            raise Refused("The token is not the server's. Give the file of the same token as on the server.")
        if self.shared.is_full():
            raise Refused("The server has as many clients as it takes. Try again later.")
        self.welcome = True
        self.tell(None, "welcome")

    async def _read_all(self) -> None:
        while line := await self._line():
            try:
                request = read_request(line)
            except RequestError as error:
                raise Refused(f"A line is no request: {error}.") from error
            kind = request["request"]
            if kind == "shutdown":
                return
            if kind == "cancel":
                if request["target"] in self._jobs:
                    self._jobs[request["target"]].cancel()
            elif kind == "upload":
                await self._take_piece(request)
            else:
                self._begin(request)

    async def _line(self) -> bytes:
        """The next line; empty where the connection has ended. One that has begun must come to its end in time."""
        limits = self.shared.limits
        first = None
        while first is None:
            try:
                first = await asyncio.wait_for(self._reader.read(1), limits.idle_s)
            except TimeoutError:
                if not self._jobs:
                    raise Refused(f"No request came for {limits.idle_s:g} s.") from None
        if first in (b"", b"\n"):
            return first
        try:
            return first + await asyncio.wait_for(self._reader.readuntil(b"\n"), limits.line_s)
        except asyncio.LimitOverrunError:
            raise Refused("A line is longer than any request.") from None
        except TimeoutError:
            raise Refused(f"A line did not come to its end within {limits.line_s:g} s.") from None

    def _begin(self, request: dict[str, Any]) -> None:
        number, kind = request["id"], request["request"]
        try:
            if number in self._jobs or len(self._jobs) >= MOST_OPEN_REQUESTS:
                raise ServerError(
                    f"A client may have {MOST_OPEN_REQUESTS} open requests, each with an id of its own; "
                    f"found {len(self._jobs)} and the id {number}."
                )
            known = checked(request)
            for other in list(self._jobs.values()):
                if other.kind == kind and kind in LATEST_WINS:
                    other.drop()
            job = ClientJob(number, known, self)
        except (TuckerSegError, RequestError) as error:
            self.tell(number, "error", kind=type(error).__name__, message=str(error), advice="")
            return
        self._jobs[number] = job
        task = asyncio.ensure_future(self._finish(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, job: ClientJob) -> None:
        try:
            await job.run()
        except Exception as error:  # the client hears of it, and the next request is served
            self.shared.log(f"A request failed by a fault of the server ({type(error).__name__}: {error}).")
            self.tell(
                job.number, "error", kind="ServerError", message="The server failed; its log tells why.", advice=""
            )
        finally:
            self._jobs.pop(job.number, None)

    async def _take_piece(self, request: dict[str, Any]) -> None:
        size, limits = request.get("bytes"), self.shared.limits
        if type(size) is not int or not 0 < size <= PIECE_BYTES:
            raise Refused(f"A piece should have 1 to {PIECE_BYTES} bytes; found {excerpt(repr(size), 40)}.")
        try:
            piece = await asyncio.wait_for(self._reader.readexactly(size), limits.line_s)
        except TimeoutError:
            raise Refused(f"A piece of a volume did not come within {limits.line_s:g} s.") from None
        job = self._jobs.get(request["id"])
        if job is not None and not job.take(piece):  # pieces of one that was cancelled are let go
            raise Refused("More bytes of a volume came than were declared.")


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice clients whose computer has gone without a word."""
    connection = writer.get_extra_info("socket")
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
