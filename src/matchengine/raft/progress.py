"""What a leader knows about one follower: how far its log matches, and what is under way to it.

Rules of this file.  ``match`` never falls within a session.  In PROBE at most one request with a
statement about the log is unanswered; in REPLICATE requests follow each other without waiting,
within a window; in SNAPSHOT one snapshot is under way and nothing else but heartbeats.

    from       event                                          to
    PROBE      a request leaves (sent)                        PROBE, with an outstanding request
    PROBE      a snapshot leaves (sent_snapshot)              SNAPSHOT
    PROBE      an append is acknowledged (matched)            REPLICATE
    PROBE      refused, unanswered, no snapshot fits          PROBE, none before ``retry_at``
    REPLICATE  a request leaves (sent)                        REPLICATE, a place in the window taken
    REPLICATE  refused, unanswered (rejected, fell_silent)    PROBE
    REPLICATE  what comes next is compacted away              SNAPSHOT (sent_snapshot) or PROBE (fell_behind)
    SNAPSHOT   installed (matched)                            REPLICATE
    SNAPSHOT   unanswered or refused (fell_silent)            PROBE, none before ``retry_at``

Every request that leaves takes away the reason why it was due, and every wait has an end in time.
"""

from __future__ import annotations

from enum import IntEnum

from matchengine.raft.messages import AppendEntries, InstallSnapshot
from matchengine.raft.types import Index, Server, Suffrage


