"""Ticks from the event loop's clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

#: A loop that stands still for longer is told of, at most once in so many seconds.
_STALL_S: Final = 0.1
_TELL_EVERY_S: Final = 10.0


class Ticker:
    """Calls ``tick`` every ``interval_s`` seconds.

    Ticks that a stalled loop missed are dropped, not made up for: the messages that waited
    during the stall must be seen before anybody concludes that they never came.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float, tick: Callable[[], None]) -> None:
        self._loop = loop
        self._interval = interval_s
        self._tick = tick
        self._told_at = -_TELL_EVERY_S
        self._next = loop.time() + interval_s
        self._handle = loop.call_at(self._next, self._fire)

    def stop(self) -> None:
        """No further ticks."""
        self._handle.cancel()

    def _fire(self) -> None:
        now = self._loop.time()
        if now - self._next > _STALL_S:
            self._tell(now)
        self._next = max(self._next + self._interval, now)
        self._handle = self._loop.call_at(self._next, self._fire)
        self._tick()

    def _tell(self, now: float) -> None:
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            logger.info("the event loop stood still for %d ms", 1000 * (now - self._next))
