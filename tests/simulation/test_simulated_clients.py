"""Simulated clients behave as the real ones do."""

from __future__ import annotations

import pytest

from matchengine.testing.simulator import Plan, run, services
from matchengine.testing.simulator.host import End
from matchengine.testing.simulator.workloads import ExchangeWorkload
from matchengine.testing.simulator.world import World


def test_one_good_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that joined after a client began to look is known to it by the others' hints only."""
    world = World(1, 3, ExchangeWorkload())
    follower = world.hosts["n1"]
    monkeypatch.setattr(world, "known_hosts", lambda: [follower])
    world.start()
    world.timeline.run_to(3000)
    leader = world.leader()
    assert leader is not None
    assert leader is not follower
    assert all(client.answered for client in world.clients)


def test_answers_in_slices_survive_leaders_that_die_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leader is killed as soon as a client holds the beginning of an answer."""
    monkeypatch.setattr(services, "_WITHOUT_SLICES", 10**6)
    world = World(2, 3, ExchangeWorkload())
    world.start()
    kills = answered = 0
    while world.counts["answers continued"] < 5 and kills < 60:
        world.timeline.run_to(world.timeline.steps + 5)
        answered = world.counts["answers in slices"]
        leader = world.leader()
        queues = [client.queue._queue for client in world.clients]
        if leader is not None and any(q and q[0].position for q in queues) and answered >= kills:
            leader.end_soon(End.KILLED, 0)
            leader.start()
            kills += 1
    assert world.counts["answers continued"] >= 5


def test_a_restored_state_is_not_compared_half_way_through_the_next_command() -> None:
    """In this run a node begins a long command before the checkers look at what it has restored."""
    assert run(Plan(257832305573, 5600)).failure is None
