"""The engine of our own: the replica with its disk, its peers and its clock on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from matchengine.node.engine import Done, EngineStatus, Listener, Outcome, Settle
from matchengine.node.replica import Replica
from matchengine.raft.config import RaftConfig
from matchengine.raft.proposals import ChangeMembership
from matchengine.raft.raft import bootstrap
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Configuration, Index, Restored, Server, ServerId, SnapshotMeta
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.contact import LeaderContact
from matchengine.runtime.disk import DiskThread
from matchengine.runtime.recovery import recover_if_asked
from matchengine.runtime.ticker import Ticker
from matchengine.runtime.worker import WorkerThread
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import StorageError
from matchengine.storage.storage import open_storage
from matchengine.transport.client import GrpcNetwork
from matchengine.transport.server import RaftTransportService, add_transport

logger = logging.getLogger(__name__)

T = TypeVar("T")


class NativeEngine:
    """See :class:`matchengine.node.engine.Engine`."""

    def __init__(self, config: NodeConfig, machine: StateMachine, listener: Listener) -> None:
        self._config = config
        self._machine = machine
        self._listener = listener
        self._contact = LeaderContact(config.timing.tick_ms, time.monotonic)
        self._pump_due = False
        self._shut_down = False
        #: See :class:`matchengine.node.engine.Engine`.
        self.has_founded = False

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the data directory and start the replica."""
        self._loop = asyncio.get_running_loop()
        self._storage = await asyncio.to_thread(open_storage, self._config.data_dir, self._config.id)
        try:
            self._build(await asyncio.to_thread(self._restore))
        except BaseException:
            self._storage.close()
            raise

    def _restore(self) -> Restored:
        config = self._config
        restored = recover_if_asked(self._storage, self._storage.restore(), config, self._machine)
        if not config.bootstrap:
            return restored
        if restored.entries or restored.snapshot:
            logger.warning("bootstrap: %s already has state; nothing is bootstrapped", config.id)
            return restored
        first = bootstrap(Configuration((Server(config.id, config.address),)))
        self._storage.bootstrap(first)
        self.has_founded = True
        return first

    def _build(self, restored: Restored) -> None:
        config, timing = self._config, self._config.timing
        self._disk = DiskThread(self._storage, self._loop)
        self._worker = WorkerThread(self._loop)
        snapshots = self._storage.snapshots
        self._network = GrpcNetwork(
            config.id, config.address, timing, lambda meta: (meta.size, snapshots.open(meta)), self._loop
        )
        self._replica = Replica(
            RaftConfig(config.id, config.address, timing, trailing_entries=config.trailing_entries),
            restored,
            self._machine,
            rng=random.SystemRandom(),
            disk=self._disk,
            network=self._network,
            worker=self._worker,
            clock=_WallClock(),
            snapshots=snapshots,
            policy=config.snapshots,
            wake=self._wake,
            on_soft_state=self._soft_state_changed,
            on_stop=self._stopped,
            on_notice=lambda text: logger.info("node %s: %s", config.id, text),
        )
        self._ticker = Ticker(self._loop, timing.tick_ms / 1000, self._replica.tick)
        self._storage.watch(self._storage_failed)

    @property
    def service_address(self) -> str:
        """Peers and clients come to the same server."""
        return self._config.listen_address

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve the Raft transport."""
        config, snapshots = self._config, self._storage.snapshots
        service = RaftTransportService(config.id, config.address, self._replica.receive, snapshots.create, self._loop)
        add_transport(service, server)

    def stop(self, error: Exception) -> None:
        """Stop the clock and the replica."""
        self._ticker.stop()
        self._replica.stop(error)

    async def close(self) -> None:
        """Close the connections to peers, let the disk finish, and free the directory."""
        await self._network.close()
        self._worker.close()
        if await self._disk.close():
            await asyncio.to_thread(self._storage.close)

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

    def _storage_failed(self, error: StorageError) -> None:
        """On whatever thread met it: not every use of the storage has somebody who hears of its failure."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node has stopped
            self._loop.call_soon_threadsafe(self._replica.stop, error)

    def _soft_state_changed(self, state: SoftState) -> None:
        self._contact.note(state)
        self._listener.soft_state_changed(state)

    def _stopped(self, error: Exception) -> None:
        self._shut_down = True
        self._listener.stopped(error)

    # --- the user's side -------------------------------------------------------------------

    def propose(self, data: bytes, done: Done, extensions: bytes = b"") -> None:
        """Replicate a command."""
        self._replica.apply(data, done, extensions)

    def barrier(self, done: Done) -> None:
        """Append an entry that does nothing."""
        self._replica.barrier(done)

    def change_membership(self, change: ChangeMembership, done: Done) -> None:
        """Change one server; done when the entry was applied here."""
        self._replica.change_membership(change.kind, change.server_id, change.address, change.prev_index, done)

    def transfer_leadership(self, target: ServerId | None, done: Done) -> None:
        """Hand leadership over."""
        self._replica.transfer_leadership(target, done)

    def read_index(self, done: Done) -> None:
        """The commit index, confirmed by a round of heartbeats that begins now."""
        self._replica.read_index(done)

    def wait_applied(self, index: Index, done: Done) -> None:
        """Done once ``index`` was applied here."""
        self._replica.wait_applied(index, done)

    def examine(self, look: Callable[[], T], done: Settle[tuple[Index, T]]) -> None:
        """Run ``look()`` on the worker."""
        self._replica.examine(look, done)

    def snapshot(self, done: Done) -> None:
        """Take a snapshot now."""

        def taken(meta: SnapshotMeta | None, error: Exception | None) -> None:
            done(None if meta is None else Outcome(meta.index), error)

        self._replica.snapshot(taken)

    @property
    def soft_state(self) -> SoftState:
        """Role, term and known leader."""
        return self._replica.soft_state

    @property
    def machine_is_readable(self) -> bool:
        """False while a command is half executed, or a snapshot replaces the state."""
        return self._replica.machine_is_readable

    def status(self, done: Settle[EngineStatus]) -> None:
        """The core's standing, and the disk's."""
        config, state, raft = self._config, self._replica.soft_state, self._replica.status()
        status = EngineStatus(
            id=config.id,
            address=config.address,
            role=state.role,
            term=state.term,
            leader_id=state.leader_id,
            leader_address=state.leader_address,
            first_index=raft.first_index,
            last_index=raft.last_index,
            last_term=raft.last_term,
            commit_index=raft.commit_index,
            applied=self._replica.applied,
            snapshot_index=raft.snapshot_index,
            snapshot_term=raft.snapshot_term,
            configuration=raft.configuration,
            configuration_index=raft.configuration_index,
            fsync_us=self._storage.fsync_us_median(),
            terms_seen=self._replica.terms_seen,
            last_contact_ms=self._contact.age_ms(raft.last_contact),
            is_shut_down=self._shut_down,
        )
        done(status, None)


class _WallClock:
    """The machine's wall clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()
