"""The checkers: each knows one rule and hears, step by step, of what could break it.

A checker is a class with any of the hooks below.  :class:`Checkers` calls them, and can be told to do without some
of them, which is how it is shown that every one is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from matchengine.errors import MatchEngineError
from matchengine.raft.messages import Request, Response
from matchengine.raft.ready import SoftState, Write
from matchengine.raft.types import Entry, Index, Restored, Role, ServerId
from matchengine.sessions import SessionAnswer
from matchengine.storage.contracts import StorageError
from matchengine.testing.simulator.invariants import COMMITTED_IN_ORDER, Claims, InvariantError, Seen, View
from matchengine.testing.simulator.moments import Moment
from matchengine.testing.simulator.oracle import Oracle

if TYPE_CHECKING:
    from matchengine.testing.simulator.clients import Client, Ticket
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.process import Process
    from matchengine.testing.simulator.world import World

_HOOKS: Final = (
    "started",
    "imagined",
    "voted",
    "ticked",
    "changed",
    "committed",
    "applied",
    "executed",
    "restored",
    "acknowledged",
    "read",
    "stopped",
    "refused",
    "sent",
    "answered",
    "confirmed",
    "over",
)


class Checker:
    """One rule.  ``changed`` follows every event in which role, term, log or commit index of a process changed."""

    name: ClassVar[str] = ""

    def __init__(self, world: World, seen: Seen) -> None:
        self.world = world
        self.seen = seen

    def broken(self, text: str) -> None:
        """The rule is broken."""
        raise InvariantError(self.name, text)


class Checkers:
    """All checkers but those in ``without``."""

    def __init__(self, world: World, kinds: Iterable[type[Checker]], without: Collection[str]) -> None:
        self.world = world
        self.seen = Seen()
        self.oracle = Oracle(world)
        self._acknowledged: Index = 0
        self.checkers = [kind(world, self.seen) for kind in kinds if kind.name not in without]
        self._hooks: dict[str, list[Callable[..., None]]] = {
            hook: [getattr(c, hook) for c in self.checkers if hasattr(c, hook)] for hook in _HOOKS
        }
        self._applied = self._hooks["applied"]
        self._changed = self._hooks["changed"]
        self._ticked = self._hooks["ticked"]
        self._sent = self._hooks["sent"]
        self._answered = self._hooks["answered"]

    # --- a process's life ------------------------------------------------------------------

    def started(self, process: Process, restored: Restored) -> None:
        """``process`` has read ``restored`` from its disk."""
        self._tell("started", process, restored)
        self.seen.claims[process.id] = Claims(restored)
        self.seen.vote(process.id, restored.hard_state)
        view = process.view = View()
        view.term = restored.hard_state.term

    def imagined(self, process: Process, restored: Restored) -> None:
        """``process`` would find ``restored`` if the power went now."""
        self._tell("imagined", process, restored)

    def ended(self, process: Process) -> None:
        """``process`` is no more."""
        if process.view is not None:
            process.view = None
            self.seen.claims[process.id].crash()

    def wiped(self, host: Host) -> None:
        """The server has an empty disk, on purpose."""
        self.seen.claims.pop(host.id, None)

    def stopped(self, process: Process, error: Exception) -> None:
        """The node has stopped itself; what a checker has found in the state machine is behind its stop."""
        if isinstance(error, InvariantError):
            raise error
        self._tell("stopped", process, error)

    def refused(self, host: Host, error: StorageError) -> None:
        """The node would not start on what it found."""
        self._tell("refused", host, error)
        if host.is_damaged:
            host.damaged = str(error)

    def ticked(self, process: Process) -> None:
        """A tick has passed for ``process``."""
        for hook in self._ticked:
            hook(process)

    # --- messages --------------------------------------------------------------------------

    def sent(self, process: Process, request: Request) -> None:
        """A request of ``process`` leaves."""
        for hook in self._sent:
            hook(process, request)

    def answered(self, process: Process, sender: ServerId, request: Request, response: Response) -> None:
        """The answer of ``process`` to ``sender`` leaves."""
        for hook in self._answered:
            hook(process, sender, request, response)

    # --- the disk --------------------------------------------------------------------------

    def submitted(self, process: Process, write: Write) -> None:
        """The core wants ``write`` done."""
        self.seen.claims[process.id].pending.append(write)

    def written(self, process: Process, writes: list[Write]) -> None:
        """The storage says that ``writes`` are durable."""
        claims = self.seen.claims[process.id]
        for write in writes:
            claims.written(write)
            if write.hard_state is not None:
                self.seen.vote(process.id, write.hard_state)
                self._tell("voted", process, write.hard_state)

    # --- the core --------------------------------------------------------------------------

    def look(self, process: Process) -> None:
        """Something has happened to ``process``."""
        view = process.view
        if view is None:
            return
        core = process.core
        log = core.log
        if (
            log.commit == view.commit
            and log.last_index == view.last_index
            and core.term == view.term
            and core.role is view.role
            and log.last_term == view.last_term
        ):
            return
        self._note_commit(process, view.commit)
        for hook in self._changed:
            hook(process, view)
        self._note_moments(process, view)
        view.role, view.term, view.commit = core.role, core.term, log.commit
        view.last_index, view.last_term = log.last_index, log.last_term

    def _note_moments(self, process: Process, view: View) -> None:
        """Tell those who lie in wait."""
        comes, host, log = self.world.traps.comes, process.host, process.core.log
        if log.last_index < view.last_index:
            comes(Moment.RESTORING if log.restoring else Moment.TRUNCATED, host)
        elif log.restoring and log.last_index > view.last_index:
            comes(Moment.RESTORING, host)
        if process.core.role is not Role.LEADER:
            return
        if log.commit > view.commit and log.term(view.commit) != log.term(log.commit) == process.core.term:
            comes(Moment.FIRST_COMMIT, host)
        if log.last_index > view.last_index and process.core.membership.latest_index > max(view.last_index, log.commit):
            comes(Moment.CHANGE_PENDING, host)

    def _note_commit(self, process: Process, before: Index) -> None:
        log, seen = process.core.log, self.seen
        for index in range(max(before + 1, log.first_index), log.commit + 1):
            found = log.slice(index, index)
            if not found or found[0].index != index:
                self.world.fail(COMMITTED_IN_ORDER, f"{process.id} commits entry {index} and does not hold it")
                return
            if index > seen.last_committed + 1:
                self.world.fail(COMMITTED_IN_ORDER, f"{process.id} commits {index}, and nobody the entry before")
                return
            if index == seen.last_committed + 1:
                seen.committed.append(found[0])
                seen.committed_in.append(process.core.term)
            for hook in self._hooks["committed"]:
                hook(process, found[0])

    def soft_state(self, process: Process, state: SoftState) -> None:
        """Role, term or leader of a process are new."""
        if state.role is Role.LEADER:
            self.world.count("leaders")
            self.world.elected(process.host)

    # --- the state machine -----------------------------------------------------------------

    def applied(self, process: Process, entry: Entry, answer: bytes) -> None:
        """``process`` has applied a command."""
        self.oracle.execute(entry)
        for hook in self._applied:
            hook(process, entry, answer)

    def executed(self, process: Process | None, entry: Entry) -> None:
        """The machine inside the sessions executes a command."""
        self._tell("executed", process, entry)

    def restored(self, process: Process) -> None:
        """The state of ``process`` was replaced by a snapshot's."""
        self._tell("restored", process)

    # --- the clients -----------------------------------------------------------------------

    def known(self) -> Index:
        """The newest index of which any client knows now; a read that begins now must not miss it."""
        return self._acknowledged

    def acknowledged(self, client: Client, ticket: Ticket, sequence: int, answer: SessionAnswer) -> None:
        """A client has the answer to a command."""
        self.world.count("acknowledged")
        self._tell("acknowledged", client, ticket, sequence, answer)
        self._acknowledged = max(self._acknowledged, answer.value)

    def read(self, client: Client, node: str, query: int, known: Index, index: Index, answer: object) -> None:
        """A client has the answer to a read that began when ``known`` was the newest index of which a client knew."""
        self.world.count("reads")
        self._tell("read", client, node, query, known, index, answer)
        self._acknowledged = max(self._acknowledged, index)

    def confirmed(self, process: Process, begun: int) -> None:
        """A leader gives an index for a read that began when ``begun`` requests had been sent in all."""
        self._tell("confirmed", process, begun)

    def over(self, client: Client, error: MatchEngineError) -> None:
        """A client's session has ended."""
        self.world.count("sessions over")
        self._tell("over", client, error)

    def _tell(self, hook: str, *args: Any) -> None:
        for listener in self._hooks[hook]:
            listener(*args)
