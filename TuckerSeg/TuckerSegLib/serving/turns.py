"""One network at a time: who waits, and that those who wait are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Turns:
    """A queue of which the first is at work. Who leaves it, however that goes, makes room for the next."""

    def __init__(self):
        self._waiting: list[tuple[asyncio.Event, Callable[[int], None]]] = []

    @contextlib.asynccontextmanager
    async def turn(self, on_place: Callable[[int], None]) -> AsyncIterator[None]:
        """Wait for one's turn, and have it.

        Args:
            on_place: Receives how many are before this one, whenever that is another number above 0.
        """
        own = (asyncio.Event(), on_place)
        self._waiting.append(own)
        try:
            if self._waiting[0] is own:
                own[0].set()
            else:
                on_place(len(self._waiting) - 1)
            await own[0].wait()
            yield
        finally:
            place = self._waiting.index(own)
            self._waiting.remove(own)
            if self._waiting and place == 0:
                self._waiting[0][0].set()
            for number, (_, tell) in enumerate(self._waiting[place:], place):
                if number:
                    tell(number)
