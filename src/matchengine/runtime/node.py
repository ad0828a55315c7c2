"""A node as a user of the library sees it: an engine, a state machine and the services, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import grpc

from matchengine.answers import MAX_MESSAGE_BYTES
from matchengine.errors import MatchEngineError, NotLeaderError, StoppedError
from matchengine.node.engine import Done, EngineStatus, Outcome, Settle
from matchengine.raft.proposals import ChangeMembership
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Configuration, Index, Role, ServerId, Term
from matchengine.runtime.binding import bind_failure
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.engines import make_engine
from matchengine.runtime.expiry import SessionExpiry
from matchengine.runtime.feature_levels import FeatureLevels
from matchengine.runtime.grpc_log import quiet_grpc
from matchengine.runtime.peers import LeaderReader
from matchengine.state_machine import StateMachine

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STANDING = {True: "leads", False: "no longer leads"}

#: Adds servicers to the server and returns their full names, for health and reflection.
Services: TypeAlias = Callable[["Node", grpc.aio.Server], Sequence[str]]

#: Threads that wait for the interpreter lock get it after this many seconds.  The default of 5 ms
#: would be added to every completed disk write of a busy node.
_SWITCH_INTERVAL_S = 0.0005
_MAX_REQUEST_BYTES = 64 * 1024 * 1024
_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # A client's window of large batches must fit into the flow control of a connection that has just been made.
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
)

#: How long services answer, and health says no, after Raft has ended.  gRPC ends a call that has arrived and was not
#: taken up with CANCELLED, on which no client would try another node.
_FAREWELL_S = 0.1


class Node:
    """One server of a cluster that replicates ``machine``.

    All methods belong to the event loop that called :meth:`start`.  A fatal error (a failing
    disk, an exception from the state machine) stops the node; :meth:`wait_stopped` raises it.
    """

    def __init__(self, config: NodeConfig, machine: StateMachine, services: Sequence[Services] = ()) -> None:
        self.config = config
        self.machine = machine
        self._services = services
        self._engine = make_engine(config, machine, self)
        #: What the cluster's members can execute; see ``docs/levels.md``.
        self.feature_levels = FeatureLevels(self, lambda: self._engine.has_founded, config.feature_level)
        self._watchers: list[Callable[[bool], None]] = []
        self._leading = False
        self._told_leader: tuple[Term, ServerId] = (0, "")
        self._running = False
        self._stopping = False
        self._failure: Exception | None = None
        self._shut = asyncio.Event()
        self._stopped = asyncio.Event()

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data directory, bind the address, and take part in the cluster.

        Raises StorageError (directory unusable), OSError (address unusable), or what stopped the node meanwhile.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        quiet_grpc()
        self._loop = asyncio.get_running_loop()
        self._reader = LeaderReader(self.config.timing.election_timeout_ms / 1000)
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        await self._engine.open()
        self._expiry = SessionExpiry(self, self.config.session_idle_s)
        self._expiry.start()
        self._running = True
        try:
            await self._serve()
        except BaseException:
            await self.stop()
            if self._failure is not None:
                raise self._failure from None
            raise
        if self._failure is not None:
            self._give_up()
            await self.wait_stopped()
        hint = membership_hint(self.config, (await self.status()).configuration)
        if hint:
            logger.warning("node %s %s", self.config.id, hint)

    async def _serve(self) -> None:
        self._engine.add_to(self._server)
        for add in self._services:
            add(self, self._server)
        address = self._engine.service_address
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            field = "listen" if self.config.listen else "address"
            raise OSError(await asyncio.to_thread(bind_failure, field, address)) from error
        # gRPC logs an error of its own when its start is cancelled halfway, as by a SIGTERM; it takes no time.
        await asyncio.shield(self._server.start())

    async def stop(self) -> None:
        """Hand leadership over if there is somebody to take it, then stop cleanly; nothing to do unless started."""
        if self._running:
            self._begin_to_stop(0)
            await asyncio.shield(self._closing)

    async def shutdown(self, linger_s: float) -> None:
        """Like :meth:`stop`, but the services answer for ``linger_s`` more; returns when Raft has ended."""
        self._begin_to_stop(linger_s)
        await self._shut.wait()

    def _begin_to_stop(self, linger_s: float) -> None:
        if not self._stopping:
            self._stopping = True
            self._closing = self._loop.create_task(self._leave(linger_s))

    async def _leave(self, linger_s: float) -> None:
        if self.is_leader:
            with contextlib.suppress(MatchEngineError, TimeoutError):
                patience = 2 * self.config.timing.election_timeout_ms / 1000
                await asyncio.wait_for(self.transfer_leadership(), patience)
        await self._shut_down(linger_s)

    async def wait_stopped(self) -> None:
        """Return when the node has stopped; raises the error that stopped it, if one did."""
        await self._stopped.wait()
        if self._failure is not None:
            raise self._failure

    async def _shut_down(self, linger_s: float = 0) -> None:
        self._expiry.stop()
        self._engine.stop(StoppedError("the node was asked to stop"))
        self._loop.call_soon(self._set_leading, False)  # no error of a watcher may keep the node from stopping
        self._shut.set()
        await asyncio.sleep(max(linger_s, _FAREWELL_S))
        await self._server.stop(grace=0.5)
        await self._reader.close()
        await self._engine.close()
        self._stopped.set()

    # --- what the engine tells -------------------------------------------------------------

    def stopped(self, error: Exception) -> None:
        """See :class:`matchengine.node.engine.Listener`."""
        if isinstance(error, StoppedError):
            return  # somebody asked for it
        logger.critical("node %s stops: %s", self.config.id, error)
        self._failure = error
        if self._running:
            self._give_up()

    def _give_up(self) -> None:
        """The engine has stopped: nothing is to be handed over."""
        if not self._stopping:
            self._stopping = True
            self._closing = self._loop.create_task(self._shut_down())

    def soft_state_changed(self, state: SoftState) -> None:
        """See :class:`matchengine.node.engine.Listener`."""
        leading = state.role is Role.LEADER
        if leading is not self._leading:
            reason = f": {state.reason}" if state.reason else ""
            logger.info("node %s %s in term %d%s", self.config.id, _STANDING[leading], state.term, reason)
            self._set_leading(leading)
        if not leading:
            self._tell_leader(state)

    def _tell_leader(self, state: SoftState) -> None:
        """Once for each leader and term: an operator reads here whom this node follows."""
        known = (state.term, state.leader_id)
        if state.leader_id and known != self._told_leader:
            self._told_leader = known
            text = "node %s follows %s at %s in term %d"
            logger.info(text, self.config.id, state.leader_id, state.leader_address, state.term)

    def _set_leading(self, leading: bool) -> None:
        if leading is not self._leading:
            self._leading = leading
            if leading:
                self.feature_levels.begin()  # before any watcher: it is the first command
            for watcher in self._watchers:
                watcher(leading)

    # --- the user's side -------------------------------------------------------------------

    def propose(self, data: bytes, extensions: bytes = b"") -> asyncio.Future[Outcome]:
        """Replicate one command (at most ``MAX_ENTRY_BYTES``); the future gets its index and result.

        ``extensions`` travel with the entry and mean nothing to this library, as in HashiCorp's Raft.
        It raises NotLeaderError, BusyError, RefusedError or StoppedError when nothing was executed, and
        UnknownOutcomeError when the command may still take effect.
        """
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if not self._leading and self.feature_levels.must_begin:
            future.set_exception(NotLeaderError())  # the engine may lead already, and this node not know it yet
        else:
            self._engine.propose(data, _settler(future), extensions)
        return future

    async def barrier(self) -> Index:
        """Wait until everything proposed before has been applied here; returns the index."""
        return await self._index(self._engine.barrier)

    async def change_membership(self, change: ChangeMembership) -> Index:
        """Add, demote or remove one server; returns the index of the new configuration.

        RefusedError when a server to be added says that it is too old for the cluster's feature level.
        """
        return await self.feature_levels.change_membership(
            change, lambda: self._asked(lambda done: self._engine.change_membership(change, done))
        )

    async def transfer_leadership(self, target: str | None = None) -> None:
        """Hand leadership to ``target``, or to the voter that is furthest ahead."""
        await self._index(lambda done: self._engine.transfer_leadership(target, done))

    async def confirm_read_index(self) -> Index:
        """Leader only: an index from which reads are linearizable, confirmed by a quorum."""
        return await self._index(self._engine.read_index)

    async def read_index(self) -> Index:
        """Wait until a read of :attr:`machine` is linearizable; returns the applied index.

        Read the machine before the next ``await``.  Raises NotLeaderError without a leader.
        """
        if self.is_leader:
            index = await self.confirm_read_index()
        elif self.leader_address:
            index = await self._reader.read_index(self.leader_address)
        else:
            raise NotLeaderError
        return await self.wait_applied(index)

    async def wait_applied(self, index: Index) -> Index:
        """Wait until this node has applied ``index`` and :attr:`machine` may be read; returns the applied index."""
        applied = await self._index(lambda done: self._engine.wait_applied(index, done))
        while not self._engine.machine_is_readable:  # since then, a command was begun, or a snapshot has come
            applied = await self._index(lambda done: self._engine.wait_applied(index, done))
        return applied

    async def snapshot(self) -> Index:
        """Take a snapshot now; returns its index.  NothingNewError when nothing was applied since the last."""
        return await self._index(self._engine.snapshot)

    async def examine(self, look: Callable[[], T]) -> tuple[Index, T]:
        """The applied index, and ``look()`` of :attr:`machine` at that index.

        For what takes long: it runs on a thread, and entries wait meanwhile.  Raises BusyError while the machine
        is being replaced by a snapshot.
        """
        return await self._ask(lambda done: self._engine.examine(look, done))

    async def status(self) -> EngineStatus:
        """A node's standing right now."""
        return await self._ask(self._engine.status)

    async def _index(self, ask: Callable[[Done], None]) -> Index:
        return (await self._ask(ask)).index

    async def _ask(self, ask: Callable[[Settle[T]], None]) -> T:
        return await self._asked(ask)

    def _asked(self, ask: Callable[[Settle[T]], None]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        ask(_settler(future))
        return future

    def session_idle_s(self) -> dict[int, float]:
        """For how many seconds each session has been idle, by its id, as this node has seen it since it leads."""
        return self._expiry.idle_s()

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call ``callback(leading)`` whenever this node starts or ceases to lead."""
        self._watchers.append(callback)

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self._leading

    @property
    def leader_id(self) -> str:
        """Id of the known leader, or ``""``."""
        return self._engine.soft_state.leader_id

    @property
    def leader_address(self) -> str:
        """Address of the known leader, or ``""``."""
        return self._engine.soft_state.leader_address

    @property
    def machine_is_readable(self) -> bool:
        """False while a command is half executed, or a snapshot replaces the state."""
        return self._engine.machine_is_readable


def membership_hint(config: NodeConfig, configuration: Configuration) -> str:
    """What keeps a node that has just started from taking part as its operator may expect; ``""`` if nothing does."""
    if not configuration.servers:
        found = "found a cluster with --bootstrap, or have one add it"
        return f"belongs to no cluster yet: {found} with `matchengine member add {config.id} {config.address}`"
    server = configuration.get(config.id)
    if server is None:
        return f"is not a member of the cluster in its log: {', '.join(each.id for each in configuration.servers)}"
    if server.address != config.address:
        change = f"`matchengine member add {config.id} {config.address}` tells the others"
        return f"announces {config.address}, but the others reach it at {server.address}: {change}"
    return ""


def _settler(future: asyncio.Future[T]) -> Settle[T]:
    """A callback that settles ``future``, unless its owner has given it up."""

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if result is not None:
            future.set_result(result)
        else:
            future.set_exception(error or StoppedError("the node has stopped"))

    return settle
