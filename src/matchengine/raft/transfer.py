"""Handing leadership over (thesis section 3.10): stop proposals, bring the target up to date, say "now"."""

from __future__ import annotations

from collections.abc import Iterable

from matchengine.raft.core import Core
from matchengine.raft.messages import TimeoutNow
from matchengine.raft.progress import Progress
from matchengine.raft.types import Index, ServerId


class Transfer:
    """One running transfer.  It lives no longer than its leader, so it can never be left behind."""

    __slots__ = ("_asked_at", "_core", "deadline", "key", "target")

    def __init__(self, core: Core, key: int, target: ServerId) -> None:
        self._core = core
        self._asked_at = -1
        self.key = key
        self.target = target
        self.deadline = core.now + core.pace.election_timeout

    def go_on(self, progress: Progress, last_index: Index) -> None:
        """Tell the target to stand once it holds everything; again with the next tick if the call failed."""
        if progress.match == last_index and self._asked_at < 0:
            self._asked_at = self._core.now
            self._core.outbox.send(progress.server, TimeoutNow())

    def call_failed(self) -> None:
        """The call to the target got no answer."""
        self._asked_at = -1

    @property
    def is_late(self) -> bool:
        """Whether an election would have been over by now."""
        return self._core.now >= self.deadline


def best_target(core: Core, peers: Iterable[Progress]) -> Progress | None:
    """The voter that is furthest ahead, before all others one that answers; None without a voter."""
    voters = [p for p in peers if p.is_voter]
    return max(voters, key=lambda p: (core.now - p.last_contact <= core.pace.lease, p.match), default=None)
