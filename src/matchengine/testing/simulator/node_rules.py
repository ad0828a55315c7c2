"""Rules of one node at a time: what it says is durable, its members are those of its log, its memory is bounded.

They are stricter than figure 3 of the Raft paper, and seen sooner: a node that breaks one of them may still do no
harm for a long time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matchengine.raft.configuration import decode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNowResponse,
)
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    Index,
    Restored,
    ServerId,
    SnapshotMeta,
    Suffrage,
    Term,
)
from matchengine.testing.simulator.checkers import Checker
from matchengine.testing.simulator.invariants import Claims, Seen, View
from matchengine.testing.simulator.network import Inbound

if TYPE_CHECKING:
    from matchengine.testing.simulator.process import Process
    from matchengine.testing.simulator.world import World

#: A node's memory is looked at with every so manieth tick.
_LOOKS: Final = 32


class DurableClaims(Checker):
    """What a message says of its sender's term, vote and log is on the sender's disk when the message leaves."""

    name = "durable claims"

    def sent(self, process: Process, request: Request) -> None:
        """See :class:`Checker`."""
        state = self.seen.claims[process.id].hard_state
        if isinstance(request, RequestVote):
            if (state.term, state.voted_for) != (request.term, process.id):
                self.broken(f"{process.id} asks for votes in term {request.term}, and its disk has {state}")
        elif isinstance(request, AppendEntries | InstallSnapshot) and request.term > state.term:
            self.broken(f"{process.id} leads term {request.term}, and its disk has {state}")

    def answered(self, process: Process, sender: ServerId, request: Request, response: Response) -> None:
        """See :class:`Checker`."""
        claims = self.seen.claims[process.id]
        if isinstance(response, TimeoutNowResponse | RequestPreVoteResponse):
            return
        if response.term > claims.hard_state.term:
            self.broken(f"{process.id} answers in term {response.term}, and its disk has {claims.hard_state}")
        match request, response:
            case AppendEntries(), AppendEntriesResponse(success=True) if not request.is_heartbeat:
                self._holds(process, claims, request)
            case RequestVote(), RequestVoteResponse(granted=True):
                self._voted(process, claims, sender, request)
            case InstallSnapshot(), InstallSnapshotResponse(success=True):
                self._covers(process, claims, request.snapshot)

    def _holds(self, process: Process, claims: Claims, request: AppendEntries) -> None:
        index = request.prev_log_index + len(request.entries)
        term = request.entries[-1].term if request.entries else request.prev_log_term
        if not claims.holds(index, term):
            self.broken(f"{process.id} acknowledges entry {index} of term {term}, which its disk does not have")

    def _voted(self, process: Process, claims: Claims, sender: ServerId, request: RequestVote) -> None:
        state = claims.hard_state
        if state.term == request.term and state.voted_for != sender:
            self.broken(f"{process.id} votes for {sender} in term {request.term}, and its disk has {state}")

    def _covers(self, process: Process, claims: Claims, snapshot: SnapshotMeta) -> None:
        """What is committed anyhow may be acknowledged although the own disk is behind."""
        if not claims.holds(snapshot.index, snapshot.term) and process.core.log.commit < snapshot.index:
            self.broken(f"{process.id} acknowledges a snapshot up to {snapshot.index}, which its disk does not have")


class MembersOfTheLog(Checker):
    """The configuration in force is the latest in the log, committed or not, or that of the snapshot before it."""

    name = "members of the log"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        self._committed: list[tuple[Index, Configuration]] = []
        self._snapshots: dict[Process, SnapshotMeta | None] = {}

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        core = process.core
        log = core.log
        if log.last_index == view.last_index and log.last_term == view.last_term:
            return
        goes_on = view.last_index <= log.last_index and log.term(view.last_index) == view.last_term
        first = view.last_index + 1 if goes_on else log.first_index
        found = _newest(log.slice(max(first, log.first_index), log.last_index))
        if found is not None:
            right = (found.index, decode_configuration(found.data))
        elif goes_on:
            return
        else:
            right = _of_snapshot(log.snapshot)
        if (core.membership.latest_index, core.membership.latest) != right:
            self.broken(f"{process.id} follows members of {core.membership.latest_index}; its log has {right[0]}")

    def committed(self, process: Process, entry: Entry) -> None:
        """See :class:`Checker`."""
        if entry.type is not EntryType.CONFIGURATION:
            return
        if not self._committed or self._committed[-1][0] < entry.index:
            self._committed.append((entry.index, decode_configuration(entry.data)))
        index = process.core.membership.committed_index
        if index < entry.index:
            self.broken(f"{process.id} has committed the members of {entry.index}, and takes {index} for the newest")

    def started(self, process: Process, restored: Restored) -> None:
        """See :class:`Checker`."""
        self._snapshot(process, restored.snapshot)

    def ticked(self, process: Process) -> None:
        """See :class:`Checker`."""
        snapshot = process.core.log.snapshot
        if snapshot is not self._snapshots.get(process):
            self._snapshots[process] = snapshot
            self._snapshot(process, snapshot)

    def _snapshot(self, process: Process, snapshot: SnapshotMeta | None) -> None:
        """A snapshot carries the newest members that are committed up to its index."""
        if snapshot is None or snapshot.index > self.seen.last_committed:
            return
        right = next((known for known in reversed(self._committed) if known[0] <= snapshot.index), None)
        if right is not None and (snapshot.configuration_index, snapshot.configuration) != right:
            self.broken(
                f"{process.id} has a snapshot up to {snapshot.index} with the members of "
                f"{snapshot.configuration_index} instead of {right[0]}"
            )


def _newest(entries: tuple[Entry, ...]) -> Entry | None:
    return next((e for e in reversed(entries) if e.type is EntryType.CONFIGURATION), None)


def _of_snapshot(snapshot: SnapshotMeta | None) -> tuple[Index, Configuration]:
    return (snapshot.configuration_index, snapshot.configuration) if snapshot else (0, Configuration())


class LostForAReason(Checker):
    """A log loses entries only where the leader's has others: what is left is not the old log cut short."""

    name = "lost for a reason"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        #: The terms of each process's entries behind an index.
        self._logs: dict[Process, tuple[Index, list[Term]]] = {}

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        log = process.core.log
        if log.last_index == view.last_index and log.last_term == view.last_term:
            return
        floor, terms = self._logs.get(process, (log.first_index - 1, []))
        last = log.last_index
        if floor < last < floor + len(terms) and terms[last - floor - 1] == log.last_term and not log.restoring:
            self.broken(
                f"{process.id} loses entries {last + 1} to {floor + len(terms)}, and nothing stood against them"
            )
        goes_on = floor + len(terms) == view.last_index <= last and log.term(view.last_index) == view.last_term
        if goes_on and terms:
            terms += [entry.term for entry in log.slice(view.last_index + 1, last)]
        else:
            self._logs[process] = (log.first_index - 1, [entry.term for entry in log.slice(log.first_index, last)])


