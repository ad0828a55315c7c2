"""A node as a user of the library sees it: the replica, its disk, its peers and its services on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import grpc
import msgspec

from matchengine.errors import MatchEngineError, NotLeaderError, StoppedError
from matchengine.node.replica import Done, Outcome, Replica
from matchengine.raft.config import RaftConfig
from matchengine.raft.proposals import ChangeMembership
from matchengine.raft.raft import Status, bootstrap
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Configuration, Restored, Role, Server, SnapshotMeta
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.contact import LeaderContact
from matchengine.runtime.disk import DiskThread
from matchengine.runtime.expiry import SessionExpiry
from matchengine.runtime.peers import LeaderReader
from matchengine.runtime.ticker import Ticker
from matchengine.runtime.worker import WorkerThread
from matchengine.state_machine import StateMachine
from matchengine.storage.storage import open_storage
from matchengine.transport.client import GrpcNetwork
from matchengine.transport.server import RaftTransportService, add_transport

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Adds servicers to the server and returns their full names, for health and reflection.
Services: TypeAlias = Callable[["Node", grpc.aio.Server], Sequence[str]]

#: Threads that wait for the interpreter lock get it after this many seconds.  The default of 5 ms
#: would be added to every completed disk write of a busy node.
_SWITCH_INTERVAL_S = 0.0005
_MAX_REQUEST_BYTES = 64 * 1024 * 1024
#: An answer holds all the trades of its batch: a sweep through a large book makes a large one.
_MAX_ANSWER_BYTES = 1024 * 1024 * 1024
_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
    ("grpc.so_reuseport", 0),
    # A client's window of large batches must fit into the flow control of a connection that has just been made.
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
)


class NodeStatus(msgspec.Struct, frozen=True):
    """A node's standing; ``raft`` is the core's own view, ``fsync_us`` the median of the last log syncs.

    ``last_contact_ms`` is how long ago a leader was heard: 0 on the leader itself, None when none ever was.
    """

    id: str
    address: str
    role: Role
    term: int
    leader_id: str
    leader_address: str
    applied: int
    configuration: Configuration
    fsync_us: float
    terms_seen: int
    last_contact_ms: int | None
    is_shut_down: bool
    raft: Status


class Node:
    """One server of a cluster that replicates ``machine``.

    All methods belong to the event loop that called :meth:`start`.  A fatal error (a failing
    disk, an exception from the state machine) stops the node; :meth:`wait_stopped` raises it.
    """

    def __init__(self, config: NodeConfig, machine: StateMachine, services: Sequence[Services] = ()) -> None:
        self.config = config
        self.machine = machine
        self._services = services
        self._watchers: list[Callable[[bool], None]] = []
        self._leading = False
        self._pump_due = False
        self._running = False
        self._stopping = False
        self._failure: Exception | None = None
        self._shut = asyncio.Event()
        self._stopped = asyncio.Event()
        self._contact = LeaderContact(config.timing.tick_ms, time.monotonic)

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data directory, bind the address, and take part in the cluster.

        Raises StorageError (directory unusable), OSError (address unusable), or what stopped the node meanwhile.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._loop = asyncio.get_running_loop()
        self._storage = await asyncio.to_thread(open_storage, self.config.data_dir, self.config.id)
        try:
            self._build(await asyncio.to_thread(self._restore))
        except BaseException:
            self._storage.close()
            raise
        self._running = True
        try:
            await self._serve()
        except BaseException:
            await self.stop()
            if self._failure is not None:
                raise self._failure from None
            raise
        if self._failure is not None:
            await self.wait_stopped()

    def _restore(self) -> Restored:
        restored = self._storage.restore()
        if not self.config.bootstrap:
            return restored
        if restored.entries or restored.snapshot:
            logger.warning("bootstrap: %s already has state; nothing is bootstrapped", self.config.id)
            return restored
        first = bootstrap(Configuration((Server(self.config.id, self.config.address),)))
        self._storage.bootstrap(first)
        return first

    def _build(self, restored: Restored) -> None:
        config, timing = self.config, self.config.timing
        self._disk = DiskThread(self._storage, self._loop)
        self._worker = WorkerThread(self._loop)
        snapshots = self._storage.snapshots
        self._network = GrpcNetwork(
            config.id, config.address, timing, lambda meta: (meta.size, snapshots.open(meta)), self._loop
        )
        self._reader = LeaderReader(timing.election_timeout_ms / 1000)
        self._replica = Replica(
            RaftConfig(config.id, config.address, timing),
            restored,
            self.machine,
            rng=random.SystemRandom(),
            disk=self._disk,
            network=self._network,
            worker=self._worker,
            clock=_WallClock(),
            snapshots=snapshots,
            policy=config.snapshots,
            wake=self._wake,
            on_soft_state=self._soft_state_changed,
            on_stop=self._failed,
        )
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._expiry = SessionExpiry(self, config.session_idle_s)
        self._ticker = Ticker(self._loop, timing.tick_ms / 1000, self._replica.tick)

    async def _serve(self) -> None:
        service = RaftTransportService(
            self.config.id, self.config.address, self._replica.receive, self._storage.snapshots.create, self._loop
        )
        add_transport(service, self._server)
        for add in self._services:
            add(self, self._server)
        try:
            self._server.add_insecure_port(self.config.listen_address)
        except RuntimeError as error:
            raise OSError(f"listen: cannot bind {self.config.listen_address}; is the address in use?") from error
        await self._server.start()

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
        self._ticker.stop()
        self._expiry.stop()
        self._replica.stop(StoppedError("the node was asked to stop"))
        self._loop.call_soon(self._set_leading, False)  # no error of a watcher may keep the node from stopping
        self._shut.set()
        await asyncio.sleep(linger_s)
        await self._server.stop(grace=0.5)
        await self._network.close()
        await self._reader.close()
        self._worker.close()
        if await self._disk.close():
            self._storage.close()
        self._stopped.set()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoppedError):
            return  # somebody asked for it
        logger.critical("node %s stops: %s", self.config.id, error)
        self._failure = error
        if not self._stopping:
            self._stopping = True
            self._closing = self._loop.create_task(self._shut_down())

    # --- driving the replica ---------------------------------------------------------------

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        try:
            if self._replica.pump():
                self._wake()
        except Exception as error:  # noqa: BLE001 - part of what was due is done and the rest lost: no way on
            self._replica.stop(error)

    def _soft_state_changed(self, state: SoftState) -> None:
        self._contact.note(state)
        leading = state.role is Role.LEADER
        if leading is not self._leading:
            logger.info("node %s %s in term %d", self.config.id, "leads" if leading else "follows", state.term)
            self._set_leading(leading)

    def _set_leading(self, leading: bool) -> None:
        if leading is not self._leading:
            self._leading = leading
            for watcher in self._watchers:
                watcher(leading)

    # --- the user's side -------------------------------------------------------------------

    def propose(self, data: bytes, extensions: bytes = b"") -> asyncio.Future[Outcome]:
        """Replicate one command (at most ``MAX_ENTRY_BYTES``); the future gets its index and result.

        ``extensions`` travel with the entry and mean nothing to this library, as in HashiCorp's Raft.
        It raises NotLeaderError, BusyError, RefusedError or StoppedError when nothing was executed, and
        UnknownOutcomeError when the command may still take effect.
        """
        future, done = self._future()
        self._replica.apply(data, done, extensions)
        return future

    async def barrier(self) -> int:
        """Wait until everything proposed before has been applied here; returns the index."""
        future, done = self._future()
        self._replica.barrier(done)
        return (await future).index

    async def change_membership(self, change: ChangeMembership) -> int:
        """Add, demote or remove one server; returns the index of the new configuration."""
        future, done = self._future()
        self._replica.change_membership(change.kind, change.server_id, change.address, change.prev_index, done)
        return (await future).index

    async def transfer_leadership(self, target: str | None = None) -> None:
        """Hand leadership to ``target``, or to the voter that is furthest ahead."""
        future, done = self._future()
        self._replica.transfer_leadership(target, done)
        await future

    async def confirm_read_index(self) -> int:
        """Leader only: an index from which reads are linearizable, confirmed by a quorum."""
        future, done = self._future()
        self._replica.read_index(done)
        return (await future).index

    async def read_index(self) -> int:
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

    async def wait_applied(self, index: int) -> int:
        """Wait until this node has applied ``index``; returns the applied index."""
        future, done = self._future()
        self._replica.wait_applied(index, done)
        await future
        return self._replica.applied

    async def snapshot(self) -> SnapshotMeta:
        """Take a snapshot now; RefusedError when nothing was applied since the last."""
        future: asyncio.Future[SnapshotMeta] = self._loop.create_future()
        self._replica.snapshot(_settler(future))
        return await future

    async def examine(self, look: Callable[[], T]) -> tuple[int, T]:
        """The applied index, and ``look()`` of :attr:`machine` at that index.

        For what takes long: it runs on a thread, and entries wait meanwhile.  Raises BusyError while the machine
        is being replaced by a snapshot.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        applied = self._replica.applied
        self._replica.examine(look, _settler(future))
        return applied, await future

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
        return self._replica.soft_state.leader_id

    @property
    def leader_address(self) -> str:
        """Address of the known leader, or ``""``."""
        return self._replica.soft_state.leader_address

    @property
    def machine_is_readable(self) -> bool:
        """False while the state machine is being replaced by a snapshot."""
        return self._replica.machine_is_readable

    def status(self) -> NodeStatus:
        """A node's standing right now."""
        state, raft = self._replica.soft_state, self._replica.status()
        return NodeStatus(
            self.config.id,
            self.config.address,
            state.role,
            state.term,
            state.leader_id,
            state.leader_address,
            self._replica.applied,
            raft.configuration,
            self._storage.fsync_us_median(),
            self._replica.terms_seen,
            self._contact.age_ms(raft.last_contact),
            self._shut.is_set(),
            raft,
        )

    def _future(self) -> tuple[asyncio.Future[Outcome], Done]:
        future: asyncio.Future[Outcome] = self._loop.create_future()
        return future, _settler(future)


def _settler(future: asyncio.Future[T]) -> Callable[[T | None, Exception | None], None]:
    """A callback that settles ``future``, unless its owner has given it up."""

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if result is not None:
            future.set_result(result)
        else:
            future.set_exception(error or StoppedError("the node has stopped"))

    return settle


class _WallClock:
    """The machine's wall clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()
