"""Everything that is simulated, in one place: time, machines, network, clients, operators, checkers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from matchengine.errors import StoppedError
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.config import FAST, HASHICORP, Timing
from matchengine.raft.raft import bootstrap
from matchengine.raft.types import Configuration, Server, Suffrage
from matchengine.sessions import SessionLimits
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.checkers import Checkers
from matchengine.testing.simulator.clients import Client
from matchengine.testing.simulator.host import Host
from matchengine.testing.simulator.invariants import InvariantError
from matchengine.testing.simulator.moments import Moment, Traps
from matchengine.testing.simulator.network import Network
from matchengine.testing.simulator.operators import Operator
from matchengine.testing.simulator.rules import RULES
from matchengine.testing.simulator.services import Reply, Services
from matchengine.testing.simulator.timeline import MS, SECOND, Timeline
from matchengine.testing.simulator.trace import Trace
from matchengine.testing.simulator.workloads import Workload

_SLOW_TIMING: Final = 0.1
#: How many voters a cluster has when the seed says it, and how often one server founds it and the others join.
_SIZES: Final = (1, 2, 3, 3, 3, 3, 4, 5)
_GROWN: Final = 0.3
_SLEEPS: Final = 0.25
#: How long a write takes, in microseconds: on some disks about as long as an election.
_DISKS: Final = (*((60, 3 * MS),) * 6, (5 * MS, 60 * MS), (20 * MS, 250 * MS))


class World:
    """One simulated cluster of ``nodes`` voters (0: the seed says how many); everything in it comes from ``seed``."""

    def __init__(
        self, seed: int, nodes: int, workload: Workload, *, traced: bool = False, without: Collection[str] = ()
    ) -> None:
        self.seed = seed
        self.workload = workload
        self.timeline = Timeline()
        self.trace = Trace(on=traced)
        self.counts: Counter[str] = Counter()
        self.traps = Traps()
        self.is_closing = False
        self._processes = 0
        self._without = frozenset(without)
        self._choose_habits(nodes)
        self.network = Network(self)
        self.checkers = Checkers(self, RULES, without)
        #: How often a piece of a snapshot is the last of its stream.
        self.snapshot_breaks = 0.0
        self._breaks = self.stream("breaks")
        self._haste = self.stream("haste")
        self.hosts: dict[str, Host] = {}
        self._by_address: dict[str, Host] = {}
        self._found()
        self.operator = Operator(self)
        self.clients = [Client(self, number) for number in range(1, self._clients + 1)]

    def _found(self) -> None:
        """The first members; those behind the voters hold everything and have no vote.

        A cluster that grows has one member; the other machines wait until an operator adds them.
        """
        suffrages = [Suffrage.VOTER] * self.wanted_voters + [Suffrage.NONVOTER] * self.learners
        servers = tuple(Server(f"n{i}", f"n{i}:1", suffrage) for i, suffrage in enumerate(suffrages, 1))
        first = bootstrap(Configuration(servers[:1] if self.grows else servers))
        for server in servers:
            is_member = not self.grows or server is servers[0]
            self.add_host(Host(self, server.id, first if is_member else None))

    def _choose_habits(self, nodes: int) -> None:
        """What this seed's cluster is like: limits that are passed often, and a load."""
        chance = self.stream("habits")
        self.timing: Timing = HASHICORP if chance.happens(_SLOW_TIMING) else FAST
        self.policy = SnapshotPolicy(entries=chance.choice((1, 4, 10, 30, 100, 1000)))
        self.limits = {
            "max_append_entries": chance.choice((1, 4, 16, 64)),
            "max_append_bytes": chance.choice((500, 1024 * 1024, 1024 * 1024)),
            "max_inflight_requests": chance.choice((1, 4, 32)),
            "max_inflight_bytes": chance.choice((1000, 8 * 1024 * 1024, 8 * 1024 * 1024)),
            "max_partial_requests": chance.choice((1, 1, 2, 8)),
            "max_uncommitted_entries": chance.choice((8, 64 * 1024, 64 * 1024)),
            "max_waiting_changes": chance.choice((1, 16)),
            "trailing_entries": chance.choice((0, 0, 1, 4, 20, 100)),
            "max_trailing_bytes": chance.choice((0, 4096, 48 * 1024 * 1024)),
        }
        self.disk_latency = chance.choice(_DISKS)
        self.frame_bytes = chance.choice((300, 2000, 4 * 1024 * 1024))
        self.session_idle_us = chance.choice((2, 5, 20, 20, 60, 600)) * SECOND
        self.session_limits = SessionLimits(
            answers_per_session=chance.choice((4, 1024, 1024)),
            answer_bytes=chance.choice((500, 4000, 128 * 1024 * 1024)),
        )
        #: Whether the first client rests for so long that only its keep-alives keep its session.
        self.sleeps = chance.happens(_SLEEPS)
        self.think_us = chance.choice((200, 400, 1000)) * MS
        self.burst = chance.choice((4, 4, 4, 40))
        self._clients = chance.randrange(2, 5)
        self.learners = chance.choice((0, 0, 0, 1, 2))
        self.wanted_voters = nodes or chance.choice(_SIZES)
        self.grows = chance.happens(_GROWN)
        self.fewest_voters = chance.choice((1, 2, 2))
        self.most_members = self.wanted_voters + 2

    # --- chance, time, notes ---------------------------------------------------------------

    def stream(self, *names: object) -> Chance:
        """The stream of chance of this name."""
        return Chance(self.seed, *names)

    def note(self, column: str, text: str) -> None:
        """Remember ``text`` for the trace."""
        if self.trace.on:
            self.trace.note(self.timeline.now, column, text)

    def count(self, what: str, times: int = 1) -> None:
        """Count something for the report."""
        self.counts[what] += times

    def fail(self, invariant: str, text: str) -> None:
        """Something must not be, unless this run does without that rule."""
        if invariant not in self._without:
            raise InvariantError(invariant, text)

    # --- machines --------------------------------------------------------------------------

    def start(self) -> None:
        """Start all nodes."""
        for host in self.hosts.values():
            host.start()

    def next_process(self) -> int:
        """A number for one more process."""
        self._processes += 1
        return self._processes

    def new_host(self, address: str = "") -> Host:
        """One more machine, with an empty disk, that belongs to no cluster; at a new address unless one is given."""
        host = Host(self, f"n{len(self.hosts) + 1}", None, address)
        self.add_host(host)
        return host

    def add_host(self, host: Host) -> None:
        """Take a machine into the network."""
        self.hosts[host.id] = host
        self._by_address[host.address] = host

    def host_at(self, address: str) -> Host | None:
        """The machine with this address."""
        return self._by_address.get(address)

    def known_hosts(self) -> list[Host]:
        """The machines at which clients try."""
        return [host for host in self.hosts.values() if not host.damaged]

    def leader(self) -> Host | None:
        """Who leads the newest term, as far as any node knows."""
        leading = [h for h in self.hosts.values() if h.process is not None and h.process.leads and not h.paused]
        return max(leading, key=lambda h: h.process.replica.soft_state.term if h.process else 0, default=None)

    def elected(self, host: Host) -> None:
        """Clients that wait for a leader are quick: some read at once, before it has done anything else.

        And some read where another one still takes itself for the leader.
        """
        self.traps.comes(Moment.ELECTED, host)
        deposed = [h for h in self.hosts.values() if h is not host and h.process is not None and h.process.leads]
        for other in deposed:
            self.traps.comes(Moment.DEPOSED, other)
            for client in self.clients:
                self.timeline.after(self._haste.skewed(0, 200 * MS), client.read_at, other)
        for client in self.clients[:2]:
            self.timeline.after(self._haste.skewed(0, 20 * MS), client.read_at, host)

    def breaks_snapshot(self) -> bool:
        """Whether the stream of a snapshot breaks at this piece."""
        return bool(self.snapshot_breaks) and self._breaks.happens(self.snapshot_breaks)

    # --- calls of services -----------------------------------------------------------------

    def call(
        self,
        source: str,
        address: str,
        patience: int,
        ask: Callable[[Services, Reply], None],
        done: Callable[[object, Exception | None], None],
    ) -> None:
        """Ask the services of the node at ``address``; ``done`` is called once, after ``patience`` at the latest."""
        _Exchange(self, source, address, ask, done).begin(patience)


