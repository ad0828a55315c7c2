"""How long ago a node last knew a leader at work."""

from __future__ import annotations

from collections.abc import Callable

from matchengine.raft.ready import SoftState
from matchengine.raft.types import Role


class LeaderContact:
    """Turns the core's count of ticks into time, and knows "never" from "at the start"."""

    def __init__(self, tick_ms: int, clock: Callable[[], float]) -> None:
        self._tick_ms = tick_ms
        self._clock = clock
        self._leads = False
        self._heard = False
        self._led_until: float | None = None

    def note(self, state: SoftState) -> None:
        """Role or leader has changed."""
        leads = state.role is Role.LEADER
        if self._leads and not leads:
            self._led_until = self._clock()
        self._leads = leads
        self._heard = self._heard or (bool(state.leader_id) and not leads)

    def age_ms(self, ticks: int) -> int | None:
        """Milliseconds since contact, which the core saw ``ticks`` ago.

        0 while leading.  A former leader counts from the end of its own leadership; None: there was none.
        """
        if self._leads:
            return 0
        ages = [ticks * self._tick_ms] if self._heard else []
        if self._led_until is not None:
            ages.append(int(1000 * (self._clock() - self._led_until)))
        return min(ages, default=None)
