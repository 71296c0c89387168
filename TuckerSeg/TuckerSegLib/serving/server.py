"""Accepts clients, one computing process for all of them, and ends in an orderly way."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ServerError
from ..files.leftovers import HeldFolder
from ..records.server_address import DEFAULT_PORT, Address
from .client_session import ClientSession, Limits, Shared
from .compute import Compute
from .turns import Turns
from .uploads import UploadRoom
from .wire import MOST_REQUEST_BYTES

MOST_STRANGERS = 64  # connections that have not greeted yet
GIGABYTE = 1000**3


@dataclass(frozen=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        host: Address that it listens at.
        port: 0 takes one that is free.
        token: That clients must have; None: none, which is for this computer alone.
        most_clients: Connections at once.
        most_per_client: Bytes of volumes of one client.
        most_in_all: Bytes of volumes of all clients.
        folder: Where its temporary folder is made; None takes the system's place for such.
        python: That runs the worker.
        limits: Patience with clients.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: bytes | None = None
    most_clients: int = 16
    most_per_client: int = 4 * GIGABYTE
    most_in_all: int = 16 * GIGABYTE
    folder: Path | None = None
    python: str = sys.executable
    limits: Limits = Limits()

    def __post_init__(self):
        if self.token is None and not Address(self.host, self.port).is_loopback:
            raise ServerError(
                f"At {self.host}, others than this computer's users can reach the server: a token is needed.",
                shell="Give its file by --token-file, or listen at 127.0.0.1.",
            )


class Server:
    """A server from :meth:`run` to its end.

    Args:
        on_log: Receives lines about clients; no tokens, no names of volumes.
    """

    def __init__(self, settings: ServerSettings, on_log: Callable[[str], None] = lambda line: None):
        self._settings, self._log = settings, on_log
        self._sessions: set[ClientSession] = set()
        self._tasks: set[asyncio.Task] = set()
        self._stopped: asyncio.Event | None = None
        self.folder: Path | None = None
        self.room: UploadRoom | None = None

    async def run(self, on_listening: Callable[[int], None], stopped: asyncio.Event) -> None:
        """Serve until ``stopped`` is set; all connections and files are gone then.

        Args:
            on_listening: Receives the port.

        Raises:
            ServerError: The address cannot be listened at, or the folder cannot be made.
        """
        settings = self._settings
        try:
            held = HeldFolder(settings.folder or Path(tempfile.gettempdir()))
        except OSError as error:
            raise ServerError(f"The server's temporary folder cannot be made: {error.strerror}.") from error
        self.folder = held.path
        jobs = held.path / "jobs"
        jobs.mkdir()
        self.room = UploadRoom(jobs, settings.most_per_client, settings.most_in_all)
        compute = Compute(held.path, settings.python)
        turns = Turns(), Turns()
        shared = Shared(settings.token, jobs, self.room, compute, *turns, settings.limits, self._log, self._is_full)
        try:
            try:
                listening = await asyncio.start_server(
                    lambda reader, writer: self._accept(reader, writer, shared),
                    settings.host,
                    settings.port,
                    limit=MOST_REQUEST_BYTES,
                )
            except OSError as error:
                raise ServerError(
                    f"{settings.host}:{settings.port} cannot be listened at ({error.strerror}). Choose another port."
                ) from error
            on_listening(listening.sockets[0].getsockname()[1])
            await stopped.wait()
            listening.close()
        finally:
            compute.kill()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await compute.close()
            held.release()

    def _is_full(self) -> bool:
        return sum(session.welcome for session in self._sessions) >= self._settings.most_clients

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shared: Shared) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        session = ClientSession(reader, writer, shared)
        try:
            if len(self._sessions) >= self._settings.most_clients + MOST_STRANGERS:
                return  # without a word, which would cost more than they should
            self._sessions.add(session)
            await session.serve()
        except asyncio.CancelledError:
            pass  # the server ends
        except Exception as error:  # whatever a client does, the others are served
            self._log(f"A connection was closed by a fault of the server ({type(error).__name__}).")
        finally:
            self._sessions.discard(session)
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.transport.abort()
