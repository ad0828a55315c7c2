"""Nodes start on the files of an older program, and are interrupted as they upgrade them."""

from __future__ import annotations

from collections import Counter

import pytest

from matchengine.storage.segment import Segment
from matchengine.storage.simulated import PowerLoss
from matchengine.testing.simulator import Fault, Plan, run
from matchengine.testing.simulator.version_1 import VERSION


def test_nodes_start_on_files_of_the_first_version(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    cut = Segment.cut

    def watched(self: Segment, index: int) -> Segment:
        if self.version != VERSION:
            return cut(self, index)
        seen["begun"] += 1
        try:
            return cut(self, index)
        except PowerLoss:
            seen["interrupted"] += 1
            raise

    monkeypatch.setattr(Segment, "cut", watched)
    counts: Counter[str] = Counter()
    for seed in range(4):
        result = run(Plan(seed, 8000, faults=(Fault.UPGRADE,)))
        assert result.failure is None
        counts.update(result.counts)
    assert counts["upgrade"] >= counts["starts on old files"] >= 20
    assert seen["begun"] >= 20
    assert seen["interrupted"] >= 3