class Mode(IntEnum):
    """How the follower is being replicated to."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class Progress:
    """One follower's replication session.  Times are in ticks."""

    __slots__ = (
        "_step",
        "_top",
        "_unanswered_since",
        "acked_round",
        "agrees_nowhere",
        "expected_until",
        "failures",
        "heartbeat_at",
        "heartbeats",
        "inflight_bytes",
        "inflight_requests",
        "last_append",
        "last_contact",
        "lost_call",
        "match",
        "may_have_applied",
        "mode",
        "next",
        "outstanding",
        "retry_at",
        "searches_singly",
        "sent_commit",
        "server",
        "session",
    )

    def __init__(self, server: Server, session: int, next_index: Index, now: int) -> None:
        self.server = server
        self.session = session
        self.match: Index = 0
        self.next = next_index
        self.mode = Mode.PROBE
        #: The probe or snapshot that is under way; its answer alone moves ``next`` back.
        self.outstanding: AppendEntries | InstallSnapshot | None = None
        self.inflight_requests = 0
        self.inflight_bytes = 0
        self._unanswered_since = now
        self.sent_commit: Index = 0
        self.last_append = now
        self.last_contact = now
        #: Whether a call failed since the last answer: then the time between two answers says nothing.
        self.lost_call = False
        #: Until then the follower counts as heard although it holds nothing yet.
        self.expected_until = now
        self.acked_round = 0
        self.heartbeats = 0
        self.heartbeat_at = now
        self.failures = 0
        self.retry_at = now
        #: A search for what matches: how far the next step goes back, where the first one began, and whether
        #: all of it was passed over already, so that now every place is tried.
        self._step = 1
        self._top: Index = 0
        self.searches_singly = False
        #: Whether it has refused every place of our log: a snapshot is what is left.
        self.agrees_nowhere = False
        #: What it has applied is at most this: it was committed when the session began, or came in this session.
        self.may_have_applied = next_index - 1

    @property
    def is_voter(self) -> bool:
        """Whether the follower votes and counts for commitment."""
        return self.server.suffrage is Suffrage.VOTER

    def is_expected(self, now: int) -> bool:
        """Whether the follower is so new that its silence means nothing yet."""
        return now < self.expected_until and not self.match

    @property
    def needed_from(self) -> Index:
        """The first entry that the follower will need once what is under way has arrived."""
        if isinstance(self.outstanding, InstallSnapshot):
            return self.outstanding.snapshot.index + 1
        return self.match + 1

    # --- requests --------------------------------------------------------------------------

    def sent(self, request: AppendEntries, now: int) -> None:
        """``request`` leaves; in REPLICATE the next one goes on behind it."""
        if not self.inflight_requests:
            self._unanswered_since = now
        self.inflight_requests += 1
        self.inflight_bytes += _bytes_of(request)
        self.sent_commit = max(self.sent_commit, request.leader_commit)
        self.last_append = now
        if self.mode is Mode.REPLICATE:
            self.next += len(request.entries)
        else:
            self.outstanding = request

    def sent_snapshot(self, request: InstallSnapshot) -> None:
        """A snapshot leaves."""
        self.mode = Mode.SNAPSHOT
        self.outstanding = request

    def returned(self, request: AppendEntries, now: int) -> None:
        """``request`` is no longer under way, whatever became of it."""
        self._unanswered_since = now
        self.inflight_requests -= 1
        self.inflight_bytes -= _bytes_of(request)

    def unanswered_for(self, now: int) -> int:
        """For how many ticks requests have been under way and none came back; 0 when nothing is."""
        return now - self._unanswered_since if self.inflight_requests else 0

    # --- outcomes --------------------------------------------------------------------------

    def matched(self, index: Index, request: AppendEntries | InstallSnapshot) -> bool:
        """The follower holds our log up to ``index``; returns whether that is news."""
        if request is self.outstanding or self.mode is Mode.PROBE:
            self.outstanding = None
            self.mode = Mode.REPLICATE
        is_news = index > self.match
        if is_news or isinstance(request, AppendEntries):
            self.failures = 0
        self._step = 1
        self.searches_singly = self.agrees_nowhere = False
        self.next = max(self.next, index + 1)
        self.may_have_applied = max(self.may_have_applied, index)
        if not is_news:
            return False
        self.match = index
        return True

    def rejected(self, request: AppendEntries, last_log: Index, first_offered: Index) -> bool:
        """The log did not match before ``request``; returns whether the answer still mattered.

        ``last_log`` is only a hint.  Where it does not help, the steps back double: sending too
        much costs bytes, one step at a time costs round trips.  A server of HashiCorp's that has
        installed a snapshot also refuses what lies before its log, so the only places at which it
        agrees may lie between two steps: then the second way back leaves none out.
        """
        is_probe = request is self.outstanding
        if not is_probe and (self.mode is not Mode.REPLICATE or request.prev_log_index < self.match):
            return False
        self.outstanding = None
        self.mode = Mode.PROBE
        self.may_have_applied = min(self.may_have_applied, last_log)
        self.next = self._earlier(request.prev_log_index, last_log, first_offered)
        if not is_probe:
            # An acknowledgement may have overtaken this answer.  Whether the follower really lost
            # what it had, only a probe that was sent after that can tell.
            self.next = max(self.next, self.match + 1)
        self.sent_commit = 0
        return True

    def _earlier(self, prev: Index, last_log: Index, first_offered: Index) -> Index:
        if last_log + 1 < prev:
            return last_log + 1
        floor = max(self.match + 1, first_offered)
        bottom = floor if self.searches_singly else first_offered
        self.agrees_nowhere = prev < bottom and (self.searches_singly or self.match > 0)
        if self.searches_singly:
            return max(prev, 1)
        if self._step == 1:
            self._top = prev
        if prev < floor < self._top:
            self.searches_singly = True
            return self._top
        step, self._step = self._step, self._step * 2
        return max(prev + 1 - step, floor if prev >= floor else first_offered - 1, 1)

    def fell_silent(self, request: AppendEntries | InstallSnapshot) -> bool:
        """``request`` got no answer; returns whether it belongs to what is under way now."""
        if request is not self.outstanding and self.mode is not Mode.REPLICATE:
            return False
        self.outstanding = None
        if self.mode is Mode.REPLICATE:
            self.next = self.match + 1
        self.mode = Mode.PROBE
        self.sent_commit = 0
        return True

    def fell_behind(self) -> None:
        """The log was compacted beyond what comes next, and there is no snapshot yet that may be sent."""
        if self.mode is Mode.REPLICATE:
            self.mode = Mode.PROBE
            self.next = self.match + 1
            self.sent_commit = 0

    def back_off(self, now: int, longest: int) -> None:
        """Wait before the next try: one tick, then twice as long each time, up to ``longest`` ticks."""
        self.retry_at = now + min(1 << min(self.failures, 16), max(longest, 1))
        self.failures += 1


def _bytes_of(request: AppendEntries) -> int:
    return sum([len(entry.data) + len(entry.extensions) for entry in request.entries]) if request.entries else 0
