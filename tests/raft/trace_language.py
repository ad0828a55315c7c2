"""A small language for golden interaction traces: commands to a few cores, everything they say as text.

A trace file holds comments (``#``), commands (``> ...``) and below each command the lines that it must
produce.  Nothing happens unless a command says so:

``nodes N [spares M] [key=value ...]``  N bootstrapped servers n1.. (and M empty ones), with settings
``tick NODE COUNT``     time passes at one server
``propose NODE KIND [ARGUMENTS]``   command TEXT, barrier, read, transfer [ID], abort, add-voter ID, ...
``deliver FROM TO``     what is under way from one to the other arrives, requests and answers
``drop FROM TO``        it never arrives; the sender of a request learns that
``write NODE [COUNT]``  the oldest pending writes become durable (all of them without COUNT)
``apply NODE``          the state machine is done with what it was given
``received NODE``       the bytes of the announced snapshot are durable
``snapshot NODE``       the state machine's snapshot at the applied index is durable
``restart NODE``        crash: pending writes and messages are lost
``settle [NODE ...]``   all of the above at these servers (or all) until nothing moves
``elect NODE``          ``tick`` until it stands, ``settle``, and let everybody hear the commit index; says nothing
``status NODE``         one line about the server
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cluster import TIMING, Disk
from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import (
    Answered,
    AppendEntries,
    Applied,
    InstallSnapshot,
    Received,
    Request,
    Response,
    SnapshotReceived,
    SnapshotTaken,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    AbortTransfer,
    Barrier,
    ChangeKind,
    ChangeMembership,
    Command,
    Proposal,
    Read,
    TransferLeadership,
)
from matchengine.raft.raft import Raft, bootstrap
from matchengine.raft.ready import Ready, Respond, Write
from matchengine.raft.types import Configuration, Entry, EntryType, Restored, Server, SnapshotMeta


class _Shortest:
    """Chance that always takes the lower bound: n1 fires first if it is ticked first."""

    def randrange(self, start: int, stop: int) -> int:
        return start


class Node:
    """One core and what is pending around it."""

    def __init__(self, config: RaftConfig, restored: Restored) -> None:
        self.config = config
        self.disk = Disk(restored)
        self.boot()

    def boot(self) -> None:
        restored = self.disk.restore()
        self.raft = Raft(self.config, restored, _Shortest())
        self.writes: deque[Write] = deque()
        self.given = self.applied = restored.snapshot.index if restored.snapshot else 0
        self.calls: dict[int, tuple[str, Request]] = {}
        self.incoming: deque[tuple[int, SnapshotMeta]] = deque()


class Interpreter:
    """Runs commands and collects the lines that they produce."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.wires: dict[tuple[str, str], deque[tuple[Request, Response | str | None]]] = {}
        self.lines: list[str] = []
        self.tokens = 0
        self.keys = 0

    def run(self, command: str) -> list[str]:
        self.lines = []
        name, *arguments = command.split()
        getattr(self, f"do_{name}")(*arguments)
        return self.lines

    # --- commands --------------------------------------------------------------------------

    def do_nodes(self, size: str, *options: str) -> None:
        spares = int(options[options.index("spares") + 1]) if "spares" in options else 0
        settings = {k: int(v) for k, v in (o.split("=") for o in options if "=" in o)}
        ids = [f"n{i + 1}" for i in range(int(size) + spares)]
        first = bootstrap(Configuration(tuple(Server(i, f"{i}:1") for i in ids[: int(size)])))
        for at, i in enumerate(ids):
            self.nodes[i] = Node(RaftConfig(i, f"{i}:1", TIMING, **settings), first if at < int(size) else Restored())

    def do_tick(self, name: str, count: str) -> None:
        for _ in range(int(count)):
            self.nodes[name].raft.tick()
            self._pump(name)

    def do_propose(self, name: str, kind: str, *arguments: str) -> None:
        self.keys += 1
        self.nodes[name].raft.propose(self.keys, _proposal(kind, arguments))
        self._pump(name)

    def do_deliver(self, sender: str, to: str) -> None:
        wire = self._wire(sender, to)
        for _ in range(len(wire)):
            request, response = wire.popleft()
            if response is None:
                self._arrive(sender, to, request)
            elif isinstance(response, str):
                self.nodes[to].raft.step(Unanswered(sender, request))
            else:
                self.nodes[to].raft.step(Answered(sender, request, response))
            self._pump(to)

    def _arrive(self, sender: str, to: str, request: Request) -> None:
        self.tokens += 1
        self.nodes[to].calls[self.tokens] = (sender, request)
        self.nodes[to].raft.step(Received(self.tokens, sender, f"{sender}:1", request))

    def do_drop(self, sender: str, to: str) -> None:
        wire = self._wire(sender, to)
        lost = list(wire)
        wire.clear()
        for request, response in lost:
            if response is None:
                self.nodes[sender].raft.step(Unanswered(to, request))
                self._pump(sender)
            else:
                self.nodes[to].raft.step(Unanswered(sender, request))
                self._pump(to)

    def do_write(self, name: str, count: str = "0") -> None:
        node = self.nodes[name]
        for _ in range(int(count) or len(node.writes)):
            write = node.writes.popleft()
            node.disk.perform(write)
            node.raft.step(Written(write.number))
            self._pump(name)

    def do_apply(self, name: str) -> None:
        node = self.nodes[name]
        node.applied = node.given
        node.raft.step(Applied(node.applied))
        self._pump(name)

    def do_received(self, name: str) -> None:
        token, snapshot = self.nodes[name].incoming.popleft()
        self.nodes[name].disk.install(snapshot)
        self.nodes[name].raft.step(SnapshotReceived(token))
        self._pump(name)

    def do_snapshot(self, name: str) -> None:
        node = self.nodes[name]
        status = node.raft.status()
        term = next(e.term for e in node.disk.entries if e.index == node.applied)
        meta = SnapshotMeta(
            node.applied, term, status.committed_configuration, status.committed_configuration_index, 100
        )
        node.disk.install(meta)
        node.raft.step(SnapshotTaken(meta))
        self._pump(name)

    def do_restart(self, name: str) -> None:
        self.nodes[name].boot()
        for wire in self.wires:
            if name in wire:
                self.wires[wire].clear()
        self._pump(name)

    def do_settle(self, *names: str) -> None:
        chosen = names or tuple(self.nodes)
        while any(self._move(name, chosen) for name in chosen):
            pass

    def _move(self, name: str, chosen: tuple[str, ...]) -> bool:
        node = self.nodes[name]
        before = len(self.lines)
        moved = bool(node.writes or node.incoming) or node.applied < node.given
        self.do_write(name)
        if node.incoming:
            self.do_received(name)
        if node.applied < node.given:
            self.do_apply(name)
        for other in chosen:
            moved = moved or bool(self._wire(name, other))
            self.do_deliver(name, other)
        return moved or len(self.lines) > before

    def do_elect(self, name: str) -> None:
        self.do_tick(name, str(TIMING.heartbeat_timeout_ms))
        self.do_settle()
        self.do_tick(name, "1")
        self.do_settle()
        self.lines = []

    def do_status(self, name: str) -> None:
        s = self.nodes[name].raft.status()
        self._say(
            name,
            f"{s.role.name} term={s.term} leader={s.leader_id or '-'} log={s.first_index}..{s.last_index} "
            f"commit={s.commit_index} durable={s.durable_index} applied={s.applied_index} "
            f"members={_members(s.configuration)}",
        )
        for peer in s.peers:
            self._say(name, f"  {peer.id} {peer.mode.name} match={peer.match} next={peer.next}")

    # --- Ready -----------------------------------------------------------------------------

    def _pump(self, name: str) -> None:
        raft = self.nodes[name].raft
        while raft.has_ready():
            ready = raft.ready()
            raft.advance()
            self._perform(name, ready)

    def _perform(self, name: str, ready: Ready) -> None:
        node = self.nodes[name]
        if ready.soft_state is not None:
            s = ready.soft_state
            reason = f" because {s.reason}" if s.reason else ""
            self._say(name, f"is {s.role.name} term={s.term} leader={s.leader_id or '-'}{reason}")
        if ready.write is not None:
            node.writes.append(ready.write)
            self._say(name, f"write {_write(ready.write)}")
        for send in ready.requests:
            self._wire(name, send.to.id).append((send.request, None))
            self._say(name, f"-> {send.to.id} {_message(send.request)}")
        for respond in ready.responses:
            self._respond(name, respond)
        if ready.receive is not None:
            node.incoming.append((ready.receive.token, ready.receive.snapshot))
            self._say(name, f"receive {_snapshot(ready.receive.snapshot)}")
        if ready.restore is not None:
            node.given = ready.restore.index
            self._say(name, f"restore {_snapshot(ready.restore)}")
        if ready.apply:
            node.given = ready.apply[-1].index
            self._say(name, f"apply {_entries(ready.apply)}")
        for outcome in (*ready.accepted, *ready.refused, *ready.done, *ready.reads):
            self._say(name, f"{_fields(outcome)}")

    def _respond(self, name: str, respond: Respond) -> None:
        sender, request = self.nodes[name].calls.pop(respond.token)
        self._wire(name, sender).append((request, respond.response or respond.error))
        what = _fields(respond.response) if respond.response is not None else f"error: {respond.error}"
        self._say(name, f"=> {sender} {what}")

    def _wire(self, sender: str, to: str) -> deque[tuple[Request, Response | str | None]]:
        return self.wires.setdefault((sender, to), deque())

    def _say(self, name: str, text: str) -> None:
        self.lines.append(f"{name} {text}")


