"""One term of leadership: appending, replicating, committing, and stepping down in time.

Rules of this file.  An entry is committed when a majority of voters hold it durably and it is of
this term (section 5.4.2); the leader counts itself only for what its own disk has.  The object
is made on winning an election and dropped on losing the role, with everything that waits in it.
"""

from __future__ import annotations

from collections import deque
from itertools import chain

from matchengine.raft.configuration import changed, encode_configuration
from matchengine.raft.core import Core
from matchengine.raft.farewell import Farewells
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    TimeoutNow,
)
from matchengine.raft.progress import Mode, Progress
from matchengine.raft.proposals import Barrier, ChangeMembership, Command, Read, Reason, TransferLeadership
from matchengine.raft.quorum import is_quorum, reached_by_majority
from matchengine.raft.reads import ReadRounds
from matchengine.raft.ready import Accepted, Done, ReadReady
from matchengine.raft.replication import asks_anew, is_due, replicate, send_heartbeat
from matchengine.raft.transfer import Transfer, best_target
from matchengine.raft.types import Entry, EntryType, Index, Server, ServerId

#: For how many election timeouts a server that was just added may stay silent.
_PATIENCE = 5


class Leadership:
    """What a leader knows.  ``peers`` are all other members of the latest configuration."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.term = core.term
        self.peers: dict[ServerId, Progress] = {}
        self._farewells = Farewells()
        self.reads = ReadRounds()
        self.transfer: Transfer | None = None
        self.waiting_changes: deque[tuple[int, ChangeMembership]] = deque()
        self._meet_peers(core.now)
        log = core.log
        self.uncommitted_bytes = sum(e.size for e in log.slice(log.commit + 1, log.last_index))
        #: The no-op: what this leader may commit by counting begins here.
        self.first_index = self._append(EntryType.NOOP).index

    # --- proposals -------------------------------------------------------------------------

    def command(self, key: int, proposal: Command) -> None:
        """Append a command, or refuse it."""
        size = len(proposal.data) + len(proposal.extensions)
        limit = self._core.config.max_entry_bytes
        if self._is_closed(key):
            return
        if size > limit:
            self._core.outbox.refuse(key, Reason.TOO_LARGE, f"{size} bytes, limit {limit}")
        elif not self._is_full(key, size):
            entry = self._append(EntryType.COMMAND, proposal.data, proposal.extensions, proposal.appended_at)
            self._accept(key, entry)

    def barrier(self, key: int, proposal: Barrier) -> None:
        """Append a barrier, or refuse it."""
        if not (self._is_closed(key) or self._is_full(key, 0)):
            self._accept(key, self._append(EntryType.BARRIER, appended_at=proposal.appended_at))

    def read(self, key: int, _: Read) -> None:
        """Bind the read to the next round."""
        self.reads.add(key)

    def _is_closed(self, key: int) -> bool:
        """Refuse whatever would become an entry while leadership is being given up."""
        if self.transfer is not None:
            self._core.outbox.refuse(key, Reason.TRANSFER_IN_PROGRESS)
            return True
        if self._is_leaving:
            self._core.outbox.refuse(key, Reason.NOT_LEADER)
            return True
        return False

    def _is_full(self, key: int, size: int) -> bool:
        """Refuse what would take more memory than may wait for its commit."""
        config, log = self._core.config, self._core.log
        full = (
            self.uncommitted_bytes + size > config.max_uncommitted_bytes
            or log.last_index - log.commit >= config.max_uncommitted_entries
        )
        if full:
            self._core.outbox.refuse(key, Reason.BUSY)
        return full

    def _append(self, kind: EntryType, data: bytes = b"", extensions: bytes = b"", appended_at: int = 0) -> Entry:
        log = self._core.log
        entry = Entry(log.last_index + 1, self.term, kind, data, extensions, appended_at)
        log.append(entry)
        self.uncommitted_bytes += len(data) + len(extensions)
        return entry

    def _accept(self, key: int, entry: Entry) -> None:
        self._core.outbox.accepted.append(Accepted(key, entry.index, entry.term))

    # --- membership ------------------------------------------------------------------------

    def change(self, key: int, change: ChangeMembership) -> None:
        """Make a membership change now or after those under way, or refuse it."""
        if self._is_closed(key):
            return
        if len(self.waiting_changes) >= self._core.config.max_waiting_changes:
            self._core.outbox.refuse(key, Reason.CHANGE_PENDING)
            return
        self.waiting_changes.append((key, change))
        self._make_changes()

    def _make_changes(self) -> None:
        while self.waiting_changes and self._may_change():
            key, change = self.waiting_changes.popleft()
            if not self._is_closed(key):
                self._make_change(key, change)

    def _may_change(self) -> bool:
        """One change at a time, and only after an own entry is committed (thesis section 4.1 as corrected in 2015)."""
        return self._core.membership.is_settled and self.has_committed

    def _make_change(self, key: int, change: ChangeMembership) -> None:
        core = self._core
        latest = core.membership.latest_index
        if change.prev_index not in (0, latest):
            detail = f"configuration changed since {change.prev_index} (latest is {latest})"
            core.outbox.refuse(key, Reason.CONFIGURATION_CHANGED, detail)
            return
        try:
            configuration = changed(core.membership.latest, change)
        except ValueError as error:
            core.outbox.refuse(key, Reason.INVALID_CHANGE, str(error))
            return
        data = encode_configuration(configuration)
        entry = self._append(EntryType.CONFIGURATION, data, appended_at=change.appended_at)
        core.membership.append(entry.index, configuration)
        self._accept(key, entry)
        self._meet_peers(core.now + _PATIENCE * core.ticks.election_timeout)
        self._advance_commit()

    def _meet_peers(self, expected_until: int) -> None:
        """Bring ``peers`` in line with the latest configuration; whoever is new starts a new session.

        A new one counts as heard until it holds anything, at most until ``expected_until``: a process
        that has just been started must not cost the cluster the leader that adds it.  It is no
        answer, so neither a commit nor a read comes of it.
        """
        known = self.peers
        self.peers = {}
        for server in self._core.membership.latest.servers:
            if server.id != self._core.id:
                self.peers[server.id] = self._meet(server, known.get(server.id), expected_until)
                self._farewells.end(server.id)
        for server_id, progress in known.items():
            if server_id not in self.peers:
                self._farewells.begin(progress, self._core.membership.latest_index, expected_until)

    def _meet(self, server: Server, known: Progress | None, expected_until: int) -> Progress:
        if known is not None and known.server.address == server.address:
            known.server = server
            return known
        core = self._core
        progress = Progress(server, core.next_session(), core.log.last_index + 1, core.now)
        progress.expected_until = expected_until
        return progress

    @property
    def _is_leaving(self) -> bool:
        """Whether the committed configuration gives this leader no vote: it goes once that is applied."""
        membership = self._core.membership
        return membership.is_settled and self._core.id not in membership.voters

    # --- transfer --------------------------------------------------------------------------

    def start_transfer(self, key: int, proposal: TransferLeadership) -> None:
        """Begin to hand leadership over, or refuse."""
        if self._is_closed(key):
            return
        target = self._transfer_target(proposal.target)
        if target is None:
            detail = f"{proposal.target} is no other voter" if proposal.target else "there is no other voter"
            self._core.outbox.refuse(key, Reason.NO_TRANSFER_TARGET, detail)
            return
        self.transfer = Transfer(self._core, key, target.server.id)
        self._go_on_with_transfer()

    def _transfer_target(self, named: ServerId | None) -> Progress | None:
        if named is None:
            return best_target(self._core, self.peers.values())
        progress = self.peers.get(named)
        return progress if progress is not None and progress.is_voter else None

    def _go_on_with_transfer(self) -> None:
        transfer = self.transfer
        if transfer is not None:
            transfer.go_on(self.peers[transfer.target], self._core.log.last_index)

    def end_transfer(self, reason: Reason) -> None:
        """Give up a running transfer; proposals are accepted again."""
        transfer, self.transfer = self.transfer, None
        if transfer is not None:
            self._core.outbox.refuse(transfer.key, reason)
            self._make_changes()

    def timeout_now_failed(self, peer: ServerId) -> None:
        """The target did not answer."""
        if self.transfer is not None and self.transfer.target == peer:
            self.transfer.call_failed()

    # --- answers ---------------------------------------------------------------------------

    def _progress(self, peer: ServerId, session: int) -> Progress | None:
        """The follower, unless this comes from before it was removed and added again."""
        progress = self.peers.get(peer) or self._farewells.get(peer)
        return progress if progress is not None and progress.session == session else None

    def append_answered(self, peer: ServerId, request: AppendEntries, response: AppendEntriesResponse) -> None:
        """A follower answered in our term."""
        progress = self._progress(peer, request.session)
        if progress is None:
            return
        core = self._core
        if core.now - progress.last_contact > core.pace.in_time:
            self._heard_late(progress)
        progress.lost_call = False
        progress.last_contact = core.now
        progress.acked_round = max(progress.acked_round, request.round)
        if request.is_heartbeat:
            progress.heartbeats -= 1
        else:
            progress.returned(request, core.now)
            self._judge(progress, request, response)
        if self.reads.are_unconfirmed:
            self._confirm_reads()

    def _heard_late(self, progress: Progress) -> None:
        """Unless calls were lost, or the follower has just been added, this is how long its answers take."""
        if progress.is_voter and progress.match and not progress.lost_call:
            self._core.pace.answered(self._core.now - progress.last_contact)

    def _judge(self, progress: Progress, request: AppendEntries, response: AppendEntriesResponse) -> None:
        core = self._core
        was_probe = request is progress.outstanding
        if response.success:
            # last_log is from before the append; what was sent is what matches.
            if progress.matched(request.prev_log_index + len(request.entries), request) and progress.is_voter:
                self._advance_commit()
                self._go_on_with_transfer()
            if self._farewells.leaving:
                self._farewells.acknowledged(progress.server.id, request)
        elif progress.rejected(request, response.last_log, core.log.first_offered):
            if response.no_retry_backoff and asks_anew(core, progress, request, was_probe=was_probe):
                progress.retry_at = core.now
            else:
                progress.back_off(core.now, core.ticks.heartbeat_timeout // 2)

    def snapshot_answered(self, peer: ServerId, request: InstallSnapshot, response: InstallSnapshotResponse) -> None:
        """A follower installed a snapshot, or would not."""
        progress = self._progress(peer, request.session)
        if progress is None:
            return
        progress.lost_call = False
        progress.last_contact = self._core.now
        if not response.success:
            self._fell_silent(progress, request)
        elif progress.matched(request.snapshot.index, request) and progress.is_voter:
            self._advance_commit()

    def unanswered(self, peer: ServerId, request: AppendEntries | InstallSnapshot) -> None:
        """A call failed or took too long."""
        progress = self._progress(peer, request.session)
        if progress is None:
            return
        progress.lost_call = True
        if isinstance(request, InstallSnapshot):
            self._fell_silent(progress, request)
        elif request.is_heartbeat:
            progress.heartbeats -= 1
        else:
            progress.returned(request, self._core.now)
            self._fell_silent(progress, request)

    def _fell_silent(self, progress: Progress, request: AppendEntries | InstallSnapshot) -> None:
        if progress.fell_silent(request):
            progress.back_off(self._core.now, self._core.ticks.heartbeat_timeout // 2)

    def needed_from(self) -> Index:
        """The oldest entry that a follower which answers will still ask for.

        Without it, a log that is compacted faster than a snapshot travels would leave the follower
        behind again and again.
        """
        core = self._core
        heard = [p for p in self.peers.values() if core.now - p.last_contact <= core.pace.election_timeout]
        return min((p.needed_from for p in heard), default=core.log.last_index + 1)

    # --- commitment ------------------------------------------------------------------------

    @property
    def has_committed(self) -> bool:
        """Whether an entry of this term is committed, which makes the commit index ours (section 8)."""
        return self._core.log.commit >= self.first_index

    def written(self) -> None:
        """Our own disk holds more."""
        self._advance_commit()

    def _advance_commit(self) -> None:
        log = self._core.log
        index = reached_by_majority([self._match(v) for v in self._core.membership.voters])
        if index > log.commit and self._may_commit(index):
            self.uncommitted_bytes -= self._core.commit_to(index)
            if self.waiting_changes:
                self._make_changes()

    def _match(self, voter: ServerId) -> Index:
        return self._core.log.durable if voter == self._core.id else self.peers[voter].match

    def _may_commit(self, index: Index) -> bool:
        """Entries of earlier terms are committed only through one of ours (figure 8)."""
        return index >= self.first_index

    # --- reads -----------------------------------------------------------------------------

    def _begin_reads(self) -> None:
        self.reads.begin(self._core.log.commit)
        for progress in self.peers.values():
            if progress.is_voter:
                send_heartbeat(self._core, progress, self.reads.newest)
        self._confirm_reads()

    def _confirm_reads(self) -> None:
        confirmed = reached_by_majority([self._acked_round(v) for v in self._core.membership.voters])
        for key, index in self.reads.confirm(confirmed):
            self._core.outbox.reads.append(ReadReady(key, index))

    def _acked_round(self, voter: ServerId) -> int:
        return self.reads.newest if voter == self._core.id else self.peers[voter].acked_round

    # --- time ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Step down if nobody would notice otherwise; send heartbeats; end a transfer that takes too long."""
        core = self._core
        if core.write_hangs and self._others_could_go_on():
            core.step_down("the own disk has finished no write for an election timeout")
            return
        if not self._hears_quorum():
            core.step_down("no majority of the voters has answered for a lease")
            return
        for progress in self.peers.values():
            if core.now >= progress.heartbeat_at:
                send_heartbeat(core, progress, self.reads.newest)
        self._farewells.tick(core.now)
        if self.transfer is not None:
            if self.transfer.is_late:
                self.end_transfer(Reason.TRANSFER_TIMEOUT)
            else:
                self._go_on_with_transfer()

    def _others_could_go_on(self) -> bool:
        """Whether a majority of voters is without us, and answers appends.

        Elsewhere nobody could do better: servers that share a disk, or two of three whose disks hang.  An election
        would only add to their trouble, and whoever won it would soon step down as well.
        """
        core = self._core
        patience = core.pace.election_timeout // 2
        well = {
            p.server.id
            for p in self.peers.values()
            if p.mode is not Mode.SNAPSHOT and self._is_heard(p) and p.unanswered_for(core.now) < patience
        }
        return is_quorum(well, core.membership.voters)

    def _hears_quorum(self) -> bool:
        """Whether a majority of voters answered within the lease (thesis section 6.2)."""
        core = self._core
        heard = [peer for peer, p in self.peers.items() if self._is_heard(p) or p.is_expected(core.now)]
        return is_quorum([core.id, *heard], core.membership.voters)

    def _is_heard(self, progress: Progress) -> bool:
        return progress.last_contact >= self._core.now - self._core.pace.lease

    def applied(self) -> None:
        """The state machine moved on: a leader that was voted out may go, its last proposer has heard."""
        core = self._core
        if self._is_leaving and core.log.applied >= core.membership.committed_index:
            self._name_successor()
            core.step_down("the configuration that is committed gives it no vote")

    def _name_successor(self) -> None:
        """Spare the cluster the wait for a timeout."""
        successor = best_target(self._core, self.peers.values())
        if successor is not None and successor.match == self._core.log.last_index:
            self._core.outbox.send(successor.server, TimeoutNow())

    # --- way out ---------------------------------------------------------------------------

    @property
    def has_requests(self) -> bool:
        """Whether :meth:`flush` would send anything."""
        if self._can_begin_reads:
            return True
        core = self._core
        for progress in self.peers.values():
            if is_due(core, progress):
                return True
        return any(is_due(core, progress) for progress in self._farewells.all()) if self._farewells.leaving else False

    @property
    def _can_begin_reads(self) -> bool:
        return self.reads.can_begin and self.has_committed

    def flush(self) -> None:
        """Send what has gathered since the last call."""
        if self._can_begin_reads:
            self._begin_reads()
        for progress in chain(self.peers.values(), self._farewells.all()):
            replicate(self._core, progress, self.reads.newest)

    def resign(self) -> None:
        """The role is lost: everything that waits is told so."""
        outbox = self._core.outbox
        for key in self.reads.give_up():
            outbox.refuse(key, Reason.NOT_LEADER)
        for key, _ in self.waiting_changes:
            outbox.refuse(key, Reason.NOT_LEADER)
        if self.transfer is not None:
            if self._core.term > self.term:
                outbox.done.append(Done(self.transfer.key))
            else:
                outbox.refuse(self.transfer.key, Reason.TRANSFER_ABORTED)
