"""A signal: sections tell of events, and learn of them, without knowing each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls whoever subscribed, in the order in which they did.

    Example::

        run_ended = Signal()
        run_ended.connect(lambda: print("ended"))
        run_ended.emit()
    """

    def __init__(self) -> None:
        self._receivers: list[Callable[..., None]] = []

    def connect(self, receiver: Callable[..., None]) -> None:
        """Call ``receiver`` with what is emitted, for as long as the panel lives."""
        self._receivers.append(receiver)

    def emit(self, *arguments: Any) -> None:
        """Tell every receiver."""
        for receiver in self._receivers:
            receiver(*arguments)
