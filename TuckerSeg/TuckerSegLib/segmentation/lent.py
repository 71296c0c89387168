"""Something large that several parts of a run look at, and whose memory is free as soon as the last one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Lent(Generic[Thing]):
    """The one place that holds a thing, as a large CT, while others look at it. ``lend`` can be passed on for later.

    Whoever keeps what it was lent keeps its memory, too: look at it where it is needed, and let it go.

    Args:
        thing: Gives it; asked again and again, until the thing is not held any more.
    """

    def __init__(self, thing: Callable[[], Thing]):
        self._thing: Callable[[], Thing] | None = thing

    @classmethod
    def of(cls, thing: Thing) -> Lent[Thing]:
        """A holder of something that is there."""
        return cls(lambda: thing)

    def lend(self) -> Thing:
        """What is held, to look at.

        Raises:
            LookupError: It is not held any more.
        """
        if self._thing is None:
            raise LookupError("What was lent has been taken, and is not held any more.")
        return self._thing()

    def take(self) -> Thing:
        """What is held, for the last one who needs it: it is not held here any more."""
        thing = self.lend()
        self.release()
        return thing

    def release(self) -> None:
        """Hold it no longer."""
        self._thing = None
