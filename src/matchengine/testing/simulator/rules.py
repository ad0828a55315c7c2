"""The rules that a simulation checks after every step; figure 3 of the Raft paper first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matchengine.raft.configuration import decode_configuration
from matchengine.raft.progress import Mode
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Index,
    Restored,
    Role,
    ServerId,
    Suffrage,
    Term,
)
from matchengine.sessions import ENVELOPE, SessionAnswer, decode_answer
from matchengine.storage.contracts import StorageError
from matchengine.testing.simulator.checkers import Checker
from matchengine.testing.simulator.invariants import (
    AGREEMENT,
    COMMITTED_IN_ORDER,
    IDLE_SESSIONS,
    PROGRESS,
    STEPS_END,
    Claims,
    Seen,
    View,
)
from matchengine.testing.simulator.node_rules import (
    BoundedMemory,
    ConfirmedReads,
    DurableClaims,
    LostForAReason,
    MembersOfTheLog,
)
from matchengine.testing.simulator.oracle import digest
from matchengine.testing.simulator.session_rules import HeldAnswers, LivingSessions

if TYPE_CHECKING:
    from matchengine.testing.simulator.clients import Client, Ticket
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.process import Process
    from matchengine.testing.simulator.world import World

#: At every so manieth index the whole states are compared, not only the answers.
_COMPARED: Final = 16
_UNSEEN: Final = frozenset((EntryType.NOOP, EntryType.BARRIER))


def _voters(configuration: Configuration) -> list[ServerId]:
    """Told without the product's own code: a rule that asked it who votes would believe whatever it says."""
    return [server.id for server in configuration.servers if server.suffrage is Suffrage.VOTER]


def _is_majority(some: list[ServerId], voters: list[ServerId]) -> bool:
    return 2 * len(some) > len(voters)


class ElectionSafety(Checker):
    """At most one leader is elected in a term, by the durable votes of a majority, one of each server."""

    name = "election safety"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        self._leaders: dict[Term, Process] = {}

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        core = process.core
        if core.role is not Role.LEADER or (view.role is Role.LEADER and view.term == core.term):
            return
        first = self._leaders.setdefault(core.term, process)
        if first is not process:
            self.broken(f"{first.id} and {process.id} both lead term {core.term}")
        voters = _voters(core.membership.latest)
        for_it = [v for v in voters if process.id in self.seen.votes.get((core.term, v), ())]
        if not _is_majority(for_it, voters):
            self.broken(f"{process.id} leads term {core.term} with the durable votes of {for_it} of {voters}")

    def voted(self, process: Process, state: HardState) -> None:
        """See :class:`Checker`."""
        given = self.seen.votes.get((state.term, process.id), set())
        if len(given) > 1:
            self.broken(f"{process.id} gives its vote of term {state.term} to {' and '.join(sorted(given))}")


class LeaderAppendOnly(Checker):
    """A leader never overwrites or deletes entries of its own log."""

    name = "leader append-only"

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        core = process.core
        if core.role is not Role.LEADER or view.role is not Role.LEADER or core.term != view.term:
            return
        log = core.log
        if log.last_index < view.last_index or log.term(view.last_index) not in (None, view.last_term):
            self.broken(f"{process.id} led term {core.term} up to {view.last_index} and now holds {log.last_index}")


