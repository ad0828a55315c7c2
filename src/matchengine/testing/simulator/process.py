"""One run of a node's program on a simulated machine: storage, replica, and the services that clients reach.

Everything that happens to a process comes in through :meth:`Process.enter`, which knows whether the process
still runs, and stops it where a fault of the disk says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matchengine.node.replica import Replica
from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import Request
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Entry, Restored, Role, Server, ServerId, Term
from matchengine.sessions import IdleWatch, SessionMachine, expire_envelope, expire_sessions_envelope
from matchengine.state_machine import StateMachine
from matchengine.storage.contracts import StorageError
from matchengine.storage.simulated import PowerLoss
from matchengine.storage.storage import Storage, open_storage
from matchengine.testing.simulator.disk import DiskQueue, Worker
from matchengine.testing.simulator.network import CALL_CLASSES, Call
from matchengine.testing.simulator.services import Services
from matchengine.testing.simulator.witness import Executions, Witness
from matchengine.transport.wire import make_header

if TYPE_CHECKING:
    from matchengine.node.contracts import Outcome
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.invariants import View
    from matchengine.testing.simulator.world import World

#: Small, so that the log has many segments and every one of its seams is passed often.
SEGMENT_BYTES: Final = 16 * 1024
# Asked with every tick: to look an enum's member up costs Python 3.11 several times as much as a global.
_LEADER: Final = Role.LEADER
#: One command of so many is executed in this number of steps.
_LONG_EVERY: Final = 5
_LONG_STEPS: Final = 4
#: About every fourth part of so many calls to the disk it is tried what a power loss would leave.
_IMAGINED: Final = 400
#: A busy program takes a while to come to the work that it was woken for.
_LATE: Final = 0.1
_LATE_US: Final = (20, 2_000)


class Process:
    """A node while its program runs; ``number`` counts the processes of a simulation."""

    def __init__(self, world: World, host: Host, number: int) -> None:
        self.world = world
        self.host = host
        self.id = host.id
        self.number = number
        self.ended = False
        self.failure: Exception | None = None
        #: What the checkers saw of its core when they looked last; they set it while the process runs.
        self.view: View | None = None
        self.ticks = 0
        #: When it last began to lead.
        self.led_from = 0
        #: Time by this process's own count of ticks.
        self.clock_us = 0
        #: Of the sessions, while this node leads.
        self.idle_watch = IdleWatch()
        self.header = make_header(host.id, host.address)
        self.calls: tuple[deque[Call], ...] = tuple(deque() for _ in range(CALL_CLASSES))
        #: By peer, the term and the number of the newest append that it has answered in that term.
        self.heard: dict[ServerId, tuple[Term, int]] = {}
        self._pump_due = False
        self._look = world.checkers.look
        self._chance = world.stream("process", number)
        self._imagination = world.stream("imagination", number)
        self._tick_us = world.timing.tick_ms * 1000

    # --- life ------------------------------------------------------------------------------

    def start(self, first: Restored | None) -> None:
        """Open the storage and take part; ``first`` is what a new cluster begins with.

        Raises StorageError for a directory that is refused, and PowerLoss where a fault strikes.
        """
        world, host = self.world, self.host
        self.storage = self._open()
        restored = self.storage.restore()
        if first is not None and not restored.entries and restored.snapshot is None:
            self.storage.bootstrap(first)
            restored = first
        world.checkers.started(self, restored)
        self._user = world.workload.machine()
        self.sessions = SessionMachine(Executions(self._user, self._executed, self._steps), world.session_limits)
        self.machine: StateMachine = Witness(world.checkers, self, self.sessions)
        self.disk = DiskQueue(self, world.timeline, host.disk)
        self.services = Services(self)
        self.replica = Replica(
            RaftConfig(host.id, host.address, world.timing, **world.limits),
            restored,
            self.machine,
            rng=self._chance,
            disk=self.disk,
            network=self,
            worker=Worker(self, world.timeline, host.disk),
            clock=host,
            snapshots=self.storage.snapshots,
            policy=world.policy,
            wake=self._wake,
            on_soft_state=self._soft_state_changed,
            on_stop=self._on_stop,
        )
        self.core = self.replica.core
        self.storage.watch(self._storage_failed)
        self._imagine_soon()
        world.timeline.after(host.tick_us, self._tick)

    def _open(self) -> Storage:
        return open_storage(
            Path("/", self.host.id),
            self.host.id,
            segment_bytes=SEGMENT_BYTES,
            frame_bytes=self.world.frame_bytes,
            new_salt=lambda: self._chance.randrange(0, 2**32),
            fs=self.host.disk.files,
        )

    # --- what if the power went now --------------------------------------------------------

    def _imagine_soon(self) -> None:
        if not self.host.is_damaged:
            self.host.disk.look_in(self._imagination.skewed(1, _IMAGINED), self.imagine)

    def imagine(self) -> None:
        """What a power loss would leave now, between two calls to the disk, has to be a directory that can be used."""
        host, world = self.host, self.world
        self._imagine_soon()
        if host.is_damaged or host.disk.is_troubled:
            return
        world.count("imagined power losses")
        files = host.disk.files.copy()
        files.lose_power(self._imagination)
        try:
            storage = open_storage(Path("/", host.id), host.id, segment_bytes=SEGMENT_BYTES, fs=files)
            world.checkers.imagined(self, storage.restore())
        except StorageError as error:
            world.checkers.refused(host, error)

    def enter(self, action: Callable[..., None], *args: Any) -> None:
        """``action(*args)`` happens to this process, now or when it wakes from a pause, unless it has ended."""
        if self.ended:
            return
        if self.host.paused:
            self.host.backlog.append((action, args))
            return
        try:
            action(*args)
            if self._pump_due:
                self._pump_soon()
        except PowerLoss:
            self.host.fell()
            return
        self._look(self)

    def _wake(self) -> None:
        self._pump_due = True

    def _pump_soon(self) -> None:
        self._pump_due = False
        if self._chance.random() < _LATE:
            self.world.timeline.after(self._chance.skewed(*_LATE_US), self.enter, self._pump)
        else:
            self._pump()

    def _pump(self) -> None:
        try:
            more = self.replica.pump()
        except Exception as error:  # noqa: BLE001 - as in the real adapter: part is done and the rest lost
            self.replica.stop(error)
            return
        self._pump_due = False
        if more:
            self.world.timeline.after(10, self.enter, self._pump)

    def _tick(self) -> None:
        if not self.ended:
            self.world.timeline.after(self.host.tick_us, self._tick)
            if not self.host.paused:  # ticks that a stalled program missed are dropped
                self.enter(self._ticked)

    def _ticked(self) -> None:
        self.ticks += 1
        self.clock_us += self._tick_us
        self.world.network.expire(self)
        self.replica.tick()
        self.services.tick()
        self.world.checkers.ticked(self)

    def _storage_failed(self, error: StorageError) -> None:
        """As in the real adapter, the replica hears of it after what it does now."""
        self.world.timeline.after(0, self.enter, self.replica.stop, error)

    # --- contracts -------------------------------------------------------------------------

    def send(self, to: Server, request: Request, outcome: Outcome) -> None:
        """See :class:`matchengine.node.contracts.Network`."""
        self.world.network.send(self, to, request, outcome)

    def _soft_state_changed(self, state: SoftState) -> None:
        if self.world.trace.on:
            self.world.note(self.id, f"{state.role.name.lower()} t{state.term} leader {state.leader_id or '?'}")
        if state.role is Role.LEADER:
            self.led_from = self.world.timeline.now
            self.idle_watch.forget()
        self.world.checkers.soft_state(self, state)

    def _on_stop(self, error: Exception) -> None:
        self.failure = error
        self.world.timeline.after(0, self.host.stopped, self, error)

    # --- state -----------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return not self.ended and self.replica.soft_state.role is _LEADER

    def answer(self, query: int) -> object:
        """The state machine's answer to a query of the workload."""
        return self.world.workload.read(self._user, query)

    def _steps(self, entry: Entry) -> int:
        """How many steps a command takes: on every process others are long, which must not matter."""
        return _LONG_STEPS if (entry.index + self.number) % _LONG_EVERY == 0 else 1

    def _executed(self, entry: Entry) -> None:
        self.world.checkers.executed(self, entry)

    def propose_expiry(self, idle_ns: int) -> None:
        """What a leader does now and then: an entry that ends idle sessions, if there are any."""
        if not self.leads:
            return
        if not self.sessions.has_session_rules:
            if self.sessions.has_idle_sessions(idle_ns, self.host.now_ns()):
                self.replica.apply(expire_envelope(idle_ns), lambda _outcome, _error: None)
            return
        self.idle_watch.look(self.sessions.last_entries(), self.clock_us)
        if idle := self.idle_watch.idle(idle_ns // 1000, self.clock_us):
            self.replica.apply(expire_sessions_envelope(idle), lambda _outcome, _error: None)
