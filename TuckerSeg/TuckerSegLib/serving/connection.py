"""A client's connection to a server: greets, sends requests and volumes, and reads events. Blocking sockets."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ServerError
from ..printable import excerpt, printable
from ..records.protocol import MOST_LINE_BYTES, parse_event, request_line
from ..records.server_address import Address
from ..text_files import parse_json
from .tls_stream import TlsStream
from .wire import LABEL_TYPES, PIECE_BYTES, SERVER_PROTOCOL, VOXEL_TYPES, answer_to

CONNECT_S = 10.0
MOST_LABEL_BYTES = 16 * 1000**3
Event = dict[str, Any]


class ServerConnection:
    """An open connection. Lines and pieces may be sent from several threads; one reads.

    Args:
        address: Of the server.
        token: That it asks for; None: none.

    Raises:
        ServerError: It cannot be reached, is none, or refuses this client.
    """

    def __init__(self, address: Address, token: bytes | None = None):
        self.address = address
        self._sending = threading.Lock()
        try:
            self._socket = socket.create_connection((address.host, address.port), CONNECT_S)
            tls = TlsStream(self._socket, address.host, CONNECT_S) if address.tls else None
        except (OSError, ValueError) as error:
            raise ServerError(
                f"The server {address} cannot be reached ({error}). Check that a server runs there, and the address.",
                shell="A server is begun with 'tuckerseg serve'.",
            ) from error
        self._socket = tls.socket if tls else self._socket
        self._stream = io.BufferedReader(tls) if tls else self._socket.makefile("rb")
        self._send_all = tls.send_all if tls else self._socket.sendall
        try:
            self._greet(token)
        except (OSError, ValueError) as error:
            self.close()
            raise ServerError(f"{address} does not answer as a server of TuckerSeg ({error}).") from error
        except ServerError:
            self.close()
            raise
        if tls:
            tls.patience_s = None
        else:
            self._socket.settimeout(None)

    def request(self, number: int, kind: str, /, **fields: Any) -> None:
        """Send a request.

        Raises:
            ServerError: The connection is lost.
        """
        self._send(request_line(number, kind, **fields).encode())

    def upload(self, number: int, voxels: np.ndarray) -> Iterator[float]:
        """Send the voxels of a request, piece by piece; gives the share that is sent after each.

        Args:
            voxels: (Z, Y, X), of one of ``VOXEL_TYPES``, as it was declared.

        Raises:
            ServerError: The connection is lost.
        """
        slices = max(1, PIECE_BYTES // max(1, voxels[0].nbytes))
        for first in range(0, voxels.shape[0], slices):
            content = np.ascontiguousarray(little_endian(voxels[first : first + slices])).tobytes()
            for start in range(0, len(content), PIECE_BYTES):
                piece = content[start : start + PIECE_BYTES]
                self._send(request_line(number, "upload", bytes=len(piece)).encode() + piece)
            yield min(1.0, (first + slices) / voxels.shape[0])

    def events(self) -> Iterator[Event]:
        """What the server says until the connection ends; ``labels`` of a result are an array ``voxels`` in it.

        Raises:
            ServerError: It says what no server says.
        """
        try:
            while line := self._stream.readline(MOST_LINE_BYTES + 1):
                event = parse_event(line.decode("utf-8", "replace"))
                if event is None:
                    continue
                if event["event"] == "result" and isinstance(event.get("labels"), dict):
                    event["labels"] = {**event["labels"], "voxels": self._labels(event["labels"])}
                yield event
        except (OSError, ValueError):  # closed, by whomever
            return

    def close(self) -> None:
        """End the connection; whoever reads reads its end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _greet(self, token: bytes | None) -> None:
        hello = self._line()
        challenge = hello.get("challenge")
        if hello.get("event") != "hello" or not isinstance(challenge, str):
            raise ValueError(f"it said {excerpt(str(hello), 80)}")
        if hello.get("token") and token is None:
            raise ServerError(f"{self.address} asks for a token: give its file.", shell="That is --token-file FILE.")
        greeting = request_line(0, "hello", protocol=SERVER_PROTOCOL, answer=answer_to(challenge, token))
        self._send_all(greeting.encode())
        answer = self._line()
        if answer.get("event") != "welcome":
            words = answer.get("message")
            raise ServerError(f"{self.address}: {printable(words) if isinstance(words, str) else 'refused'}")

    def _line(self) -> Event:
        line = self._stream.readline(MOST_LINE_BYTES)
        document = parse_json(line) if line else {}
        if not isinstance(document, dict):
            raise ValueError(f"it said {excerpt(str(document), 80)}")
        return document

    def _send(self, content: bytes) -> None:
        try:
            with self._sending:
                self._send_all(content)
        except OSError as error:
            raise ServerError(f"The connection to {self.address} is lost ({error}). Try again.") from error

    def _labels(self, labels: Event) -> np.ndarray:
        lower, upper, dtype = labels.get("lower"), labels.get("upper"), labels.get("dtype")
        if not _is_place(lower) or not _is_place(upper) or dtype not in LABEL_TYPES:
            raise ServerError(f"{self.address} sent labels that are none.")
        shape = tuple(last - first for first, last in zip(lower, upper))
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if min(shape) <= 0 or min(lower) < 0 or size != labels.get("bytes") or size > MOST_LABEL_BYTES:
            raise ServerError(f"{self.address} sent labels of a size that does not fit: {shape}.")
        content = self._stream.read(size)
        if len(content) != size:
            raise OSError("the connection ended")
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(number) is int for number in value)


def declared(voxels: np.ndarray, affine: Any) -> Event:
    """What a request says of a volume: (Z, Y, X) voxels and their affine.

    Raises:
        ServerError: Its voxels are of a type that is not sent.
    """
    if voxels.dtype.name not in VOXEL_TYPES:
        raise ServerError(f"Voxels of the type {voxels.dtype} are not sent; convert them to {', '.join(VOXEL_TYPES)}.")
    matrix = [[float(number) for number in row] for row in np.asarray(affine)]
    return {"shape": list(voxels.shape), "affine": matrix, "dtype": voxels.dtype.name, "bytes": voxels.nbytes}


def little_endian(voxels: np.ndarray) -> np.ndarray:
    """The same numbers, lowest byte first."""
    return voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