class LogMatching(Checker):
    """If two logs hold an entry with the same index and term, they are equal up to it.

    By induction: (index, term) determines the entry and the term before it.
    """

    name = "log matching"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        self._known: dict[tuple[Index, Term], tuple[Entry, Term | None]] = {}
        self._bases: dict[Process, Index] = {}

    def ticked(self, process: Process) -> None:
        """See :class:`Checker`; what is known of the entry before the log is of that entry."""
        log, seen = process.core.log, self.seen
        base = log.first_index - 1
        if base == self._bases.get(process) or not seen.first_committed <= base <= seen.last_committed:
            return
        self._bases[process] = base
        if log.term(base) not in (None, seen.entry(base).term):
            self.broken(f"{process.id} takes entry {base}, before its log, for one of term {log.term(base)}")

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        log = process.core.log
        if log.last_index == view.last_index and log.last_term == view.last_term:
            return
        same = view.last_index <= log.last_index and log.term(view.last_index) == view.last_term
        first = view.last_index + 1 if same else max(log.first_index, view.commit + 1)
        for entry in log.slice(max(first, log.first_index), log.last_index):
            self._check(process, entry, log.term(entry.index - 1))

    def _check(self, process: Process, entry: Entry, before: Term | None) -> None:
        known = self._known.setdefault((entry.index, entry.term), (entry, before))
        if known[0] != entry or (before is not None and known[1] is not None and before != known[1]):
            self.broken(
                f"{process.id} holds another entry {entry.index} of term {entry.term}, or another one before it"
            )


class LeaderCompleteness(Checker):
    """A leader holds every entry that was committed in earlier terms."""

    name = "leader completeness"

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        core, seen = process.core, self.seen
        if core.role is not Role.LEADER or (view.role is Role.LEADER and view.term == core.term):
            return
        index = seen.last_committed
        while index >= seen.first_committed and seen.committed_in[index - seen.first_committed] >= core.term:
            index -= 1
        if index < max(seen.first_committed, core.log.first_index):
            return
        if core.log.term(index) != seen.entry(index).term:
            self.broken(f"{process.id} leads term {core.term} without entry {index}, which is committed")


