"""Simulated clients behave as the real ones do."""

from __future__ import annotations

import pytest

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
