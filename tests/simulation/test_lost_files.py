"""Nodes lose a part of their files: they refuse them, or have all that they had acknowledged."""

from __future__ import annotations

from collections import Counter

import pytest

from matchengine.storage.contracts import StorageError
from matchengine.storage.log_end import LogEnd
from matchengine.testing.simulator import Fault, Plan, run
from matchengine.testing.simulator.checkers import Checkers
from matchengine.testing.simulator.host import Host

FAULTS = (Fault.WIPE, Fault.REJOIN)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What happens to nodes that lose a part of their files where they would lose the whole disk."""
    seen: Counter[str] = Counter()
    refused = Checkers.refused

    def lose(self: Host) -> None:
        seen["lost"] += bool(self.lose_something())

    def watched(self: Checkers, host: Host, error: StorageError) -> None:
        seen["refused"] += "lost" in str(error) or "is gone" in str(error)
        refused(self, host, error)

    monkeypatch.setattr(Host, "lose_disk", lose)
    monkeypatch.setattr(Checkers, "refused", watched)
    return seen


def test_no_loss_of_files_passes_in_silence(seen: Counter[str]) -> None:
    for seed in range(8):
        assert run(Plan(seed, 6000, faults=FAULTS)).failure is None, seed
    assert seen["lost"] >= 15, seen
    assert seen["refused"] >= 10, seen


def test_a_loss_that_nothing_records_is_found(seen: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogEnd, "note", lambda *_: None)
    results = (run(Plan(seed, 6000, faults=FAULTS)) for seed in range(8))
    failure = next(result.failure for result in results if result.failure is not None)
    assert failure.invariant == "durability"
    assert seen["lost"]