class StateMachineSafety(Checker):
    """Nodes commit the same entries, answer them alike, and have the same state at the same index.

    The standard is a machine of the checker's own, which executes every command once and never restarts.
    """

    name = "state-machine safety"

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`; what is committed stays committed."""
        commit = process.core.log.commit
        if commit < view.commit:
            self.broken(f"{process.id} had committed up to {view.commit} and is back at {commit}")

    def committed(self, process: Process, entry: Entry) -> None:
        """See :class:`Checker`."""
        known = self.seen.entry(entry.index)
        if not _is_same(known, entry):
            self.broken(f"{process.id} commits entry {entry.index} of term {entry.term}, others of term {known.term}")

    def applied(self, process: Process, entry: Entry, answer: bytes) -> None:
        """See :class:`Checker`."""
        known = self.world.checkers.oracle.executed(entry.index)
        if known is None or known[0] != entry:
            self.broken(f"{process.id} applies another entry {entry.index}")
        elif known[1] != answer:
            self.broken(f"{process.id} answers entry {entry.index} with {answer.hex()}, rightly {known[1].hex()}")
        elif not entry.index % _COMPARED:
            self._compare(process, entry.index)

    def restored(self, process: Process) -> None:
        """See :class:`Checker`; the index is known only after this event."""
        self.world.timeline.after(0, process.enter, self._compare_restored, process)

    def _compare_restored(self, process: Process) -> None:
        # A command that was begun since then is part of the state, and not of what has been applied.
        if process.replica.machine_is_readable:
            self._compare(process, process.replica.applied)

    def _compare(self, process: Process, index: Index) -> None:
        known = self.world.checkers.oracle.digest(index)
        if known is not None and known != digest(process.sessions):
            self.broken(f"{process.id} has another state at {index}")


def _is_same(one: Entry, other: Entry) -> bool:
    """Whether no state machine sees a difference; no-ops reach none, whatever is in them."""
    if one.type in _UNSEEN:
        return one.type is other.type and one.term == other.term
    return one == other


class AcknowledgedKept(Checker):
    """What a client was told is in the log, where it was said to be, with the answer that was given."""

    name = "acknowledged commands kept"

    def acknowledged(self, client: Client, ticket: Ticket, _sequence: int, answer: SessionAnswer) -> None:
        """See :class:`Checker`."""
        index, seen = answer.value, self.seen
        entry = seen.entry(index) if seen.first_committed <= index <= seen.last_committed else None
        if entry is None or entry.data[ENVELOPE.size :] != ticket.command:
            self.broken(f"{client.id} was told that its command {ticket.number} stands at {index}; it does not")
        executed = self.world.checkers.oracle.executed(index)
        if executed is None or decode_answer(executed[1]) != answer:
            self.broken(f"{client.id} was told another answer to its command {ticket.number} than entry {index} has")


class ExactlyOnce(Checker):
    """No command is executed at two indexes."""

    name = "exactly once"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        self._executed: dict[bytes, Index] = {}

    def executed(self, process: Process, entry: Entry) -> None:
        """See :class:`Checker`."""
        first = self._executed.setdefault(entry.data, entry.index)
        if first != entry.index:
            self.broken(f"{process.id} executes the command of entry {first} at {entry.index} again")


class LinearizableReads(Checker):
    """A read misses nothing that any client knew when it began, and tells the state at its index."""

    name = "linearizable reads"

    def read(self, client: Client, node: ServerId, query: int, known: Index, index: Index, answer: object) -> None:
        """See :class:`Checker`."""
        if index < known:
            self.broken(f"{client.id} reads at {node} as of {index}, when {known} was known")
        right = self.world.checkers.oracle.read(index, query)
        if answer != right:
            self.broken(f"{client.id} reads {answer} at {node} as of {index}, rightly {right}")


class RealMajorities(Checker):
    """Entries of a leader's own term are committed by majorities of real disks; members change one at a time."""

    name = "real majorities"

    def changed(self, process: Process, view: View) -> None:
        """See :class:`Checker`."""
        core = process.core
        if core.role is not Role.LEADER:
            return
        if core.log.commit > view.commit and view.role is Role.LEADER and view.term == core.term:
            self._committed(process)
        if core.log.last_index > view.last_index:
            self._appended(process, view)

    def _committed(self, process: Process) -> None:
        core = process.core
        index = core.log.commit
        term = core.log.term(index)
        if term is None:
            return
        if term != core.term:
            self.broken(f"{process.id} commits {index} of term {term} by counting, in term {core.term}")
        for configuration in _in_force(core.membership.committed, core.membership.latest):
            voters = _voters(configuration)
            holders = [v for v in voters if v in self.seen.claims and self.seen.claims[v].holds(index, term)]
            if _is_majority(holders, voters):
                return
        self.broken(f"{process.id} commits {index}, which is durable at {holders} of {voters} only")

    def _appended(self, process: Process, view: View) -> None:
        """A leader's new configuration differs by one voter from the one before, which is committed."""
        core = process.core
        for entry in core.log.slice(max(view.last_index + 1, core.log.first_index), core.log.last_index):
            if entry.type is EntryType.CONFIGURATION and entry.term == core.term:
                self._one_change(process, entry)

    def _one_change(self, process: Process, entry: Entry) -> None:
        core = process.core
        before = [e for e in core.log.slice(core.log.commit + 1, entry.index - 1) if e.type is EntryType.CONFIGURATION]
        if before:
            self.broken(f"{process.id} changes members at {entry.index} before {before[-1].index} is committed")
        if core.log.term(core.log.commit) != core.term:
            self.broken(f"{process.id} changes members at {entry.index} before it has committed anything of its term")
        changed = set(_voters(decode_configuration(entry.data))) ^ set(_voters(core.membership.committed))
        if len(changed) > 1:
            self.broken(f"{process.id} changes {sorted(changed)} at once, at {entry.index}")


def _in_force(committed: Configuration, latest: Configuration) -> tuple[Configuration, ...]:
    return (committed,) if committed == latest else (committed, latest)


class Durability(Checker):
    """What a disk was said to hold is there when the node starts again."""

    name = "durability"

    def started(self, process: Process, restored: Restored) -> None:
        """See :class:`Checker`."""
        claims = self.seen.claims.get(process.id)
        if claims is not None:
            self._compare(process, claims, restored)

    def imagined(self, process: Process, restored: Restored) -> None:
        """See :class:`Checker`; what writes under way take away is claimed no more."""
        self._compare(process, self.seen.claims[process.id].after_crash(), restored)

    def _compare(self, process: Process, claims: Claims, restored: Restored) -> None:
        was, found = claims.hard_state, restored.hard_state
        if found.term < was.term or (found.term == was.term and was.voted_for not in ("", found.voted_for)):
            self.broken(f"{process.id} wrote {was} and finds {found}")
        snapshot = restored.snapshot
        covered = snapshot.index if snapshot else 0
        terms = {entry.index: entry.term for entry in restored.entries}
        for index, term in enumerate(claims.terms, claims.floor + 1):
            if index > covered and terms.get(index) != term:
                self.broken(f"{process.id} wrote entry {index} of term {term} and finds {terms.get(index)}")
        if snapshot is not None and terms.get(covered, snapshot.term) != snapshot.term:
            self.broken(f"{process.id} finds entry {covered} of another term than its snapshot up to there")
        if claims.floor > covered and claims.floor not in terms:
            self.broken(f"{process.id} had a snapshot up to {claims.floor} and finds one up to {covered}")


class ClearStop(Checker):
    """A node stops for its disk alone, and refuses a directory only for damage that was done to it."""

    name = "clear stop"

    def stopped(self, process: Process, error: Exception) -> None:
        """See :class:`Checker`."""
        if not isinstance(error, StorageError):
            self.broken(f"{process.id} stops: {error!r}")

    def refused(self, host: Host, error: StorageError) -> None:
        """See :class:`Checker`."""
        if not host.is_damaged and not host.is_troubled:
            self.broken(f"{host.id} refuses a directory that nobody has damaged: {error}")


class HangingLeader(Checker):
    """A leader whose disk has not answered for much longer than an election takes leads no more.

    It may stay while no majority could go on without it: others hang as well, or cannot be reached.
    """

    name = "hanging leader makes way"

    def __init__(self, world: World, seen: Seen) -> None:
        super().__init__(world, seen)
        self._since: dict[Process, tuple[int, int]] = {}

    def ticked(self, process: Process) -> None:
        """See :class:`Checker`."""
        oldest = process.disk.oldest if process.leads else None
        if oldest is None or not self._others_are_well(process):
            self._since.pop(process, None)
            return
        number, since = self._since.setdefault(process, (oldest.number, process.ticks))
        if number != oldest.number:
            self._since[process] = (oldest.number, process.ticks)
        elif process.ticks - since > self._bound(process):
            self.broken(f"{process.id} leads, and its write {number} is pending since {process.ticks - since} ticks")

    @staticmethod
    def _bound(process: Process) -> int:
        """What a slow disk may take grows with what it has taken (``raft/pace.py``)."""
        return 2 * process.replica.core.pace.election_timeout + 10

    def _others_are_well(self, process: Process) -> bool:
        """By their disks as they are; whether requests reach them, only the leader can tell."""
        status = process.replica.status()
        soon = self._bound(process) // 6  # well within what the leader has patience for
        reached = {
            peer.id
            for peer in status.peers
            if peer.mode is not Mode.SNAPSHOT and max(peer.last_contact, peer.unanswered_for) < soon
        }
        voters = _voters(status.configuration)
        return _is_majority([v for v in voters if v in reached and self._is_well(v)], voters)

    def _is_well(self, server: ServerId) -> bool:
        host = self.world.hosts.get(server)
        return host is not None and host.process is not None and host.process.disk.oldest is None


RULES: Final[tuple[type[Checker], ...]] = (
    ElectionSafety,
    LeaderAppendOnly,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    AcknowledgedKept,
    ExactlyOnce,
    LinearizableReads,
    RealMajorities,
    Durability,
    ClearStop,
    HangingLeader,
    DurableClaims,
    MembersOfTheLog,
    LostForAReason,
    ConfirmedReads,
    BoundedMemory,
    LivingSessions,
    HeldAnswers,
)

#: Every rule by its name; the last ones belong to the run as a whole.
NAMES: Final = (*(rule.name for rule in RULES), COMMITTED_IN_ORDER, STEPS_END, IDLE_SESSIONS, PROGRESS, AGREEMENT)
