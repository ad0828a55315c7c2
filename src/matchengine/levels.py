"""Feature levels: which replicated behaviour a cluster of several program versions has switched on.

A cluster has two levels, both part of the replicated state: one for what this library replicates around every
machine (sessions), one for the user's machine (see :class:`matchengine.state_machine.Leveled`).  Both begin at 0,
which is what every program before feature levels does.  An operator raises them once all members can execute
the new level; they never rise by themselves and never fall.  ``docs/levels.md`` lists what each level brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final, Self

import msgspec

from matchengine.errors import RefusedError
from matchengine.state_machine import Leveled, StateMachine

#: Session ids are chosen at random by the leader, held answers are bounded in bytes, and expiry names its sessions.
SESSION_RULES: Final = 1
#: The highest library level that this program can execute.
NEWEST_LIBRARY_LEVEL: Final = 1
#: A level travels in two bytes of a snapshot.
MAX_LEVEL: Final = 2**16 - 1
_MOST_DIGITS: Final = 5
_SHOWN: Final = 40


class Levels(msgspec.Struct, frozen=True):
    """A pair of levels: the library's and the machine's."""

    library: int = 0
    machine: int = 0

    def covers(self, other: Levels) -> bool:
        """Whether a program with these newest levels can execute everything at ``other``."""
        return self.library >= other.library and self.machine >= other.machine

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pair that is written ``LIBRARY.MACHINE``, for example ``1.0``; raises ValueError for any other text."""
        parts = text.split(".")
        if len(parts) != 2 or not all(_is_level(part) for part in parts):
            raise ValueError(
                f"feature level: {text[:_SHOWN]!r} is not LIBRARY.MACHINE, two numbers from 0 to {MAX_LEVEL}"
            )
        return cls(*map(int, parts))

    def joined(self, other: Levels) -> Levels:
        """The higher of each."""
        return Levels(max(self.library, other.library), max(self.machine, other.machine))

    def common(self, other: Levels) -> Levels:
        """The lower of each: what two programs can both execute."""
        return Levels(min(self.library, other.library), min(self.machine, other.machine))

    def __str__(self) -> str:
        return f"{self.library}.{self.machine}"


def _is_level(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= MAX_LEVEL


class MemberLevels(msgspec.Struct, frozen=True):
    """What one member of the cluster can execute.  ``newest`` is None when that is unknown; ``trouble`` says why."""

    id: str
    address: str
    newest: Levels | None
    trouble: str = ""

    def __str__(self) -> str:
        found = self.trouble if self.newest is None else f"executes up to {self.newest}"
        return f"{self.id} at {self.address} {found}"


def newest_levels(machine: StateMachine) -> Levels:
    """The highest levels that this program can execute with ``machine``."""
    return Levels(NEWEST_LIBRARY_LEVEL, machine.newest_level if isinstance(machine, Leveled) else 0)


def agreed_levels(active: Levels, members: Sequence[MemberLevels], asked: Levels | None = None) -> Levels:
    """The levels to which the cluster may be raised: ``asked``, or the highest that every member can execute.

    Equal to ``active`` when every member's program ends there.  Raises RefusedError, whose text names each member in
    the way on a line of its own, when a member's levels are unknown or too low for what was asked; without ``asked``
    also when some members could execute more than ``active``, and others keep them from it.
    """
    if asked is not None and not asked.covers(active):
        raise RefusedError(f"feature level {asked} is below {active}, which is in force; levels never fall")
    known = [member.newest for member in members if member.newest is not None]
    target = asked or active.joined(reduce(Levels.common, known, known[0] if known else active))
    raises_nothing = asked is None and target == active
    wanted = reduce(Levels.joined, known, active) if raises_nothing else target
    in_the_way = [member for member in members if member.newest is None or not member.newest.covers(wanted)]
    if in_the_way:
        lines = "".join(f"\n  {member}" for member in in_the_way)
        raise RefusedError(f"feature level {wanted} cannot be put in force, {active} stays:{lines}")
    return target
