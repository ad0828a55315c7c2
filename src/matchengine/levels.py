"""Feature levels: which replicated behaviour a cluster of several program versions has switched on.

A cluster has two levels, both part of the replicated state: one for what this library replicates around every
machine (sessions), one for the user's machine (see :class:`matchengine.state_machine.Leveled`).  Both begin at 0,
which is what every program before feature levels does.  An operator raises them once all members can execute
the new level; they never rise by themselves and never fall.  ``docs/levels.md`` lists what each level brings.
"""

from __future__ import annotations

from typing import Final

import msgspec

from matchengine.state_machine import Leveled, StateMachine

#: Session ids are chosen at random by the leader, held answers are bounded in bytes, and expiry names its sessions.
SESSION_RULES: Final = 1
#: The highest library level that this program can execute.
NEWEST_LIBRARY_LEVEL: Final = 1
#: A level travels in two bytes of a snapshot.
MAX_LEVEL: Final = 2**16 - 1


class Levels(msgspec.Struct, frozen=True):
    """A pair of levels: the library's and the machine's."""

    library: int = 0
    machine: int = 0

    def covers(self, other: Levels) -> bool:
        """Whether a program with these newest levels can execute everything at ``other``."""
        return self.library >= other.library and self.machine >= other.machine

    def __str__(self) -> str:
        return f"{self.library}.{self.machine}"


def newest_levels(machine: StateMachine) -> Levels:
    """The highest levels that this program can execute with ``machine``."""
    return Levels(NEWEST_LIBRARY_LEVEL, machine.newest_level if isinstance(machine, Leveled) else 0)
