"""Nodes start on the files of an older program, and are interrupted as they upgrade them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from matchengine.storage.data_dir import DataDir
from matchengine.storage.segment import Segment
from matchengine.storage.simulated import PowerLoss
from matchengine.testing.simulator import Fault, Plan, run
from matchengine.testing.simulator.version_1 import VERSION


def test_nodes_start_on_files_of_the_first_version(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    cut, complete = Segment.cut, DataDir.complete

    def watched(self: Segment, index: int) -> Segment:
        if self.version != VERSION:
            return cut(self, index)
        with counted("log"):
            return cut(self, index)

    def watched_too(self: DataDir) -> None:
        with counted("directory"):
            complete(self)

    @contextmanager
    def counted(what: str) -> Iterator[None]:
        seen[what] += 1
        try:
            yield
        except PowerLoss:
            seen[f"{what} interrupted"] += 1
            raise

    monkeypatch.setattr(Segment, "cut", watched)
    monkeypatch.setattr(DataDir, "complete", watched_too)
    counts: Counter[str] = Counter()
    for seed in range(5):
        result = run(Plan(seed, 8000, faults=(Fault.UPGRADE,)))
        assert result.failure is None
        counts.update(result.counts)
    assert counts["upgrade"] >= counts["starts on old files"] >= 20
    assert seen["log"] >= 20
    assert seen["log interrupted"] >= 3
    assert seen["directory"] >= 20
    assert seen["directory interrupted"] >= 3
