"""Requests of an application that are about files of this computer, while a server computes: lists of them, runs.

The server hears of no file: images are read and results written here, as ``remote_run`` does it for the command line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .. import image
from ..errors import Cancelled
from ..monitor import Monitor
from ..records.serialization import to_json
from ..worker.requests import check_fields, file_job_of
from .connection import ServerConnection
from .remote_run import RemoteRuns

Event = dict[str, Any]
OF_FILES = ("list_images", "segment_file")


class FileRequests:
    """Answers them, each in a thread and with a connection of its own.

    Args:
        runs: Runs jobs on the server.
        tell: Sends an event: number of the request, kind, fields.
        fail: Sends an error: number of the request, and what it was.
    """

    def __init__(
        self, runs: Callable[[], RemoteRuns], tell: Callable[..., None], fail: Callable[[int, Exception], None]
    ):
        self._runs, self._tell, self._fail = runs, tell, fail
        self._stops: dict[int, threading.Event] = {}
        self._connections: dict[int, ServerConnection] = {}

    def begin(self, request: Event) -> None:
        """Begin to answer; returns at once.

        Raises:
            RequestError: A field is not what it should be.
        """
        check_fields(request)
        self._stops[request["id"]] = threading.Event()
        threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def cancel(self, number: int) -> bool:
        """End a request; whether it is one of these."""
        if number not in self._stops:
            return False
        self._stops[number].set()
        if number in self._connections:
            self._connections[number].close()  # nothing is waited for that the server may say
        return True

    def _answer(self, request: Event) -> None:
        number = request["id"]
        stop = self._stops[number]
        try:
            fields = getattr(self, f"_{request['request']}")(request, stop)
        except Exception as error:  # whatever is wrong with one request, who asked is told
            if stop.is_set() or isinstance(error, Cancelled):
                self._tell(number, "cancelled")
            else:
                self._fail(number, error)
        else:
            self._tell(number, "result", **fields)
        finally:
            self._stops.pop(number)
            self._connections.pop(number, None)

    def _list_images(self, request: Event, stop: threading.Event) -> Event:
        return {"images": image.listed_images(request["folder"])}

    def _segment_file(self, request: Event, stop: threading.Event) -> Event:
        number = request["id"]

        def on_event(event: Event) -> None:
            self._tell(number, event["event"], **{name: value for name, value in event.items() if name != "event"})

        def on_connection(connection: ServerConnection) -> None:
            self._connections[number] = connection
            if stop.is_set():
                connection.close()

        result = self._runs().run(file_job_of(request), Monitor(on_event, stop.is_set), on_connection)
        return {"statistics": to_json(result.statistics)}
