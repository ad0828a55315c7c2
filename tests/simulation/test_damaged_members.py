"""Members change while one of them is damaged, as long as a majority of good disks is left, whatever comes of it."""

from __future__ import annotations

from collections import Counter

import pytest

from matchengine.raft.proposals import ChangeKind
from matchengine.testing.simulator import Fault, Plan, run
from matchengine.testing.simulator.host import Host
from matchengine.testing.simulator.operators import Operator
from matchengine.testing.simulator.workloads import ExchangeWorkload
from matchengine.testing.simulator.world import World

KINDS = (Fault.MEMBERSHIP, Fault.REJOIN, Fault.ROT, Fault.TORN_SECTOR, Fault.WIPE)


@pytest.fixture
def world() -> World:
    """Three voters with a leader; the third is damaged, and nobody has noticed."""
    world = World(1, 3, ExchangeWorkload())
    world.start()
    while world.leader() is None:
        world.timeline.step()
    world.hosts["n3"].is_damaged = True
    return world


def test_a_change_must_leave_a_majority_of_good_disks(world: World) -> None:
    hosts, may = world.hosts, world.operator._may_change
    assert may(ChangeKind.REMOVE_SERVER, hosts["n3"])
    assert may(ChangeKind.ADD_VOTER, world.new_host())
    assert not may(ChangeKind.REMOVE_SERVER, hosts["n1"])
    assert not may(ChangeKind.DEMOTE_VOTER, hosts["n2"])
    spare = world.new_host()
    spare.is_damaged = True
    assert may(ChangeKind.ADD_NONVOTER, spare)
    assert not may(ChangeKind.ADD_VOTER, spare)


def test_what_is_under_way_counts_as_done_and_as_not_done(world: World) -> None:
    operator, leader, added = world.operator, world.leader(), world.new_host()
    assert leader is not None
    operator._change(leader, ChangeKind.ADD_VOTER, added.id)
    assert not operator._may_change(ChangeKind.REMOVE_SERVER, world.hosts["n1"])
    assert operator._may_change(ChangeKind.REMOVE_SERVER, world.hosts["n3"])
    assert not operator.may_lose(added)


def test_members_change_while_one_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    change = Operator.change

    def watched(self: Operator, chance: object) -> str:
        told = change(self, chance)
        if told and any(_is_damaged_member(host, self._world) for host in self._world.hosts.values()):
            seen["changed beside a damaged member"] += 1
        return told

    monkeypatch.setattr(Operator, "change", watched)
    for seed in range(8):
        assert run(Plan(seed, 8000, faults=KINDS)).failure is None
    assert seen["changed beside a damaged member"] >= 10


def _is_damaged_member(host: Host, world: World) -> bool:
    leader = world.leader()
    if leader is None or leader.process is None:
        return False
    return host.is_damaged and leader.process.replica.core.membership.latest.get(host.id) is not None
