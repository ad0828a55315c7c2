"""HashiCorp Raft as the engine of a node: its process does the consensus, the state machine and all services are here.

Rules of this file: entries come with every index exactly once, and anything else stops the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import msgspec

from matchengine.answers import Answer
from matchengine.errors import (
    BusyError,
    EngineError,
    MatchEngineError,
    NothingNewError,
    NotLeaderError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)
from matchengine.node.engine import Done, EngineStatus, Listener, Outcome, Settle
from matchengine.node.machine_room import MachineRoom
from matchengine.raft.proposals import ChangeMembership
from matchengine.raft.ready import SoftState
from matchengine.raft.types import (
    Configuration,
    Entry,
    Index,
    Role,
    ServerId,
    SnapshotMeta,
)
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.hashicorp import frames
from matchengine.runtime.hashicorp.control import Control, SocketFolder, greet
from matchengine.runtime.hashicorp.directory import complete, open_directory, raft_path
from matchengine.runtime.hashicorp.frames import Code, Kind, Request, Standing, StatusReport
from matchengine.runtime.hashicorp.process import EngineProcess, command_line, find_program, how_it_ended
from matchengine.runtime.hashicorp.proposals import Proposals
from matchengine.runtime.hashicorp.pulse import Pulse
from matchengine.runtime.hashicorp.standing import role_of, status_of
from matchengine.runtime.hashicorp.streams import BridgeSnapshots, BrokenOffError, Stream
from matchengine.runtime.worker import WorkerThread
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LAST_WORDS_S: Final = 5.0
#: What one node may ask at the same time, barriers included, as the other half has room for.
_MOST_REQUESTS: Final = 8 * 1024


class HashicorpEngine:
    """See :class:`matchengine.node.engine.Engine`."""

    def __init__(self, config: NodeConfig, machine: StateMachine, listener: Listener) -> None:
        self._config = config
        self._machine = machine
        self._listener = listener
        self._numbers = count(1)
        self._proposals = Proposals()
        self._requests: dict[int, Settle[frames.Outcome]] = {}
        self._waiting: deque[tuple[Index, Done]] = deque()
        self._looking = False
        self._readers: list[Done] = []
        self._barrier_under_way = False
        self._soft_state = SoftState(Role.FOLLOWER, 0, "", "")
        self._terms_seen = 0
        self._last_status: EngineStatus | None = None
        self._next: Index = 1
        self._stopped: Exception | None = None
        self._last_words = ""
        self._hung_up = asyncio.Event()
        self._control: Control | None = None
        self._greetings: set[asyncio.Task[None]] = set()
        self._kept = contextlib.ExitStack()
        #: See :class:`matchengine.node.engine.Engine`.
        self.has_founded = False

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the other half and wait until it has restored its snapshot and runs."""
        self._loop = asyncio.get_running_loop()
        program = find_program(self._config.engine_program)
        self._data_dir = await asyncio.to_thread(open_directory, self._config)
        self._kept.callback(self._data_dir.close)
        try:
            self._begin(program)
        except BaseException:
            self._kept.close()
            raise
        try:
            await self._ready
            await asyncio.to_thread(complete, self._data_dir)
        except BaseException as error:
            self.stop(error if isinstance(error, Exception) else StoppedError("the start was cancelled"))
            await self.close()
            raise

    def _begin(self, program: Path) -> None:
        """Start the other half; what is to be given back is kept."""
        self._open_sockets(self._data_dir.path / "run")
        self._worker = WorkerThread(self._loop)
        self._kept.callback(self._worker.close)
        self._snapshots = BridgeSnapshots(self._loop, self._captured)
        self._kept.callback(self._snapshots.close)
        self._room = self._make_room()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._accepting = self._loop.create_task(self._accept())
        self._kept.callback(self._accept_no_more)
        raft_dir = raft_path(self._data_dir)
        self.has_founded = self._config.bootstrap and not raft_dir.exists()
        command = command_line(program, self._config, bridge=self._folder.path, data=raft_dir)
        self._process = EngineProcess(command, self._data_dir.lock, self._loop)
        self._pulse = Pulse(self._loop, self._silent)
        self._process.ended.add_done_callback(lambda _: self._ended())

    def _open_sockets(self, path: Path) -> None:
        try:
            self._folder = SocketFolder(path)
            self._kept.callback(self._folder.close)
            self._listener_socket = self._folder.listen("bridge")
        except OSError as error:
            raise StorageError(f"{path}: {error}; both halves of the node meet there") from error
        self._kept.callback(self._listener_socket.close)

    def _make_room(self) -> MachineRoom:
        return MachineRoom(
            self._machine,
            None,
            worker=self._worker,
            snapshots=self._snapshots,
            policy=self._config.snapshots.staggered(self._config.id),
            on_applied=self._applied,
            on_snapshot=lambda _meta: None,
            on_error=self._failed,
            on_more=self._go_on_soon,
            on_due=self._ask_for_snapshot,
        )

    @property
    def service_address(self) -> str:
        """A socket of the private folder: the other half has the node's address and passes on what is not Raft's."""
        return f"unix:{self._folder.socket_path('services')}"

    def add_to(self, server: grpc.aio.Server) -> None:
        """Nothing: peers talk to the other half."""

    def stop(self, error: Exception) -> None:
        """Shut Raft down; the other half goes on passing calls to the services until :meth:`close`."""
        if self._stopped is not None:
            return
        self._stopped = error
        self._pulse.stop()
        self._start_failed(error)
        self._fail_everything(error)
        if self._control is not None:
            self._send_request(Request("shutdown"), lambda _outcome, _error: None)
        self._listener.stopped(error)

    async def close(self) -> None:
        """End the other half, and free the directory once it is gone."""
        if self._control is not None:
            self._control.close()
        else:
            self._process.kill()
        await self._process.close()
        self._kept.close()

    def _accept_no_more(self) -> None:
        self._accepting.cancel()
        for greeting in self._greetings:
            greeting.cancel()

    # --- connections -----------------------------------------------------------------------

    async def _accept(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listener_socket)
            self._background(self._greet(connection))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)

    async def _greet(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            hello = await greet(connection, self._config.id)
            await self._welcome(hello, connection)
        except (EngineError, OSError) as error:
            connection.close()
            if self._control is None:
                self._hung_up.set()
            self._failed(error)

    async def _welcome(self, hello: frames.Hello, connection: socket.socket) -> None:
        if hello.purpose == "control" and self._control is None:
            self._control = control = Control(self._take, self._lost)
            await self._loop.connect_accepted_socket(lambda: control, connection)
            return
        connection.setblocking(True)
        if hello.purpose == "snapshot":
            self._snapshots.arrived(hello.id, Stream(connection))
        elif hello.purpose == "restore":
            self._restore(hello, Stream(connection))
        else:
            raise EngineError(f"bridge: a second connection for {hello.purpose!r}")

    def _lost(self, error: Exception | None) -> None:
        """The connection has ended, or what came on it made no sense."""
        self._control = None
        self._hung_up.set()
        if error is None or isinstance(error, OSError):
            error = BrokenOffError("bridge: the HashiCorp Raft process has closed its connection")
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Stop.  Where a connection broke off, the other half's last words and its exit code say more."""
        if self._stopped is None and isinstance(error, BrokenOffError):
            self._background(self._bury(error))
        else:
            self.stop(error)

    def _ended(self) -> None:
        self._failed(BrokenOffError("bridge: the HashiCorp Raft process has ended"))

    async def _bury(self, error: BrokenOffError) -> None:
        """Stop once both have come: how the process ended, and what it said last, which may be on its way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await asyncio.shield(self._process.ended)
                await self._hung_up.wait()
        if self._process.ended.done():
            said = f": {self._last_words}" if self._last_words else ""
            how = how_it_ended(self._process.ended.result())
            self.stop(EngineError(f"the HashiCorp Raft process (pid {self._process.pid}) {how}{said}"))
        else:
            self.stop(error)

    def _silent(self) -> None:
        """Nothing was heard for so long that nothing will come: what is under way must end, and others may lead."""
        pid = self._process.pid
        self.stop(EngineError(f"the HashiCorp Raft process (pid {pid}) lives, but says nothing any more; it is killed"))
        self._process.kill()

    def _start_failed(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)

    # --- frames ----------------------------------------------------------------------------

    def _take(self, kind: Kind, body: bytes) -> None:
        self._pulse.heard()
        if self._stopped is not None:
            if kind is Kind.FAILURE:
                logger.error("the HashiCorp Raft process: %s", body.decode(errors="replace"))
            return
        if kind is Kind.ENTRIES:
            self._take_entries(frames.decode_entries(body))
        elif kind is Kind.OUTCOME:
            self._take_outcome(frames.decode_outcome(body))
        elif kind is Kind.STATE:
            self._take_state(frames.decode_json(body, Standing))
        elif kind is Kind.CAPTURE:
            self._snapshots.expect(frames.decode_number(body))
            self._room.capture(lambda _meta, _error: None)
        elif kind is Kind.RELEASE:
            self._snapshots.released(frames.decode_number(body))
        elif kind is Kind.PING:
            self._send(frames.frame(Kind.PONG, body))
        elif kind is Kind.READY:
            self._ready.set_result(None)
        elif kind is Kind.FAILURE:
            self._last_words = body.decode(errors="replace")
        else:
            raise EngineError(f"bridge: frames of kind {kind.name} mean nothing here")

    def _take_entries(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.index != self._next:
                what = "skipped" if entry.index > self._next else "applied twice"
                raise EngineError(f"bridge: entry {entry.index} came where {self._next} is next: one would be {what}")
            self._next += 1
        self._room.apply(entries)

    def _take_state(self, standing: Standing) -> None:
        if standing.term != self._soft_state.term:
            self._terms_seen += 1
        self._soft_state = SoftState(role_of(standing), standing.term, standing.leader_id, standing.leader_address)
        self._listener.soft_state_changed(self._soft_state)

    def _take_outcome(self, outcome: frames.Outcome) -> None:
        error = None if outcome.code is Code.OK else self._error_of(outcome)
        if outcome.id in self._proposals:
            self._proposals.settle(outcome.id, outcome.index, error)
            return
        asked = self._requests.pop(outcome.id, None)
        if asked is None:
            raise EngineError(f"bridge: an outcome of {outcome.id}, which nobody asked for")
        asked(None if error else outcome, error)

    def _error_of(self, outcome: frames.Outcome) -> MatchEngineError:
        text = outcome.more.decode(errors="replace")
        match outcome.code:
            case Code.NOT_LEADER:
                return NotLeaderError(self._soft_state.leader_id, self._soft_state.leader_address)
            case Code.UNKNOWN:
                return UnknownOutcomeError(text)
            case Code.BUSY:
                return BusyError(text)
            case Code.STOPPED:
                return StoppedError(text)
            case _:
                return RefusedError(text)

    # --- the state machine -----------------------------------------------------------------

    def _go_on_soon(self) -> None:
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self._room.go_on()
        except Exception as error:  # noqa: BLE001 - part of what was due is done and the rest lost: no way on
            self._failed(error)

    def _applied(self, entries: tuple[Entry, ...], results: Iterable[Answer], index: Index) -> None:
        self._proposals.keep(entries, results)
        if not entries:
            self._snapshots.restored()
        self._send(frames.frame(Kind.APPLIED, frames.U64.pack(index)))
        if not self._room.is_readable:
            return  # who waits to read would see the half of a later command
        for _ in range(len(self._waiting)):
            wanted, done = self._waiting.popleft()
            if wanted <= index:
                done(Outcome(index), None)
            else:
                self._waiting.append((wanted, done))

    def _captured(self, capture: int) -> None:
        self._send(frames.frame(Kind.CAPTURED, frames.U64.pack(capture)))

    def _restore(self, hello: frames.Hello, stream: Stream) -> None:
        self._snapshots.give_up()  # its worker restores next
        self._snapshots.restore_from(stream)
        self._next = hello.index + 1
        self._room.restore(SnapshotMeta(hello.index, hello.term, Configuration(), size=hello.size))

    def _ask_for_snapshot(self) -> None:
        def taken(_outcome: frames.Outcome | None, error: Exception | None) -> None:
            if error is not None and self._stopped is None:
                logger.warning("no snapshot was taken: %s", error)

        self._ask(Request("snapshot"), taken)

    # --- proposals -------------------------------------------------------------------------

    def propose(self, data: bytes, done: Done, extensions: bytes = b"") -> None:
        """Replicate a command."""
        size = len(data) + len(extensions)
        refusal = StoppedError(str(self._stopped)) if self._stopped is not None else self._proposals.refusal(size)
        if refusal is not None:
            done(None, refusal)
            return
        number = next(self._numbers)
        self._proposals.begin(number, size, self._soft_state.term, done)
        self._send(frames.encode_proposal(number, data, extensions))

    def barrier(self, done: Done) -> None:
        """Append a barrier behind everything that was proposed."""
        self._ask_index(Request("barrier"), done, lasting=True)

    def change_membership(self, change: ChangeMembership, done: Done) -> None:
        """Change one server; done when this node has passed the change."""
        request = Request("change", change.kind.name, change.server_id, change.address, change.prev_index)
        self._ask_index(request, done, lasting=True)

    def transfer_leadership(self, target: ServerId | None, done: Done) -> None:
        """Hand leadership over."""
        self._ask_index(Request("transfer", server=target or ""), done, lasting=True)

    def read_index(self, done: Done) -> None:
        """One barrier for all who wait: HashiCorp's VerifyLeader counts non-voters, and is no proof.

        Whoever comes while a barrier is under way waits for the next one, which begins after the read.
        """
        self._readers.append(done)
        if not self._barrier_under_way:
            self._begin_barrier()

    def _begin_barrier(self) -> None:
        readers, self._readers = self._readers, []
        self._barrier_under_way = True

        def passed(outcome: Outcome | None, error: Exception | None) -> None:
            self._barrier_under_way = False
            if self._readers:
                self._begin_barrier()
            for done in readers:
                done(outcome, error)

        self._ask_index(Request("barrier"), passed)

    def wait_applied(self, index: Index, done: Done) -> None:
        """Done once the state machine has passed ``index``."""
        if self._stopped is not None:
            done(None, StoppedError(str(self._stopped)))
        elif self._room.applied >= index and self._room.is_readable:
            done(Outcome(self._room.applied), None)
        else:
            self._waiting.append((index, done))
            if index >= self._next and not self._looking:
                self._look(index)

    def _look(self, index: Index) -> None:
        """Raft tells nobody that it passed a no-op or a barrier: one request looks, for all that wait."""

        def looked(_outcome: frames.Outcome | None, error: Exception | None) -> None:
            self._looking = False
            furthest = max((index for index, _ in self._waiting), default=0)
            if error is None and furthest >= self._next:  # what has come is not looked for
                self._look(furthest)

        self._looking = True
        self._send_request(Request("await", index=index), looked)

    def examine(self, look: Callable[[], T], done: Settle[tuple[Index, T]]) -> None:
        """Run ``look()`` on the worker, at the index that Raft has reached."""

        def settled(_outcome: frames.Outcome | None, error: Exception | None) -> None:
            if error is not None:
                done(None, error)
                return
            self._room.examine(look, done)

        self._ask(Request("await"), settled)

    def snapshot(self, done: Done) -> None:
        """Take a snapshot now."""
        if not self._room.has_news:
            done(None, NothingNewError())
            return
        self._ask_index(Request("snapshot"), done)

    # --- standing --------------------------------------------------------------------------

    @property
    def soft_state(self) -> SoftState:
        """As the other half told last."""
        return self._soft_state

    @property
    def machine_is_readable(self) -> bool:
        """False while a command is half executed, or a snapshot replaces the state."""
        return self._room.is_readable

    def status(self, done: Settle[EngineStatus]) -> None:
        """Ask the other half; after a stop, what it said last."""

        def told(outcome: frames.Outcome | None, error: Exception | None) -> None:
            if outcome is not None:
                self._last_status = self._status_of(frames.decode_json(outcome.more, StatusReport))
                done(self._last_status, None)
            else:
                done(self._status_after_stop(), None) if self._stopped is not None else done(None, error)

        self._ask(Request("status"), told)

    def _status_of(self, report: StatusReport) -> EngineStatus:
        return status_of(self._config, report, applied=self._room.applied, terms_seen=self._terms_seen)

    def _status_after_stop(self) -> EngineStatus:
        last = self._last_status or self._status_of(
            StatusReport("Follower", self._soft_state.term, "", "", 0, 0, 0, 0, 0, 0, None, 0, 0.0, None)
        )
        return msgspec.structs.replace(last, role=Role.FOLLOWER, applied=self._room.applied, is_shut_down=True)

    # --- asking ----------------------------------------------------------------------------

    def _ask_index(self, request: Request, done: Done, *, lasting: bool = False) -> None:
        """What is ``lasting`` may still take effect when the engine stops before it hears of it."""
        begun = self._stopped is None

        def told(outcome: frames.Outcome | None, error: Exception | None) -> None:
            if lasting and begun and isinstance(error, StoppedError):
                error = UnknownOutcomeError(f"node stopped: {error}")
            done(None if outcome is None else Outcome(outcome.index), error)

        self._ask(request, told)

    def _ask(self, request: Request, told: Settle[frames.Outcome]) -> None:
        if self._stopped is not None:
            told(None, StoppedError(str(self._stopped)))
        elif len(self._requests) >= _MOST_REQUESTS:
            told(None, BusyError(f"{_MOST_REQUESTS} requests are under way already"))
        else:
            self._send_request(request, told)

    def _send_request(self, request: Request, told: Settle[frames.Outcome]) -> None:
        number = next(self._numbers)
        self._requests[number] = told
        self._send(frames.encode_request(number, request))

    def _send(self, data: bytes) -> None:
        if self._control is not None:
            self._control.send(data)

    def _fail_everything(self, error: Exception) -> None:
        stopped = StoppedError(str(error))
        self._room.stop(stopped)
        self._snapshots.give_up()
        self._proposals.give_up(UnknownOutcomeError(f"node stopped: {error}"))
        requests, self._requests = self._requests, {}
        for told in requests.values():
            told(None, stopped)
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            done(None, stopped)
