"""Servers that were removed, and are told so before the leader leaves them.

A server that has its removal, committed, follows nobody and stands in no election; one that does not know of it
would ask for votes for ever.

Rules of this file.  Who is here is no member: it counts for no commit, no read and no lease.  It stays until it holds
its removal and knows it to be committed, and no longer than its time.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from matchengine.raft.messages import AppendEntries
from matchengine.raft.progress import Mode, Progress
from matchengine.raft.types import Index, ServerId


class _Leaving(msgspec.Struct, frozen=True, gc=False):
    progress: Progress
    removal: Index
    until: int


class Farewells:
    """The removed servers that are still replicated to.  Times are in ticks."""

    __slots__ = ("leaving",)

    def __init__(self) -> None:
        self.leaving: dict[ServerId, _Leaving] = {}

    def begin(self, progress: Progress, removal: Index, until: int) -> None:
        """Go on with ``progress`` up to the entry ``removal``; one that is far behind is not worth a snapshot."""
        if progress.mode is Mode.REPLICATE:
            self.leaving[progress.server.id] = _Leaving(progress, removal, until)

    def get(self, server_id: ServerId) -> Progress | None:
        """The session with a removed server, if it lasts."""
        leaving = self.leaving.get(server_id)
        return None if leaving is None else leaving.progress

    def all(self) -> Iterable[Progress]:
        """Whom to replicate to beside the members."""
        return [leaving.progress for leaving in self.leaving.values()] if self.leaving else ()

    def acknowledged(self, server_id: ServerId, request: AppendEntries) -> None:
        """A removed server took ``request``: it knows as much of the commit index as that says."""
        leaving = self.leaving.get(server_id)
        if leaving is not None and min(request.leader_commit, leaving.progress.match) >= leaving.removal:
            del self.leaving[server_id]

    def end(self, server_id: ServerId) -> None:
        """The server is a member again."""
        self.leaving.pop(server_id, None)

    def tick(self, now: int) -> None:
        """Time passes; a server that is gone hears of its removal when it asks for votes."""
        if self.leaving:
            self.leaving = {i: leaving for i, leaving in self.leaving.items() if now < leaving.until}
