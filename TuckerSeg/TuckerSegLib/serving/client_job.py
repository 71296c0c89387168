"""One request of a client: its volume comes, it waits for its turn, it is done, and its folder goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiskFullError, OutputError, ServerError, TuckerSegError
from ..records.protocol import BoxFile, VolumeFile, event_line
from ..records.serialization import from_json, to_json
from ..text_files import parse_json
from .checked_requests import CheckedRequest
from .uploads import Upload
from .wire import LABEL_TYPES, PIECE_BYTES

if TYPE_CHECKING:
    from .client_session import ClientSession

VOLUME_NAME = "volume"  # what clients call theirs does not come here
UPLOAD_GRACE_S = 60.0
PASSED_ON = ("stage", "progress", "log")
Event = dict[str, Any]


class ClientJob:
    """A request from its line to the event that ends it.

    Args:
        request: As it was checked.
        session: Of its client.

    Raises:
        ServerError, OutputError: There is no room for its volume.
    """

    def __init__(self, number: int, request: CheckedRequest, session: ClientSession):
        self.number, self.kind = number, request.kind
        self._request, self._session, self._shared = request, session, session.shared
        self._wanted_no_more = asyncio.Event()
        self._complete = asyncio.Event()
        self._dropped = False
        self._upload: Upload | None = None
        self._final: Event | None = None
        self.sent = asyncio.Event()
        volume = request.volume
        if volume is None:
            return
        self._shared.room.take(session, volume.size_bytes)
        try:
            self._upload = Upload(self._shared.jobs, volume)
        except OSError as error:
            self._shared.room.give_back(session, volume.size_bytes)
            raise OutputError(f"The server cannot take a volume ({error.strerror}).") from error

    def cancel(self) -> None:
        """It is not wanted any more."""
        self._wanted_no_more.set()

    def drop(self) -> None:
        """A later request of its kind has taken its place."""
        self._dropped = True
        self.cancel()

    def take(self, piece: bytes) -> bool:
        """Write a piece of its volume; False where it is more than was declared."""
        if self._upload is None or len(piece) > self._upload.missing_bytes:
            return False
        try:
            self._upload.add(piece)
        except OSError as error:
            self._fail(DiskFullError(f"The server cannot keep the volume ({error.strerror})."))
            return True
        if not self._upload.missing_bytes:
            self._complete.set()
        return True

    async def run(self) -> None:
        """Until its last event is on its way, and nothing of it is left."""
        volume = self._request.volume
        try:
            if volume is not None:
                await self._receive(volume.size_bytes)
            if self._final is None:
                self._final = await self._in_turn()
            await self._tell_end()
        finally:
            if self._upload is not None:
                self._upload.remove()
                self._shared.room.give_back(self._session, volume.size_bytes)

    def answer(self) -> Iterator[bytes]:
        """The line of a result with labels, and then their bytes in pieces."""
        box = from_json(BoxFile, self._final["labels"])
        dtype, sides = _dtype_of(self._upload.labels), [last - first for first, last in zip(box.lower, box.upper)]
        size = math.prod(sides) * (int(dtype.removeprefix("uint")) // 8)
        labels = {"lower": list(box.lower), "upper": list(box.upper), "dtype": dtype, "bytes": size}
        fields = _without_places(self._final, self._upload)
        yield event_line(self.number, "result", **{**fields, "labels": labels}).encode()
        with self._upload.labels.open("rb") as file:
            file.seek(-size, 2)
            while piece := file.read(PIECE_BYTES):
                yield piece

    def _fail(self, error: TuckerSegError) -> None:
        self._final = {"event": "error", "kind": type(error).__name__, "message": str(error), "advice": ""}
        self._complete.set()

    async def _receive(self, size: int) -> None:
        """Let the volume come."""
        self._session.tell(self.number, "upload")
        within_s = UPLOAD_GRACE_S + size / self._shared.limits.least_bytes_per_s
        if not await _first_of(self._complete, self._wanted_no_more, within_s):
            self._fail(ServerError(f"The volume did not come within {within_s:.0f} s; it was given up."))

    async def _in_turn(self) -> Event:
        turns = self._shared.heavy if self._request.heavy else self._shared.light
        place = asyncio.ensure_future(self._compute_in(turns))
        wish = asyncio.ensure_future(self._wanted_no_more.wait())
        try:
            while not place.done():
                await asyncio.wait((place, wish), return_when=asyncio.FIRST_COMPLETED)
                if wish.done() and not self._computing:
                    place.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await place
                    return {"event": "cancelled"}
                await asyncio.wait((place,))
            return place.result()
        finally:
            wish.cancel()
            place.cancel()

    _computing = False

    async def _compute_in(self, turns: Any) -> Event:
        async with turns.turn(self._tell_place):
            self._computing = True
            compute = self._shared.compute
            final = await compute.run(self.kind, self._fields(), self._pass_on, self._wanted_no_more)
            if self._upload is not None:  # the worker keeps the last volume at hand
                await compute.forget()
            return final

    def _fields(self) -> Event:
        fields, upload = dict(self._request.fields), self._upload
        if upload is not None:
            affine = tuple(map(tuple, upload.declared.affine))
            file = VolumeFile(str(upload.file), upload.declared.shape, affine, VOLUME_NAME, upload.folder.name)
            fields |= {"volume": to_json(file), "labels": str(upload.labels)}
        return fields

    def _tell_place(self, ahead: int) -> None:
        self._session.tell(self.number, "stage", stage="waiting", ahead=ahead)

    def _pass_on(self, event: Event) -> None:
        if event["event"] in PASSED_ON:
            self._session.tell(self.number, event["event"], **_without_places(event, self._upload))

    async def _tell_end(self) -> None:
        final = self._final
        if self._wanted_no_more.is_set():
            self._session.tell(self.number, "dropped" if self._dropped else "cancelled")
        elif self._upload is not None and final["event"] == "result" and final.get("labels") is not None:
            self._session.send_labels(self)
            await _first_of(self.sent, self._wanted_no_more, None)
        else:
            self._session.tell(self.number, final["event"], **_without_places(final, self._upload))


async def _first_of(wanted: asyncio.Event, other: asyncio.Event, within_s: float | None) -> bool:
    """Wait for one of two events; False where neither came in time."""
    waiting = [asyncio.ensure_future(each.wait()) for each in (wanted, other)]
    done, _ = await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    return bool(done)


def _without_places(event: Event, upload: Upload | None) -> Event:
    """Fields of an event without what the server alone should know: its folders, and where its program stopped."""
    fields = {name: value for name, value in event.items() if name not in ("id", "event", "details")}
    text = json.dumps(fields)
    folders = [str(Path.home()), *([str(upload.folder), str(upload.folder.parent.parent)] if upload else [])]
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(json.dumps(folder)[1:-1], "~" if folder == str(Path.home()) else "")
    return parse_json(text)


def _dtype_of(file: Path) -> str:
    """Type of the labels in a .npy file that the worker wrote."""
    import numpy as np

    dtype = np.load(file, mmap_mode="r").dtype.name
    if dtype not in LABEL_TYPES:
        raise ServerError(f"The labels have the type {dtype}.")
    return dtype
