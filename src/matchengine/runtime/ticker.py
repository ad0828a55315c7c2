"""Ticks from the event loop's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Ticker:
    """Calls ``tick`` every ``interval_s`` seconds.

    Ticks that a stalled loop missed are dropped, not made up for: the messages that waited
    during the stall must be seen before anybody concludes that they never came.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float, tick: Callable[[], None]) -> None:
        self._loop = loop
        self._interval = interval_s
        self._tick = tick
        self._next = loop.time() + interval_s
        self._handle = loop.call_at(self._next, self._fire)

    def stop(self) -> None:
        """No further ticks."""
        self._handle.cancel()

    def _fire(self) -> None:
        self._next = max(self._next + self._interval, self._loop.time())
        self._handle = self._loop.call_at(self._next, self._fire)
        self._tick()