class _Exchange:
    """One call of a service."""

    __slots__ = ("_ask", "_done", "_host", "_settled", "_source", "_world")

    def __init__(
        self,
        world: World,
        source: str,
        address: str,
        ask: Callable[[Services, Reply], None],
        done: Callable[[object, Exception | None], None],
    ) -> None:
        self._world = world
        self._source = source
        self._host = world.host_at(address)
        self._ask = ask
        self._done = done
        self._settled = False

    def begin(self, patience: int) -> None:
        """Send the question."""
        world, host = self._world, self._host
        world.timeline.after(patience, self._give_up)
        if host is not None and world.network.reaches(self._source, host.id):
            world.timeline.after(world.network.latency(self._source, host.id), self._arrive, host)

    def _arrive(self, host: Host) -> None:
        process = host.process
        if process is not None:
            process.enter(self._ask, process.services, self._reply)
        elif host.refuses:
            self._return(host, None, StoppedError("connection refused"))

    def _reply(self, result: object, error: Exception | None) -> None:
        assert self._host is not None
        self._return(self._host, result, error)

    def _return(self, host: Host, result: object, error: Exception | None) -> None:
        network = self._world.network
        if network.reaches(host.id, self._source):
            self._world.timeline.after(network.latency(host.id, self._source), self._settle, result, error)

    def _give_up(self) -> None:
        if not self._settled:
            self._settle(None, StoppedError("no answer in time"))

    def _settle(self, result: object, error: Exception | None) -> None:
        if not self._settled:
            self._settled = True
            self._done(result, error)
