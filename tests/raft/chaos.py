"""Random schedules for the simulated cluster: faults, commands, reads, membership changes, transfers.

A schedule is a list of (action, number); the number chooses the server or the amount.  A run ends
with a healed network, after which everybody must agree on one more command.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeAlias

from cluster import Cluster, InvariantError, SimServer
from matchengine.raft.proposals import (
    AbortTransfer,
    ChangeKind,
    ChangeMembership,
    Command,
    Read,
    TransferLeadership,
)
from matchengine.raft.ready import ReadReady
from matchengine.raft.types import Role

Schedule: TypeAlias = Sequence[tuple[str, int]]

ACTIONS = (
    "commands",
    "commands",
    "commands",
    "commands",
    "commands",
    "commands_anywhere",
    "reads",
    "run",
    "run",
    "crash",
    "crash_leader",
    "restart",
    "restart",
    "power_failure",
    "stop_clock",
    "stop_leaders_clock",
    "isolate",
    "isolate_leader",
    "split",
    "join",
    "join",
    "start_clocks",
    "start_clocks",
    "hang_disk",
    "recover_disk",
    "recover_disk",
    "change",
    "change",
    "transfer",
    "abort_transfer",
)


def random_schedule(seed: int, length: int = 60) -> list[tuple[str, int]]:
    """A schedule from a seed."""
    rng = random.Random(seed)
    return [(rng.choice(ACTIONS), rng.randrange(1000)) for _ in range(length)]


def run_seed(seed: int, *, recover: bool = True, old: Sequence[str] = ()) -> None:
    """One schedule on one cluster, both from the seed: size, loss, disk speed and snapshots vary."""
    cluster = Cluster(
        5 if seed % 3 == 0 else 3,
        seed,
        spares=seed % 2,
        loss=0.1 * (seed % 2),
        duplication=0.1,
        disk_delay=30 if seed % 4 == 0 else 3,
        snapshot_every=0 if seed % 5 == 0 else 10,
        trailing_entries=3,
        max_trailing_bytes=1000 if seed % 7 == 0 else 0,
        old=old,
    )
    chaos = Chaos(cluster)
    chaos.perform(random_schedule(seed))
    if recover:
        chaos.recover()


class Chaos:
    """Performs a schedule; raises InvariantError, or AssertionError when the cluster does not recover."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.proposed = 0
        self.unread: dict[int, int] = {}

    def perform(self, schedule: Schedule) -> None:
        for action, number in schedule:
            getattr(self, action)(number)
            self.cluster.run(number % 7 * 10)
            self.check_reads()

    def recover(self) -> None:
        """Liveness: with the faults gone, a majority elects a leader and all members apply everything."""
        self.cluster.heal()
        leader = self.cluster.elect()
        leader.propose(Command(b"the end"))
        self.cluster.run_until(self._all_members_have_the_end)
        self.check_reads()

    def _all_members_have_the_end(self) -> bool:
        cluster = self.cluster
        leader = cluster.leader()
        if leader is None:
            return False
        if not any(e.data == b"the end" for e in cluster.invariants.applied.values()):
            leader.propose(Command(b"the end"))
        members = leader.raft.status().configuration.servers
        return all(cluster.has_applied(cluster.servers[m.id], b"the end") for m in members)

    def check_reads(self) -> None:
        """A read's index covers everything that was committed when the read arrived."""
        for key, known in list(self.unread.items()):
            outcome = self.cluster.outcomes.get(key)
            if outcome is not None:
                del self.unread[key]
            if isinstance(outcome, ReadReady) and outcome.index < known:
                raise InvariantError(f"stale read: index {outcome.index} while {known} was committed")

    # --- actions ---------------------------------------------------------------------------

    def _server(self, number: int) -> SimServer:
        return self.cluster.servers[self.cluster.ids[number % len(self.cluster.ids)]]

    def _alive(self) -> list[SimServer]:
        return [s for s in self.cluster.servers.values() if s.alive]

    def _propose(self, server: SimServer | None) -> None:
        if server is not None and server.alive:
            self.proposed += 1
            server.propose(Command(b"command %d" % self.proposed))

    def commands(self, number: int) -> None:
        for _ in range(number % 8):
            self._propose(self.cluster.leader())
            self.cluster.run(number % 13)

    def commands_anywhere(self, number: int) -> None:
        for server in self._alive():
            if server.raft.status().role is Role.LEADER:
                for _ in range(number % 4):
                    self._propose(server)

    def reads(self, number: int) -> None:
        """Read at every server that believes it leads: the deposed one, above all, must not answer stale."""
        known = max(self.cluster.invariants.committed, default=0)
        for server in self._alive():
            self.unread[server.propose(Read())] = known

    def run(self, number: int) -> None:
        self.cluster.run(number % 600)

    def crash(self, number: int) -> None:
        self._server(number).crash()

    def crash_leader(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            leader.crash()

    def restart(self, number: int) -> None:
        for server in self.cluster.servers.values():
            if not server.alive:
                server.start()

    def power_failure(self, number: int) -> None:
        """All servers crash and come back at once; some of them a second time."""
        for server in self.cluster.servers.values():
            server.crash()
            server.start()
        self.cluster.run(number % 500)
        self._server(number).crash()
        self._server(number).start()

    def stop_clock(self, number: int) -> None:
        self._server(number).clock_stands = True

    def stop_leaders_clock(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            leader.clock_stands = True
            self.isolate_leader(number)

    def start_clocks(self, number: int) -> None:
        for server in self.cluster.servers.values():
            server.clock_stands = False

    def isolate(self, number: int) -> None:
        self.cluster.partition([self._server(number).id], [i for i in self.cluster.ids if i != self._server(number).id])

    def isolate_leader(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            self.cluster.partition([leader.id], [i for i in self.cluster.ids if i != leader.id])

    def split(self, number: int) -> None:
        self.cluster.partition(*[[i for n, i in enumerate(self.cluster.ids) if (number >> n) & 1 == g] for g in (0, 1)])

    def join(self, number: int) -> None:
        self.cluster.cut = set()

    def hang_disk(self, number: int) -> None:
        self._server(number).disk_hangs = True

    def recover_disk(self, number: int) -> None:
        for server in self._alive():
            server.recover_disk()

    def change(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            target = self._server(number // 4).id
            leader.propose(ChangeMembership(ChangeKind(number % 4), target, f"{target}:1"))

    def transfer(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            leader.propose(TransferLeadership(self._server(number).id if number % 2 else None))

    def abort_transfer(self, number: int) -> None:
        leader = self.cluster.leader()
        if leader is not None:
            leader.propose(AbortTransfer())
