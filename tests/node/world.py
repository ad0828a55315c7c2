"""A small deterministic world for replicas: disks, network, workers and clock on one event queue.

One unit of time is one tick of the FAST profile (10 ms).  Everything random comes from the seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

from matchengine.node.engine import Outcome
from matchengine.node.policy import SnapshotPolicy
from matchengine.node.replica import Replica
from matchengine.raft.config import FAST, RaftConfig, Timing
from matchengine.raft.messages import InstallSnapshot, Request, Response
from matchengine.raft.raft import bootstrap
from matchengine.raft.ready import SoftState, Write
from matchengine.raft.types import Configuration, Entry, HardState, Restored, Role, Server, SnapshotMeta
from matchengine.storage.memory import MemorySnapshots


class Ledger:
    """Remembers every command; its answer is the number of commands so far."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.poison = b""

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        answers = []
        for entry in entries:
            if self.poison and entry.data == self.poison:
                raise RuntimeError("poisoned")
            self.commands.append(entry.data)
            answers.append(b"%d" % len(self.commands))
        return answers

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.commands)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self.commands = data.split(b"\n") if data else []


class Disk:
    """Durable state of one server, and the delay of its writes; survives a crash of the replica."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hard_state = HardState()
        self.entries: list[Entry] = []
        self.snapshots = MemorySnapshots()
        self.delay = 1
        self.hanging = False
        self.error: Exception | None = None
        self._queue: list[tuple[Write, Callable[[Exception | None], None]]] = []
        self._epoch = 0

    def crash(self) -> None:
        """Forget what was not durable."""
        self._epoch += 1
        self._queue.clear()

    def restored(self) -> Restored:
        return Restored(self.hard_state, self.snapshots.newest(), tuple(self.entries))

    def submit(self, write: Write, done: Callable[[Exception | None], None]) -> None:
        self._queue.append((write, done))
        self.world.after(self.delay, self._flush, self._epoch)

    def release(self) -> None:
        self.hanging = False
        self._flush(self._epoch)

    def _flush(self, epoch: int) -> None:
        if self.hanging or epoch != self._epoch or not self._queue:
            return
        write, done = self._queue.pop(0)
        if self.error is not None:
            done(self.error)
            return
        self._perform(write)
        done(None)
        if self._queue:
            self.world.after(0, self._flush, epoch)

    def _perform(self, write: Write) -> None:
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.reset is not None:
            self.entries = []
        if write.truncate_from is not None:
            self.entries = [e for e in self.entries if e.index < write.truncate_from]
        self.entries.extend(write.entries)
        if write.compact_to is not None:
            self.entries = [e for e in self.entries if e.index > write.compact_to]


class Worker:
    """Runs work after ``delay``; held back while ``held``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.delay = 1
        self.held = False
        self._waiting: list[Callable[[], None]] = []
        self.alive = True

    def run(self, work: Callable[[], object], done: Callable[[object, Exception | None], None]) -> None:
        def job() -> None:
            if not self.alive:
                return
            try:
                result = work()
            except Exception as error:  # noqa: BLE001
                done(None, error)
            else:
                done(result, None)

        if self.held:
            self._waiting.append(job)
        else:
            self.world.after(self.delay, job)

    def release(self) -> None:
        self.held = False
        for job in self._waiting:
            self.world.after(self.delay, job)
        self._waiting.clear()


class Call:
    """An inbound call on the simulated network."""

    def __init__(self, world: World, sender: Node, receiver: Node, request: Request, outcome: object) -> None:
        self.world, self._sender, self._receiver = world, sender, receiver
        self._request, self._outcome = request, outcome
        self.sender = sender.id
        self.sender_address = sender.address
        self._replica = sender.replica
        self.settled = False

    def answer(self, response: Response) -> None:
        if self.world.connected(self._receiver.id, self._sender.id):
            self.world.after(self.world.latency(), self._settle, lambda: self._outcome.answered(response))

    def fail(self, error: str) -> None:
        self.world.errors.append(error)
        self.world.after(self.world.latency(), self._settle, self._outcome.unanswered)

    def expire(self) -> None:
        self._settle(self._outcome.unanswered)

    def receive_snapshot(self, meta: SnapshotMeta, done: Callable[[str], None]) -> None:
        chunks = list(self._sender.disk.snapshots.open(self._request.snapshot))

        def copy() -> None:
            sink = self._receiver.disk.snapshots.create(meta)
            for chunk in chunks:
                sink.write(chunk)
            sink.commit()
            done("")

        self.world.after(self.world.snapshot_time, copy)

    def _settle(self, tell: Callable[[], None]) -> None:
        if not self.settled and self._sender.replica is self._replica:
            self.settled = True
            tell()


