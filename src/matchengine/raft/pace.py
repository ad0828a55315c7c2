"""How slow things are at the moment, and the timeouts that follow from it.

A timeout must be several times what a heartbeat or a write really takes.  Otherwise a machine that is merely busy
holds elections without a fault, and servers whose disks are slow never elect anybody: the next election begins before
the votes of the last one are durable.  So delays are measured, and the timeouts are widened where they have to be.

Rules of this file.  A timeout is at least the profile's and at most ``WIDEST`` times as long.  Everything is measured
in the server's own ticks, which a process that stands still does not count.  A delay counts for one to two
``MEMORY_MS``.  Nothing here is about safety: which timeout is chosen changes only how soon a fault is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from matchengine.raft.config import Ticks, Timing
from matchengine.raft.types import ServerId, Term

#: At most so many times as long as in the profile.
WIDEST: Final = 5
#: A timeout is this many times the slowest delay: an election on slow disks takes the candidate's write and a voter's.
_MARGIN: Final = 3
#: Timeouts change in steps of half the profile's, so that the log tells of few changes.
_STEPS: Final = 2
#: Measured delays are forgotten after this time at the earliest, and twice this time at the latest.
MEMORY_MS: Final = 30_000


class Pace:
    """The measured delays of one server, and its timeouts in ticks.

    Only gaps above ``in_time`` and durations above ``slowest`` are news, so that callers need not tell every one.
    ``heartbeat_timeout``, ``election_timeout`` and ``lease`` are those of the profile, widened alike.  ``changed`` is
    called after every change, with a sentence that says why.
    """

    __slots__ = (
        "_changed",
        "_contact",
        "_failed_elections",
        "_last",
        "_level",
        "_memory",
        "_of",
        "_ticks",
        "_timing",
        "_until",
        "election_timeout",
        "heartbeat_timeout",
        "in_time",
        "lease",
        "slowest",
    )

    def __init__(self, timing: Timing, changed: Callable[[str], None]) -> None:
        self._timing = timing
        self._changed = changed
        self._ticks = Ticks.of(timing)
        self._memory = MEMORY_MS // timing.tick_ms
        self._until = self._memory
        #: The slowest delay of this stretch of memory and of the last.
        self.slowest = self._last = 0
        self.in_time = self._ticks.heartbeat_interval
        self._failed_elections = 0
        #: The leadership that was heard last, and when.
        self._of: tuple[Term, ServerId] = (0, "")
        self._contact = 0
        self._level = 0
        self._set(_STEPS)

    # --- measuring -------------------------------------------------------------------------

    def heard(self, term: Term, leader: ServerId, now: int) -> None:
        """``leader`` spoke in ``term``; the time since it last did is what its heartbeats really take."""
        if self._of != (term, leader):
            self._of = (term, leader)
        elif now - self._contact > self.in_time:
            self._late(now - self._contact, "the leader's heartbeat")
        self._contact = now

    def heard_late(self, term: Term, leader: ServerId, now: int) -> None:
        """A leader that was given up was alive all the while."""
        if self._of == (term, leader):
            self._late(now - self._contact, "the leader's heartbeat")
            self._of = (0, "")

    def answered(self, ticks: int) -> None:
        """A follower was silent for so long and lost no call: this is what its answers really take."""
        self._late(ticks, "a follower's answer")

    def _late(self, ticks: int, what: str) -> None:
        """``what`` came after ``ticks``; in time it comes once in every heartbeat interval.

        What took longer than the widest lease is an outage, and says nothing about the pace; so for the disk.
        """
        if ticks <= WIDEST * self._ticks.lease:
            self._note(ticks - self._ticks.heartbeat_interval, f"{what} was late by")

    def voted(self, ticks: int) -> None:
        """A vote that was asked for came after so long."""
        self._note(ticks, "a vote took")

    def written(self, ticks: int) -> None:
        """The disk took so long for a write, the time in its queue left out."""
        if ticks <= WIDEST * self._ticks.election_timeout:
            self._note(ticks, "a write to the disk took")

    def election_failed(self) -> None:
        """This server stood, and neither won nor heard of a winner in time."""
        self._failed_elections += 1
        self._adapt(f"{self._failed_elections} elections in a row have failed")

    def election_over(self) -> None:
        """There is a leader."""
        if self._failed_elections:
            self._failed_elections = 0
            self._adapt("")

    def tick(self, now: int) -> None:
        """Time passes; what was measured long ago is forgotten."""
        if now >= self._until:
            self._until = now + self._memory
            self.slowest, self._last = 0, self.slowest
            self.in_time = self._ticks.heartbeat_interval
            self._adapt("")

    # --- adapting --------------------------------------------------------------------------

    def _note(self, ticks: int, what: str) -> None:
        if ticks > self.slowest:
            self.slowest = ticks
            self.in_time = self._ticks.heartbeat_interval + ticks
            self._adapt(f"{what} {ticks * self._timing.tick_ms} ms")

    def _adapt(self, why: str) -> None:
        """Choose the least timeout that is long enough."""
        base = self._ticks.election_timeout
        needed = _MARGIN * max(self.slowest, self._last)
        if self._failed_elections > 1:  # one may fail by chance: two stood at the same time
            needed = max(needed, base << min(self._failed_elections - 1, WIDEST))
        level = min(max(-(-_STEPS * needed // base), _STEPS), _STEPS * WIDEST)
        if level != self._level:
            word = "widened" if level > self._level else "narrowed"
            self._set(level)
            text = f"election timeout {word} to {self.election_timeout * self._timing.tick_ms} ms"
            self._changed(f"{text}: {why}" if why else text)

    def _set(self, level: int) -> None:
        self._level = level
        self.heartbeat_timeout = self._ticks.heartbeat_timeout * level // _STEPS
        self.election_timeout = self._ticks.election_timeout * level // _STEPS
        self.lease = self._ticks.lease * level // _STEPS