# --- text ---------------------------------------------------------------------------------


def _proposal(kind: str, arguments: tuple[str, ...]) -> Proposal:
    changes = {
        "add-voter": ChangeKind.ADD_VOTER,
        "add-nonvoter": ChangeKind.ADD_NONVOTER,
        "demote": ChangeKind.DEMOTE_VOTER,
        "remove": ChangeKind.REMOVE_SERVER,
    }
    if kind in changes:
        prev_index = int(arguments[1]) if len(arguments) > 1 else 0
        return ChangeMembership(changes[kind], arguments[0], f"{arguments[0]}:1", prev_index)
    makers: dict[str, Callable[[], Proposal]] = {
        "command": lambda: Command(" ".join(arguments).encode()),
        "barrier": Barrier,
        "read": Read,
        "transfer": lambda: TransferLeadership(arguments[0] if arguments else None),
        "abort": AbortTransfer,
    }
    return makers[kind]()


def _fields(message: object) -> str:
    fields = (f"{f}={getattr(message, f)}" for f in message.__struct_fields__)  # type: ignore[attr-defined]
    return " ".join((type(message).__name__, *fields))


def _message(request: Request) -> str:
    if isinstance(request, AppendEntries):
        if request.is_heartbeat:
            return f"Heartbeat term={request.term} round={request.round}"
        return (
            f"AppendEntries term={request.term} prev={request.prev_log_index}/{request.prev_log_term} "
            f"entries={_entries(request.entries)} commit={request.leader_commit}"
        )
    if isinstance(request, InstallSnapshot):
        return f"InstallSnapshot term={request.term} {_snapshot(request.snapshot)}"
    return _fields(request)


def _entries(entries: tuple[Entry, ...]) -> str:
    return "[" + " ".join(_entry(e) for e in entries) + "]"


def _entry(entry: Entry) -> str:
    text = repr(entry.data.decode()) if entry.type is EntryType.COMMAND else entry.type.name
    return f"{entry.index}/{entry.term}:{text}"


def _write(write: Write) -> str:
    parts = [f"#{write.number}"]
    if write.hard_state is not None:
        parts.append(f"term={write.hard_state.term} vote={write.hard_state.voted_for or '-'}")
    if write.reset is not None:
        parts.append(f"reset {_snapshot(write.reset)}")
    if write.truncate_from is not None:
        parts.append(f"truncate from {write.truncate_from}")
    if write.entries:
        parts.append(_entries(write.entries))
    if write.compact_to is not None:
        parts.append(f"compact to {write.compact_to}")
    return " ".join(parts)


def _snapshot(snapshot: SnapshotMeta) -> str:
    return f"snapshot {snapshot.index}/{snapshot.term}"


def _members(configuration: Configuration) -> str:
    return ",".join(s.id + ("" if s.suffrage == 0 else "(nonvoter)") for s in configuration.servers) or "-"
