"""A holder of a large object that several parts of a run use, and whose memory is free as soon as the last one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Lent(Generic[Value]):
    """The one holder of a large object, as a CT, that others use for a while. ``lend`` can be passed on for later.

    Whoever keeps a reference to the object keeps its memory, too: call :meth:`lend` where it is needed.

    Args:
        load: Gives the object; called by every :meth:`lend`, until the object is released.
    """

    def __init__(self, load: Callable[[], Value]):
        self._load: Callable[[], Value] | None = load

    @classmethod
    def holding(cls, value: Value) -> Lent[Value]:
        """A holder of an object that is in memory already."""
        return cls(lambda: value)

    def lend(self) -> Value:
        """The object, which stays held here.

        Raises:
            LookupError: It was taken or released.
        """
        if self._load is None:
            raise LookupError("What was lent has been taken, and is not held any more.")
        return self._load()

    def take(self) -> Value:
        """The object, for the last part that needs it: it is not held here any more.

        Raises:
            LookupError: It was taken or released before.
        """
        value = self.lend()
        self.release()
        return value

    def release(self) -> None:
        """Hold the object no longer; its memory is free once nobody else refers to it."""
        self._load = None
