"""A simulation keeps the product's log to itself, and leaves it as it was."""

from __future__ import annotations

import logging

import pytest

from matchengine.node.replica import Replica
from matchengine.testing.simulator import Plan, run


def test_what_is_logged_is_muted_in_a_simulation_and_only_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A logger remembers what it may say: it has to be told that the simulation is over, too."""
    logger = logging.getLogger("matchengine.storage.log")
    receive = Replica.receive

    def receive_and_warn(self: Replica, *args: object) -> None:
        logger.warning("in a simulation")
        receive(self, *args)

    monkeypatch.setattr(Replica, "receive", receive_and_warn)
    assert run(Plan(1, 500)).failure is None
    logger.warning("behind it")
    assert [record.message for record in caplog.records] == ["behind it"]
