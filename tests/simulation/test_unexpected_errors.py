"""An error that no rule has foreseen, in the product or in a user's state machine."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from matchengine.node.replica import Replica
from matchengine.testing.simulator import Plan, campaign


def test_an_error_that_nobody_expects_is_a_failure_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end the campaign, which would lose the seed."""
    original, calls = Replica.receive, [0]

    def receive(self: Replica, *args: object) -> None:
        calls[0] += 1
        if calls[0] == 20:
            raise KeyError("a mistake in the product")
        original(self, *args)

    ticks = count()
    monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: next(ticks), process_time=lambda: 0.0))
    monkeypatch.setattr(Replica, "receive", receive)
    found = campaign.campaign(Plan(seed=1, steps=1000), 6, 1)
    assert found.seeds > 1
    (failed,) = found.failures
    assert failed.plan.seed == 1
    assert failed.failure is not None
    assert failed.failure.text.startswith("KeyError('a mistake in the product') in receive, test_unexpected_errors.py:")
    assert isinstance(failed.failure.__cause__, KeyError)
