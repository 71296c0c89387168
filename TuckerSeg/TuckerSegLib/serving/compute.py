"""The worker process of a server: one that computes for all clients, and whose end ends nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cache import default_folder
from ..files.leftovers import is_temporary
from ..records.protocol import FINAL_EVENTS, MOST_LINE_BYTES, parse_event, request_line

Event = dict[str, Any]
CANCEL_GRACE_S = 10.0  # what cannot be interrupted by then is killed
LIBRARY_PARENT = Path(__file__).resolve().parents[2]


class Compute:
    """Starts the worker when it is needed, gives it requests, and hands out what it says.

    Args:
        folder: For its own files; removed by the owner.
        python: That runs it.
    """

    def __init__(self, folder: Path, python: str = sys.executable):
        self._folder, self._python = folder, python
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task | None = None
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[Callable[[Event], None], asyncio.Future[Event]]] = {}
        self._starting = asyncio.Lock()
        self._closed = False

    async def run(
        self, kind: str, fields: dict[str, Any], on_event: Callable[[Event], None], cancelled: asyncio.Event
    ) -> Event:
        """Let the worker do a request; the event that ends it.

        Args:
            on_event: Receives the others.
            cancelled: Set when it is not wanted any more.
        """
        said: list[str] = []

        def hear(event: Event) -> None:
            said.append(event["event"])
            on_event(event)

        final = await self._run(kind, fields, hear, cancelled)
        if final["event"] == "lost" and not said:  # it had ended by itself, idle, before it read the request
            final = await self._run(kind, fields, hear, cancelled)
        if final["event"] != "lost":
            return final
        return {
            "event": "error",
            "kind": "ServerError",
            "message": f"The process that computes on the server has ended (exit code {final['code']}).",
            "advice": "Try again; where its memory is too small: compress more, or crop the volume.",
        }

    async def _run(self, kind, fields, on_event, cancelled: asyncio.Event) -> Event:
        if cancelled.is_set() or self._closed:
            return {"event": "cancelled"}
        await self._start()
        number, final = next(self._numbers), asyncio.get_running_loop().create_future()
        self._open[number] = (on_event, final)
        wish = asyncio.ensure_future(cancelled.wait())
        try:
            self._write(request_line(number, kind, **fields))
            await asyncio.wait((final, wish), return_when=asyncio.FIRST_COMPLETED)
            if not final.done():
                self._write(request_line(0, "cancel", target=number))
                await asyncio.wait((final,), timeout=CANCEL_GRACE_S)
            if not final.done():
                self.kill()
                await final
            return {"event": "cancelled"} if cancelled.is_set() else final.result()
        finally:
            wish.cancel()
            self._open.pop(number, None)

    async def forget(self) -> None:
        """Let the worker, where there is one, give up the volume that it keeps at hand."""
        if self._reader is not None and not self._reader.done():
            await self._run("forget", {}, lambda event: None, asyncio.Event())

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the worker for good, and wait until it has gone."""
        self._closed = True
        self.kill()
        if self._reader is not None:
            await self._reader

    async def _start(self) -> None:
        async with self._starting:
            if self._reader is not None and not self._reader.done():
                return
            workspace = self._folder / "worker"
            workspace.mkdir(parents=True, exist_ok=True)
            paths = [str(LIBRARY_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {"PYTHONPATH": os.pathsep.join(paths), "TUCKERSEG_CACHE_DIR": str(self._cache())}
            self._process = await asyncio.create_subprocess_exec(
                self._python,
                *("-m", "TuckerSegLib", "worker", "--workspace", str(workspace)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=self._folder,
                env={**os.environ, **environment},
                limit=MOST_LINE_BYTES,
            )
            self._reader = asyncio.ensure_future(self._read(self._process))

    def _cache(self) -> Path:
        """A cache that begins as the user's and ends with the server: what is made of clients' volumes goes with it.

        Files of a cache are replaced and never changed, so that links to them are as good as copies.
        """
        cache = self._folder / "cache"
        if not os.path.exists(cache):
            user, cache_in_making = default_folder(), self._folder / "cache-in-making"
            shutil.rmtree(cache_in_making, ignore_errors=True)
            cache_in_making.mkdir()
            with contextlib.suppress(OSError, shutil.Error):  # what cannot be had is made again
                shutil.copytree(
                    user, cache_in_making, copy_function=_linked, ignore=_temporary_ones, dirs_exist_ok=True
                )
            cache_in_making.rename(cache)
        return cache

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # its end is told by its reader
            self._process.stdin.write(line.encode())

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        try:
            while line := await process.stdout.readline():
                self._take(parse_event(line.decode("utf-8", "replace")))
        except ValueError:  # a line that is too long
            self.kill()
        code = await process.wait()
        for _, final in list(self._open.values()):
            if not final.done():
                final.set_result({"event": "lost", "code": code})

    def _take(self, event: Event | None) -> None:
        if event is None or event["id"] not in self._open:
            return
        on_event, final = self._open[event["id"]]
        if event["event"] in FINAL_EVENTS:
            if not final.done():
                final.set_result(event)
        else:
            on_event(event)


def _linked(source: str, target: str) -> str:
    """A file that stands for another: linked where that can be, and a copy of the small ones that hold facts."""
    if source.endswith(".json"):
        return shutil.copy2(source, target)
    try:
        os.link(source, target)
    except OSError:  # on another disk
        with contextlib.suppress(OSError):  # where no links can be made, it is made again
            os.symlink(os.path.abspath(source), target)
    return target


def _temporary_ones(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if is_temporary(Path(name))]
