"""A folder that is watched: what has stopped growing in it is handed over, as a study that a scanner sends.

Watchdog wakes whoever waits where something changes; what counts is what a look at the files finds, which also sees
what other computers write into a folder of the network, of which no system tells.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DependencyError, ImageError, SpecError
from ..monitor import Monitor
from .case_record import FileStamp, stamps_of
from .cases import Case, cases_of

USUAL_SETTLE_S = 30.0
LONGEST_SETTLE_S = 86_400.0
LOOK_S = 10.0  # between two looks where nobody tells of a change
SHORTEST_WAIT_S = 0.05


class SettledCases:
    """Which images of a folder have not changed for a while.

    Args:
        folder: Of the images; see ``cases.cases_of``.
        settle_s: How long nothing may have changed.
        leave_out: A folder that is no image.
        clock: Seconds.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        settle_s: float = USUAL_SETTLE_S,
        leave_out: str | os.PathLike | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        if not 0 < settle_s <= LONGEST_SETTLE_S:
            raise SpecError(f"The time to settle should be above 0 and up to {LONGEST_SETTLE_S:g} s; found {settle_s}.")
        self._folder, self._settle_s, self._leave_out, self._clock = Path(folder), settle_s, leave_out, clock
        self._seen: dict[str, tuple[tuple[FileStamp, ...], float]] = {}  # stamps, and since when they are so
        self._given: dict[str, tuple[FileStamp, ...]] = {}

    def look(self) -> list[Case]:
        """Images that have settled since they were given last, or for the first time; each state of one comes once.

        Raises:
            ImageError: There is no such folder (any more).
        """
        settled, now = [], self._clock()
        seen: dict[str, tuple[tuple[FileStamp, ...], float]] = {}
        for case in self._cases():
            image = case.images[0]
            try:
                stamps = stamps_of(case.images)
            except OSError:  # gone, or going
                continue
            before = self._seen.get(image)
            since = before[1] if before is not None and before[0] == stamps else now
            seen[image] = stamps, since
            if now - since >= self._settle_s and self._given.get(image) != stamps:
                self._given[image] = stamps
                settled.append(case)
        self._seen = seen
        return settled

    def next_look_s(self) -> float:
        """Seconds until something may have settled, if nothing changes."""
        now = self._clock()
        waits = [
            since + self._settle_s - now
            for image, (stamps, since) in self._seen.items()
            if self._given.get(image) != stamps
        ]
        return max(SHORTEST_WAIT_S, min([*waits, LOOK_S]))

    def _cases(self) -> list[Case]:
        if not os.path.isdir(self._folder):
            raise ImageError(f"{self._folder}: there is no such folder to watch. Check the path.")
        try:
            return cases_of(self._folder, self._leave_out)
        except ImageError:  # nothing is in it yet
            return []


def watch(settled: SettledCases, folder: str | os.PathLike, do: Callable[[list[Case]], None], monitor: Monitor) -> None:
    """Hand over what has settled, until the monitor wants the end.

    Args:
        settled: Of the folder.
        folder: The same, for the system to tell of changes.
        do: Receives images that have settled; while it works, others settle.
        monitor: Asked whether to stop.

    Raises:
        DependencyError: Watchdog is not here.
        ImageError: There is no such folder (any more).
    """
    require_watchdog()
    with _told_of_changes(folder) as changed:
        while not monitor.stop():
            cases = settled.look()
            if cases:
                do(cases)
                continue
            changed.wait(settled.next_look_s())
            changed.clear()


def require_watchdog() -> None:
    """Look whether watchdog is here.

    Raises:
        DependencyError: It is not.
    """
    if importlib.util.find_spec("watchdog") is None:
        raise DependencyError(
            "Watching a folder needs the Python package watchdog.",
            shell="Install it with: pip install tuckerseg[cohort]",
        )


@contextmanager
def _told_of_changes(folder: str | os.PathLike) -> Iterator[threading.Event]:
    """An event that is set whenever something changes in a folder, or below it."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    changed = threading.Event()

    class Waker(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type not in ("opened", "closed_no_write"):  # reading changes nothing
                changed.set()

    if not os.path.isdir(folder):
        raise ImageError(f"{folder}: there is no such folder to watch. Check the path.")
    observer = Observer()
    observer.schedule(Waker(), str(folder), recursive=True)
    observer.start()
    try:
        yield changed
    finally:
        observer.stop()
        observer.join()
