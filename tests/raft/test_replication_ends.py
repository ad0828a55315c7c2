"""A leader never turns in a circle: whatever it knows of a follower, one call of ``replicate`` leaves nothing due."""

from __future__ import annotations

from itertools import product

import pytest
from solo import MEMBERS, Bench

from matchengine.raft import replication
from matchengine.raft.messages import AppendEntries, AppendEntriesResponse, InstallSnapshot, SnapshotTaken
from matchengine.raft.progress import Mode, Progress
from matchengine.raft.replication import is_due, replicate
from matchengine.raft.types import SnapshotMeta

#: Nothing trails behind a snapshot, and a window of two requests of one entry each.
TIGHT = {
    "max_append_entries": 1,
    "max_inflight_requests": 2,
    "trailing_entries": 0,
    "trailing_bytes": 0,
    "max_trailing_bytes": 0,
}


@pytest.fixture(autouse=True)
def _no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that does not end fails instead."""
    asked = 0

    def counted(core: object, progress: Progress) -> bool:
        nonlocal asked
        asked += 1
        assert asked < 100_000, "replicate() does not end"
        return is_due(core, progress)

    monkeypatch.setattr(replication, "is_due", counted)


def snapshot_at(index: int) -> SnapshotTaken:
    return SnapshotTaken(SnapshotMeta(index, 1, MEMBERS, 1, 1))


def leader_of_40(**limits: int) -> Bench:
    """It leads with 39 entries of term 1 and its own no-op, and knows nothing as committed."""
    return Bench(*([1] * 39), **(TIGHT | limits)).lead(commit=False)


def agree_at(bench: Bench, index: int) -> Progress:
    """n2 has a long log that agrees up to ``index`` only: it is replicated to, and may have applied much more."""
    (probe,) = bench.appends("n2")
    while probe.prev_log_index > index:
        bench.answer("n2", probe, AppendEntriesResponse(probe.term, 100, False, True))
        (probe,) = bench.appends("n2")
    bench.answer("n2", probe, AppendEntriesResponse(probe.term, 100, True))
    return bench.raft._leadership.peers["n2"]


def bring_forward(bench: Bench, peer: str) -> None:
    while sent := [s for s in bench.sent if s.to.id == peer]:
        for send in sent:
            bench.sent.remove(send)
            bench.answer(peer, send.request, AppendEntriesResponse(send.request.term, 0, True))


@pytest.mark.parametrize("partial", [1, 2])
def test_a_follower_in_replicate_whose_next_entry_is_compacted_waits_for_a_newer_snapshot(partial: int) -> None:
    """The newest snapshot is older than what the follower may have applied: it could take it back."""
    bench = leader_of_40(max_partial_requests=partial)
    progress = agree_at(bench, 10)
    flying = bench.appends("n2")
    bring_forward(bench, "n3")
    bench.raft.step(snapshot_at(30))
    bench.pump()
    assert progress.mode is Mode.REPLICATE
    assert progress.next < bench.status.first_index <= 31 <= progress.may_have_applied
    bench.answer("n2", flying[0], AppendEntriesResponse(flying[0].term, 100, True))
    assert progress.mode is Mode.PROBE
    assert bench.ready[-1].wants_snapshot
    bench.raft.step(snapshot_at(bench.status.applied_index))
    bench.tick(20)
    assert [s.snapshot.index for s in bench.take(InstallSnapshot, "n2")] == [bench.status.snapshot_index]


def test_what_was_under_way_when_the_next_entry_was_compacted_still_counts() -> None:
    """The pipeline has ended, but the follower does hold what it acknowledges."""
    bench = leader_of_40()
    progress = agree_at(bench, 10)
    bring_forward(bench, "n3")
    bench.raft.step(snapshot_at(30))
    bench.pump()
    for request in bench.appends("n2"):
        bench.answer("n2", request, AppendEntriesResponse(request.term, 100, True))
    assert progress.match == 12
    assert progress.inflight_requests == 0


def states_of_a_follower(bench: Bench) -> list[dict[str, object]]:
    log = bench.raft.core.log
    places = sorted({1, 2, log.first_index - 1, log.first_index, log.first_index + 1, log.last_index})
    snapshot = log.snapshot.index if log.snapshot else 0
    return [
        {
            "mode": mode,
            "next": at,
            "match": min(match, at - 1),
            "may_have_applied": applied,
            "failures": failures,
            "agrees_nowhere": nowhere,
            "searches_singly": singly,
            "inflight_requests": inflight,
        }
        for mode, at, match, applied, failures, nowhere, singly, inflight in product(
            (Mode.PROBE, Mode.REPLICATE),
            [p for p in (*places, log.last_index + 1) if p > 0],
            (0, log.first_index),
            sorted({0, max(snapshot - 1, 0), snapshot, log.last_index}),
            (0, 6),
            (False, True),
            (False, True),
            (0, 1, 2),
        )
    ]


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("snapshot", [0, 20, 41])
@pytest.mark.parametrize("partial", [1, 2])
def test_after_replicate_nothing_is_due_in_any_state_of_a_follower(commit: bool, snapshot: int, partial: int) -> None:
    """Every combination of mode, place, compaction, snapshot, search and window."""
    bench = leader_of_40(max_partial_requests=partial)
    if commit or snapshot:
        bring_forward(bench, "n3")
    if snapshot:
        bench.raft.step(snapshot_at(snapshot))
    core, progress = bench.raft.core, bench.raft._leadership.peers["n2"]
    core.now += 100  # whatever is sent after a pause is due
    for state in states_of_a_follower(bench):
        progress.outstanding = None
        progress.retry_at = progress.last_append = progress.inflight_bytes = 0
        for name, value in state.items():
            setattr(progress, name, value)
        core.outbox.clear()
        replicate(core, progress, 0)
        assert not is_due(core, progress), state
        assert len(core.outbox.requests) <= 2, state
        assert progress.mode is Mode.SNAPSHOT or all(
            isinstance(s.request, AppendEntries) for s in core.outbox.requests
        ), state
