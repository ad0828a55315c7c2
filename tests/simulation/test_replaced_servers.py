"""A server that was removed, and a new one at its address: who answers there is not who was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from matchengine.raft.proposals import ChangeKind
from matchengine.testing.simulator.host import End, Host
from matchengine.testing.simulator.timeline import SECOND
from matchengine.testing.simulator.workloads import ExchangeWorkload
from matchengine.testing.simulator.world import World

FOR_EVER_US = 10**15


class Machines:
    """Three voters of one simulated cluster, changed step by step; all checkers look on."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, 3, ExchangeWorkload())
        self.world.start()
        self.until(lambda: self.world.leader() is not None and self.answered() >= 10)

    def answered(self) -> int:
        return sum(client.answered for client in self.world.clients)

    def until(self, done: Callable[[], bool], within_us: int = 60 * SECOND) -> None:
        timeline = self.world.timeline
        bound = timeline.now + within_us
        while not done():
            assert timeline.now < bound, "nothing comes of it"
            timeline.step()

    def leader(self) -> Host:
        self.until(lambda: self.world.leader() is not None)
        leader = self.world.leader()
        assert leader is not None
        return leader

    def followers(self) -> list[Host]:
        """The other voters."""
        leader = self.leader()
        assert leader.process is not None
        voters = leader.process.replica.core.membership.voters
        return [host for host in self.world.hosts.values() if host is not leader and host.id in voters]

    def change(self, kind: ChangeKind, host: Host) -> None:
        """One change of the membership, until it is done."""
        done: list[object] = []
        process = self.leader().process
        assert process is not None
        process.enter(
            process.replica.change_membership, kind, host.id, host.address, 0, lambda *outcome: done.append(outcome)
        )
        self.until(lambda: bool(done))
        assert done == [(done[0][0], None)] and done[0][0] is not None, done

    def switch_off(self, *hosts: Host) -> None:
        for host in hosts:
            host.end_soon(End.POWER, 0)
            host.down_until = FOR_EVER_US

    def switch_on(self, *hosts: Host) -> None:
        for host in hosts:
            host.down_until = 0
            host.start()

    def scrap(self, host: Host) -> None:
        """The machine is gone for good."""
        host.end_soon(End.POWER, 0)
        host.damaged = "it was scrapped"

    def new_at(self, address: str) -> Host:
        """An empty server of a new id at this address, a member of nothing."""
        host = self.world.new_host(address)
        host.start()
        return host


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_missed_a_replacement_gathers_no_majority_with_the_replacement(seed):
    """Its own configuration is of three, and two of their addresses answer; but a majority of those who are members
    now had its orders acknowledged without it."""
    machines = Machines(seed)
    stale, replaced = machines.followers()
    machines.switch_off(stale)
    added = machines.world.new_host()
    added.start()
    machines.change(ChangeKind.ADD_VOTER, added)
    machines.change(ChangeKind.REMOVE_SERVER, replaced)
    machines.scrap(replaced)
    replacement = machines.new_at(replaced.address)
    current = [machines.leader(), added]
    before = machines.answered()
    machines.until(lambda: machines.answered() > before)
    machines.switch_off(*current)

    machines.switch_on(stale)
    end = machines.world.timeline.now + 30 * SECOND
    while machines.world.timeline.now < end:
        machines.world.timeline.step()
        assert stale.process is not None and not stale.process.leads
    assert replacement.process is not None

    machines.switch_on(*current)
    before = machines.answered()
    machines.until(lambda: machines.answered() > before)
    committed = machines.leader().process.replica.core.log.commit
    machines.until(lambda: stale.process.replica.applied >= committed)
