"""Simulated time: one queue of events, each at its microsecond, those of one moment in the order of their making."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, TypeAlias

MS: Final = 1_000
SECOND: Final = 1_000_000

_Event: TypeAlias = tuple[int, int, Callable[..., None], tuple[Any, ...]]


class Timeline:
    """``now`` in microseconds since the start; ``steps`` counts the events that have happened."""

    __slots__ = ("_made", "_queue", "now", "steps")

    def __init__(self) -> None:
        self.now = 0
        self.steps = 0
        self._made = 0
        self._queue: list[_Event] = []

    def after(self, delay: int, action: Callable[..., None], *args: Any) -> None:
        """Do ``action(*args)`` in ``delay`` microseconds."""
        self._made += 1
        heappush(self._queue, (self.now + delay, self._made, action, args))

    def at(self, time: int, action: Callable[..., None], *args: Any) -> None:
        """Do ``action(*args)`` at ``time``, or now if that is over."""
        self.after(max(0, time - self.now), action, *args)

    def run_to(self, steps: int) -> None:
        """Events happen until ``steps`` have."""
        queue = self._queue
        while self.steps < steps:
            self.now, _, action, args = heappop(queue)
            self.steps += 1
            action(*args)

    def step(self) -> None:
        """The next event happens."""
        self.run_to(self.steps + 1)
