"""Whether the other half lives.  It says so several times a second; here somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

ROUND_S: Final = 1.0
#: Rounds of silence after which nothing more is expected.
PATIENCE: Final = 10


class Pulse:
    """Calls ``lost`` once nothing was heard for :data:`PATIENCE` rounds.

    Rounds are counted, not time: while this process stood still, it could not hear.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        self._loop = loop
        self._lost = lost
        self._silent = 0
        self._timer = loop.call_later(ROUND_S, self._round)

    def heard(self) -> None:
        """The other half has sent something."""
        self._silent = 0

    def stop(self) -> None:
        """Listen no more."""
        self._timer.cancel()

    def _round(self) -> None:
        self._silent += 1
        if self._silent > PATIENCE:
            self._lost()
        else:
            self._timer = self._loop.call_later(ROUND_S, self._round)
