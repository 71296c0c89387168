"""Something that is done a little later, unless it is asked for again or given up meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import qt


class Delay:
    """Calls an action once, some time after the last :meth:`start`.

    It holds no timer: PythonQt deletes a timer that has no parent with its last reference, which an action may drop.

    Args:
        milliseconds: From :meth:`start` to the call; with 0, what Qt has to do comes first.
        action: What is called.
    """

    def __init__(self, milliseconds: int, action: Callable[[], None]):
        self._milliseconds, self._action = milliseconds, action
        self._number = 0

    def start(self) -> None:
        """Call it after the delay; a call that was due before is dropped."""
        self._number += 1
        number = self._number
        qt.QTimer.singleShot(self._milliseconds, lambda: self._call(number))

    def stop(self) -> None:
        """Do not call it."""
        self._number += 1

    def _call(self, number: int) -> None:
        if number == self._number:
            self._action()
