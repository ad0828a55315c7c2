"""Which fault comes when: from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from random import Random
from typing import Final

import msgspec


class Kind(StrEnum):
    """What can be done to a cluster; the names are those of the report."""

    KILL = "killed"
    KILL_ALL = "all killed at once"
    PAUSE = "paused"
    FULL_DISK = "disk filled"
    ISOLATE = "isolated from all"
    ISOLATE_FROM_NODES = "isolated from the other nodes"
    SPLIT = "network split"
    ONE_WAY = "cut one way"
    SLOW = "delayed"
    LOSSY = "frames lost"
    TRANSFER = "leadership transferred"
    SNAPSHOT = "snapshot forced"
    ADD = "member added"
    REMOVE = "member removed"
    DEMOTE = "member demoted"
    READD = "member re-added, wiped"
    CLIENT = "client restarted"


class Fault(msgspec.Struct, frozen=True):
    """After ``pause_s`` without one, a fault that lasts ``hold_s``; ``dice`` in [0, 1) decides what else is open."""

    kind: Kind
    pause_s: float
    hold_s: float
    dice: tuple[float, ...]


class Lane(msgspec.Struct, frozen=True):
    """Faults of one sort, one after the other.  Every kind of ``deck`` comes before any comes again."""

    name: str
    deck: tuple[Kind, ...]
    pause_s: tuple[float, float]
    hold_s: tuple[float, float]

    def faults(self, seed: int) -> Iterator[Fault]:
        """Without end."""
        chance = Random(f"{seed}/{self.name}")
        while True:
            for kind in chance.sample(self.deck, len(self.deck)):
                pause, hold = chance.uniform(*self.pause_s), chance.uniform(*self.hold_s)
                yield Fault(kind, pause, hold, tuple(chance.random() for _ in range(4)))


#: The lanes go on at the same time, so faults of different sorts meet.
LANES: Final = (
    Lane(
        "processes",
        (Kind.KILL, Kind.PAUSE, Kind.FULL_DISK, Kind.KILL, Kind.PAUSE, Kind.KILL_ALL),
        (2.0, 7.0),
        (0.5, 4.0),
    ),
    Lane(
        "network",
        (Kind.ISOLATE, Kind.ISOLATE_FROM_NODES, Kind.SPLIT, Kind.ONE_WAY, Kind.SLOW, Kind.LOSSY),
        (2.0, 7.0),
        (1.0, 5.0),
    ),
    Lane(
        "operator",
        (Kind.TRANSFER, Kind.SNAPSHOT, Kind.ADD, Kind.DEMOTE, Kind.REMOVE, Kind.READD, Kind.TRANSFER, Kind.SNAPSHOT),
        (1.0, 3.0),
        (0.5, 2.0),
    ),
    Lane("clients", (Kind.CLIENT,), (4.0, 12.0), (0.0, 0.0)),
)


def lanes_named(names: Sequence[str]) -> tuple[Lane, ...]:
    """The lanes with these names; ValueError for a name that none has, or for one given twice."""
    known = {lane.name: lane for lane in LANES}
    for name in names:
        if name not in known:
            raise ValueError(f"faults: {name!r} is not one of {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"faults: {', '.join(names)} names one of them twice")
    return tuple(known[name] for name in names)