class ConfirmedReads(Checker):
    """A leader gives a read index only after a majority has answered what was sent when the read was there already."""

    name = "confirmed reads"

    def confirmed(self, process: Process, begun: int) -> None:
        """See :class:`Checker`."""
        membership = process.core.membership
        if not any(self._is_proof(process, c, begun) for c in (membership.latest, membership.committed)):
            self.broken(f"{process.id} answers a read in term {process.core.term} that no majority has confirmed")

    def _is_proof(self, process: Process, configuration: Configuration, begun: int) -> bool:
        voters = [server.id for server in configuration.servers if server.suffrage is Suffrage.VOTER]
        term = process.core.term
        heard = [v for v in voters if v == process.id or process.heard.get(v, (0, 0)) > (term, begun)]
        return 2 * len(heard) > len(voters)


class BoundedMemory(Checker):
    """A node keeps nothing that is over: no call that was answered, no message whose write is done."""

    name = "bounded memory"

    def ticked(self, process: Process) -> None:
        """See :class:`Checker`."""
        if process.ticks % _LOOKS:
            return
        replica, core = process.replica, process.core
        kept = [call for call in replica._calls.values() if isinstance(call, Inbound) and call.settled]
        if kept:
            self.broken(f"{process.id} keeps {len(kept)} calls that it has answered")
        writes = core.writes
        oldest = writes._pending[0].number if writes._pending else writes.current
        late = [number for number in core.outbox._held if number < oldest]
        if late:
            self.broken(f"{process.id} keeps messages that wait for its write {late[0]}, which is done")


def held_by(process: Process) -> dict[str, int]:
    """What a node keeps for others, by kind; nothing of it may be left in a cluster at rest."""
    replica = process.replica
    room, installer = replica._room, replica._raft._installer
    leadership = replica._raft._leadership
    counts = {
        "calls of peers": len(replica._calls),
        "proposals": len(replica._proposed),
        "entries waited for": len(replica._waiting),
        "reads": len(replica._reads),
        "snapshots asked for": len(room._asked) + len(room._served),
        "examinations": len(room._examiners),
        "batches to apply": len(room._queue),
        "snapshots coming in": int(installer._running is not None),
        "held messages": sum(map(len, process.core.outbox._held.values())),
        "changes that wait": len(leadership.waiting_changes) if leadership else 0,
        "transfers": int(leadership is not None and leadership.transfer is not None),
    }
    return {kind: count for kind, count in counts.items() if count}
