"""A server in this process, raw clients of it, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from TuckerSegLib.records.protocol import FINAL_EVENTS
from TuckerSegLib.records.server_address import Address
from TuckerSegLib.serving.connection import ServerConnection, declared
from TuckerSegLib.serving.server import Server, ServerSettings

PATIENCE_S = 60


class RunningServer:
    """A server on this computer's own address until :meth:`stop`; its connections live in a thread."""

    def __init__(self, settings: ServerSettings):
        self.server = Server(settings)
        self._token = settings.token
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._listening.wait(PATIENCE_S)

    async def _run(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        await self.server.run(self._on_listening, self._stopped)

    def _on_listening(self, port: int) -> None:
        self.address = Address("127.0.0.1", port)
        self._listening.set()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def client(self, token: bytes | None = None) -> Client:
        return Client(self.address, token or self._token)

    def raw(self) -> RawClient:
        return RawClient(self.address)

    def files(self) -> list[Path]:
        """Of clients' jobs, folders included; the server may remove them while we look."""
        walked = os.walk(self.server.folder / "jobs")
        return sorted(Path(place, name) for place, folders, names in walked for name in (*folders, *names))


class RawClient:
    """Bytes up, lines down."""

    def __init__(self, address: Address):
        self.socket = socket.create_connection((address.host, address.port), PATIENCE_S)
        self.stream = self.socket.makefile("rb")
        self.hello = self.line()

    def send(self, content: bytes | dict[str, Any]) -> None:
        self.socket.sendall(content if isinstance(content, bytes) else json.dumps(content).encode() + b"\n")

    def line(self) -> dict[str, Any] | None:
        """The next line; None where the server has ended the connection."""
        try:
            line = self.stream.readline()
        except OSError:
            return None
        return json.loads(line) if line else None

    def greeted(self) -> RawClient:
        self.send({"protocol": 1})
        assert self.line()["event"] == "welcome"
        return self

    def until(self, *kinds: str) -> dict[str, Any]:
        while (event := self.line()) is not None:
            if event["event"] in kinds:
                return event
        raise AssertionError(f"the server ended the connection before {kinds}")

    def cut(self) -> None:
        """End it as a cable does that is pulled: without a word."""
        self.stream.close()
        self.socket.close()


class Client:
    """A client that speaks as it should; its events are kept."""

    def __init__(self, address: Address, token: bytes | None):
        self.connection = ServerConnection(address, token)
        self._events = self.connection.events()
        self._number = 0
        self.said: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> int:
        self._number += 1
        self.connection.request(self._number, kind, **fields)
        return self._number

    def until(self, number: int | None, *kinds: str) -> dict[str, Any]:
        for event in self._events:
            self.said.append(event)
            if event["id"] == number and event["event"] in kinds:
                return event
        raise AssertionError(f"the connection ended; it said {self.said[-3:]}")

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self.until(self.send(kind, **fields), *FINAL_EVENTS)

    def begin(self, kind: str, voxels: np.ndarray, affine: Any, **fields: Any) -> int:
        """Send a request and its volume."""
        number = self.send(kind, volume=declared(voxels, affine), **fields)
        assert self.until(number, "upload", *FINAL_EVENTS)["event"] == "upload"
        for _ in self.connection.upload(number, voxels):
            pass
        return number

    def close(self) -> None:
        self.connection.close()


def tls_proxy(behind: Address, certificate: Path, key: Path) -> Address:
    """An address at which TLS is spoken, and passed on to a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ports: queue.Queue[int] = queue.Queue()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(1 << 16):
                writer.write(content)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(behind.host, behind.port)
        await asyncio.gather(pass_on(reader, onward[1]), pass_on(onward[0], writer))

    async def listen() -> None:
        proxy = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        ports.put(proxy.sockets[0].getsockname()[1])
        await proxy.serve_forever()

    threading.Thread(target=lambda: asyncio.run(listen()), daemon=True).start()
    return Address("localhost", ports.get(timeout=PATIENCE_S), tls=True)


def playing_worker(folder: Path) -> Path:
    """A Python that plays a worker: it says what it is asked, and behaves as the model's name says.

    The model ``hold`` runs until it is cancelled, ``deaf`` until it is killed; ``die`` ends the process; others give
    labels of ones at once.
    """
    script = folder / "played_worker"
    script.write_text(f"#!{sys.executable} -IS\n" + PLAYED_WORKER)
    script.chmod(0o755)
    return script


PLAYED_WORKER = """
import json, os, sys, threading
cancelled, running = set(), {}
def tell(number, event, **fields):
    sys.stdout.write(json.dumps({"id": number, "event": event, **fields}) + "\\n")
    sys.stdout.flush()
for line in sys.stdin:
    request = json.loads(line)
    kind, number = request["request"], request["id"]
    if kind == "cancel":
        if running.get(request["target"]) == "hold":
            tell(request["target"], "cancelled")
        continue
    model = request.get("job", {}).get("model")
    running[number] = model
    if model == "die":
        tell(number, "stage", stage="network")
        os._exit(9)
    if model in ("hold", "deaf"):
        tell(number, "stage", stage="network")
    elif kind in ("segment", "preview"):
        path, size = request["labels"], 2 * 3 * 4
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }".ljust(117) + "\\n"
        with open(path, "wb") as file:
            file.write(b"\\x93NUMPY\\x01\\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\\1" * size)
        box = {"version": 1, "path": path, "lower": [0, 0, 0], "upper": [2, 3, 4]}
        tell(number, "result", statistics={"pid": os.getpid()}, labels=box, label_names={"1": "one"}, asked=request)
    else:
        tell(number, "result", asked=request, labels=[{"value": 1, "name": "one"}])
"""