class Node:
    """One server: what survives a crash, and the replica that runs at the moment (None while down)."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.id, self.address = world, name, f"{name}:1"
        self.disk = Disk(world)
        self.machine: Ledger = Ledger()
        self.worker = Worker(world)
        self.replica: Replica | None = None
        self.soft_states: list[SoftState] = []
        self.notices: list[str] = []
        self.failure: Exception | None = None
        #: How long the loop takes to come back to a replica that has more to do.
        self.turn = 0
        self._pump_due = False

    # --- contracts: Network and Clock
    def send(self, to: Server, request: Request, outcome: object) -> None:
        world = self.world
        world.sent.append((self.id, to.id, request))
        target = world.nodes.get(to.id)
        call = Call(world, self, target or self, request, outcome)
        patience = 500 if isinstance(request, InstallSnapshot) else 30
        world.after(patience, call.expire)
        if target is not None and world.connected(self.id, to.id):
            world.after(world.latency(), self._deliver, target, call, request)

    def _deliver(self, target: Node, call: Call, request: Request) -> None:
        if target.replica is not None:
            target.replica.receive(call, request)

    def now_ns(self) -> int:
        return self.world.now * 10_000_000 + 1

    # --- life
    def start(self) -> None:
        self.machine = self.world.machine()
        self.worker = Worker(self.world)
        self.failure = None
        self.replica = Replica(
            RaftConfig(self.id, self.address, self.world.timing, **self.world.limits),
            self.disk.restored(),
            self.machine,
            rng=random.Random(self.world.rng.random()),
            disk=self.disk,
            network=self,
            worker=self.worker,
            clock=self,
            snapshots=self.disk.snapshots,
            policy=self.world.policy,
            wake=self._wake,
            on_soft_state=self.soft_states.append,
            on_stop=self._on_stop,
            on_notice=self.notices.append,
        )
        self._tick(self.replica)

    def crash(self) -> None:
        self.replica = None
        self.worker.alive = False
        self.disk.crash()

    def _on_stop(self, error: Exception) -> None:
        self.failure = error

    def _tick(self, replica: Replica) -> None:
        if self.replica is replica:
            replica.tick()
            self.world.after(1, self._tick, replica)

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self.world.after(self.turn, self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        if self.replica is not None and self.replica.pump():
            self._wake()

    @property
    def leads(self) -> bool:
        return self.replica is not None and self.replica.soft_state.role is Role.LEADER


class World:
    """The event queue and everything on it."""

    def __init__(
        self,
        size: int = 3,
        *,
        seed: int = 1,
        policy: SnapshotPolicy = SnapshotPolicy(),  # noqa: B008 - immutable
        machine: Callable[[], Ledger] = Ledger,
        timing: Timing = FAST,
        **limits: int,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.policy, self.machine, self.timing, self.limits = policy, machine, timing, limits
        self.snapshot_time = 2
        self.sent: list[tuple[str, str, Request]] = []
        self.errors: list[str] = []
        self._cut: set[tuple[str, str]] = set()
        self._queue: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()
        self.nodes = {name: Node(self, name) for name in ("a", "b", "c", "d", "e")[:size]}
        servers = tuple(Server(n.id, n.address) for n in self.nodes.values())
        first = bootstrap(Configuration(servers))
        for node in self.nodes.values():
            node.disk.hard_state, node.disk.entries = first.hard_state, list(first.entries)
            node.start()

    def after(self, delay: int, action: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action, args))

    def run(self, ticks: int) -> None:
        until = self.now + ticks
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action, args = heapq.heappop(self._queue)
            action(*args)
        self.now = until

    def run_until(self, condition: Callable[[], object], ticks: int = 1000) -> None:
        for _ in range(ticks):
            if condition():
                return
            self.run(1)
        raise AssertionError(f"not reached within {ticks} ticks")

    def latency(self) -> int:
        return self.rng.randrange(2)

    def connected(self, one: str, other: str) -> bool:
        return (one, other) not in self._cut

    def cut(self, one: str, other: str) -> None:
        self._cut |= {(one, other), (other, one)}

    def isolate(self, name: str) -> None:
        for other in self.nodes:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        self._cut.clear()

    def leader(self) -> Node:
        self.run_until(self._leaders)
        return max(self._leaders(), key=lambda n: n.replica.soft_state.term)

    def _leaders(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.leads]

    def followers(self) -> list[Node]:
        leader = self.leader()
        return [n for n in self.nodes.values() if n is not leader and n.replica is not None]

    def apply(self, node: Node, data: bytes) -> Result:
        result = Result()
        node.replica.apply(data, result)
        return result

    def settle(self, *results: Result, ticks: int = 1000) -> None:
        self.run_until(lambda: all(r.settled for r in results), ticks)


class Result:
    """A ``Done`` callback that remembers, and objects to being called twice."""

    def __init__(self) -> None:
        self.settled = False
        self.outcome: Outcome | None = None
        self.error: Exception | None = None

    def __call__(self, outcome: object, error: Exception | None) -> None:
        assert not self.settled
        self.settled, self.outcome, self.error = True, outcome, error
