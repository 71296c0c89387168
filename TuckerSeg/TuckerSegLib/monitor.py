"""How long work is followed: what it tells, what its stages take, how far it is, and the wish that it stop."""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from .errors import Cancelled

Event = dict[str, Any]
Listener = Callable[[Event], None]


class Monitor:
    """One piece of work, as its caller follows and stops it. Without arguments nothing is heard and nothing stops.

    A monitor serves one run: its seconds and notes are those of all that it was passed to. What was not asked to be
    heard costs nothing.

    Args:
        on_event: Receives what is told, as dictionaries whose ``event`` says of what kind they are: ``stage``,
            ``progress``, ``part``, ``log``, ``row``. May be called from several threads.
        cancelled: Whether the work is not wanted any more; asked again and again.
        on_fraction: Receives how much is done, 0 to 1, of work that tells nothing else of its progress.

    Attributes:
        seconds: Per stage that has begun and ended.
        notes: What the work warned of, see :meth:`warnings_noted`.

    Example:
        >>> monitor = Monitor(on_event=print)
        >>> result = segment("CT.nii.gz", load_model("demo"), monitor=monitor)
        >>> monitor.with_total()
    """

    def __init__(
        self,
        on_event: Listener | None = None,
        cancelled: Callable[[], bool] | None = None,
        on_fraction: Callable[[float], None] | None = None,
    ):
        self.on_event = on_event or _deaf
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._cancelled = cancelled or _never
        self._on_fraction = on_fraction or _deaf
        self._stage: str | None = None
        self._started = time.perf_counter()

    # What is told

    def tell(self, kind: str, **fields: Any) -> None:
        """Tell the listener of something."""
        self.on_event({"event": kind, **fields})

    def log(self, message: str) -> None:
        """Tell something in words."""
        self.tell("log", message=message)

    def part(self, number: int, count: int, name: str) -> None:
        """Tell that one of several networks has its turn.

        Args:
            number: Of the network, counted from 0.
            count: How many networks there are.
            name: Of the network, as people know it.
        """
        self.tell("part", number=number, count=count, name=name)

    def progress(self, done: float, total: float | None, **more: Any) -> None:
        """Tell how much of the stage is done, and of how much; see :meth:`stage`.

        Args:
            done: Work that is done, in units of the stage's own: patches, bytes, steps.
            total: All of its work in the same unit; None where that is not known.
            more: Other fields of the event, fit for JSON.
        """
        self.tell("progress", stage=self._stage, done=done, total=total, **more)

    def fraction(self, done: float) -> None:
        """Between two steps of work that tells no events: what is done of it, 0 to 1.

        Raises:
            Cancelled: It is not wanted any more.
        """
        self.check()
        self._on_fraction(done)

    def in_hundredths(self) -> Monitor:
        """This monitor, which also tells the fraction that is done as progress of its stage, of 100 in all."""
        telling = copy.copy(self)

        def on_fraction(done: float) -> None:
            self._on_fraction(done)
            self.progress(round(100 * done), 100)

        telling._on_fraction = on_fraction
        return telling

    @contextlib.contextmanager
    def warnings_noted(self) -> Iterator[None]:
        """Keep the library's own warnings as notes, and tell of them at once."""

        def show(message, category, filename, lineno, file=None, line=None):
            if "TuckerSegLib" in str(filename):
                self.notes.append(str(message))
                self.log(str(message))

        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = show
            yield

    # What it takes

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Monitor]:
        """Tell that a stage begins, and count its seconds; it may be entered again. Gives its own monitor."""
        within = self.begin(name)
        started = time.perf_counter()
        try:
            yield within
        finally:
            self.add(name, time.perf_counter() - started)

    def begin(self, stage: str) -> Monitor:
        """Tell that a stage begins whose seconds are added by :meth:`add`; gives its own monitor."""
        self.tell("stage", stage=stage)
        return self.within(stage)

    def within(self, stage: str) -> Monitor:
        """This monitor for a stage: the progress told by it is the stage's."""
        stage_monitor = copy.copy(self)
        stage_monitor._stage = stage
        return stage_monitor

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds that somebody else took the time of.

        Args:
            stage: To which they are added.
            seconds: That it took.
        """
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def with_total(self) -> dict[str, float]:
        """Seconds per stage, and ``total`` since the monitor was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}

    # The wish to stop

    def stop(self) -> bool:
        """Whether the work is not wanted any more."""
        return self._cancelled()

    def check(self, work: str = "The run") -> None:
        """Stop here where that is wished.

        Args:
            work: What was cancelled, for the message.

        Raises:
            Cancelled: The work is not wanted any more.
        """
        if self._cancelled():
            raise Cancelled(f"{work} was cancelled.")

    # Parts of the work, with seconds and notes of their own; the wish to stop is the same

    def share(self, number: int, count: int) -> Monitor:
        """A monitor for one of several pieces of about the same length: what is done of it counts as its share.

        Events that have a ``fraction`` and perhaps ``remaining_s`` then tell of all pieces together.

        Args:
            number: Of the piece, counted from 0.
            count: How many pieces there are.
        """
        started = time.perf_counter()

        def forward(event: Event) -> None:
            if "fraction" in event:
                remaining_s = event.get("remaining_s")
                if remaining_s is not None:  # the pieces to come take about as long as this one
                    remaining_s += (count - number - 1) * (time.perf_counter() - started + remaining_s)
                event = {**event, "fraction": (number + event["fraction"]) / count, "remaining_s": remaining_s}
            self.on_event(event)

        return Monitor(forward, self._cancelled, lambda done: self._on_fraction((number + done) / count))

    def through(self, listener: Listener) -> Monitor:
        """For work whose events a listener hears, which may pass them on to :attr:`on_event`."""
        return Monitor(listener, self._cancelled, self._on_fraction)

    def quiet(self) -> Monitor:
        """For work of which nothing is told."""
        return Monitor(cancelled=self._cancelled)


def _deaf(event: Any) -> None:
    """The listener of a caller who wants to hear nothing."""


def _never() -> bool:
    return False
