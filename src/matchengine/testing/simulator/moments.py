"""Moments of a run that matter, and those who wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from matchengine.testing.simulator.host import Host


class Moment(StrEnum):
    """Something that happens to one node."""

    ELECTED = "a leader is elected"
    FIRST_COMMIT = "a leader commits its first entry"
    DEPOSED = "another leads and it does not know"
    CHANGE_PENDING = "a change of the members is pending"
    TRUNCATED = "a log loses entries"
    SNAPSHOT_COMING = "a snapshot comes in"
    SNAPSHOT_DURABLE = "a snapshot has come in"
    RESTORING = "a snapshot is restored"
    STARTED = "a node has started"


Trap: TypeAlias = Callable[["Host"], None]
#: No more traps than these wait at one time for one moment.
_MOST_WAITING: Final = 4


class Traps:
    """What waits for its moment; each trap is told of one, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[Moment, deque[Trap]] = {}

    def has_room(self, moment: Moment) -> bool:
        """Whether one more may wait for this moment."""
        return len(self._waiting.get(moment, ())) < _MOST_WAITING

    def add(self, moment: Moment, trap: Trap) -> None:
        """``trap`` hears of the next such moment for which no older one waits."""
        self._waiting.setdefault(moment, deque()).append(trap)

    def comes(self, moment: Moment, host: Host) -> None:
        """The moment has come for ``host``."""
        waiting = self._waiting.get(moment)
        if waiting:
            trap = waiting.popleft()
            trap(host)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
