"""How a server takes a snapshot from a leader (section 7): receive, check again, restore, answer.

Rules of this file.  One at a time.  A snapshot never takes the state machine back, and never
leaves a log behind that contradicts it.
"""

from __future__ import annotations

import msgspec

from matchengine.raft.configuration import check_members
from matchengine.raft.core import Core
from matchengine.raft.follower import accept_leader, advance_commit
from matchengine.raft.messages import InstallSnapshot, InstallSnapshotResponse, Received
from matchengine.raft.ready import ReceiveSnapshot


class _Running(msgspec.Struct, frozen=True, gc=False):
    """``write`` is the number of the write that resets the log; 0 while bytes are coming in."""

    token: int
    request: InstallSnapshot
    write: int = 0


class Installer:
    """The snapshot that is coming in or being restored, if any."""

    __slots__ = ("_core", "_running", "_written")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: _Running | None = None
        self._written = False

    def receive(self, received: Received, request: InstallSnapshot) -> None:
        """Answer an InstallSnapshot call, or have its bytes received first."""
        core, token = self._core, received.token
        if request.term < core.term:
            self._answer(token, success=False)
        elif accept_leader(core, received, request):
            core.hear()
            self._consider(token, request)

    def _consider(self, token: int, request: InstallSnapshot) -> None:
        core, snapshot = self._core, request.snapshot
        try:
            _check(request)
        except ValueError as error:
            core.contradict(token, f"snapshot {snapshot.index}: {error}")
            return
        if snapshot.index <= core.log.commit:
            self._answer_stale(token, request)
        elif not self._gives_way(request):
            core.outbox.fail(token, "another snapshot is being installed")
        else:
            self._running = _Running(token, request)
            core.outbox.receive = ReceiveSnapshot(token, snapshot)

    def _gives_way(self, request: InstallSnapshot) -> bool:
        """Whether nothing stands in the way of ``request``: what a deposed leader began to send may never end."""
        running = self._running
        if running is None:
            return True
        if running.write or running.request.term >= request.term:
            return False
        self._core.outbox.fail(running.token, "the leader of a later term sends a snapshot")
        return True

    def received(self, token: int, error: str) -> None:
        """The bytes are durable, or (``error``) never will be."""
        running, core = self._running, self._core
        if running is None or running.token != token or running.write:
            return
        self._running = None
        request = running.request
        if error:
            core.outbox.fail(token, error)
        elif request.term < core.term:
            self._answer(token, success=False)
        elif request.snapshot.index <= core.log.commit:
            self._answer_stale(token, request)
        else:
            core.hear()
            self._install(token, request)

    def _install(self, token: int, request: InstallSnapshot) -> None:
        """Keep a log that agrees with the snapshot; replace any other, whose tail nobody can vouch for."""
        core, snapshot = self._core, request.snapshot
        if core.log.matches(snapshot.index, snapshot.term):
            advance_commit(core, snapshot.index)
            core.respond(token, InstallSnapshotResponse(core.term, True), snapshot.index)
            return
        core.reset_log(snapshot)
        self._running = _Running(token, request, core.writes.current)
        self._written = False

    def written(self, number: int) -> None:
        """Writes up to ``number`` are durable."""
        if self._running is not None and 0 < self._running.write <= number:
            self._written = True
            self.settle()

    def settle(self) -> None:
        """Answer once the log was reset and the state machine restored."""
        running = self._running
        if running is not None and self._written and not self._core.log.restoring:
            self._running = None
            self._written = False
            # An answer of a newer term would make a leader step down that we no longer follow; it is true all the same.
            self._answer(running.token, success=True)

    def _answer_stale(self, token: int, request: InstallSnapshot) -> None:
        """We are as far already: success unless our log has another term there.

        What we have compacted away is committed, so it is the leader's, too, unless its term says that it cannot be;
        to refuse would make it send the same snapshot for ever.
        """
        snapshot = request.snapshot
        self._answer(token, success=self._core.log.may_hold(snapshot.index, snapshot.term))

    def _answer(self, token: int, *, success: bool) -> None:
        self._core.respond(token, InstallSnapshotResponse(self._core.term, success))


def _check(request: InstallSnapshot) -> None:
    """ValueError for what no leader sends."""
    snapshot = request.snapshot
    if not 1 <= snapshot.term <= request.term:
        raise ValueError(f"its term {snapshot.term} is not from 1 to the leader's, {request.term}")
    if snapshot.configuration_index > snapshot.index:
        raise ValueError(f"its configuration is of a later index, {snapshot.configuration_index}")
    check_members(snapshot.configuration)
