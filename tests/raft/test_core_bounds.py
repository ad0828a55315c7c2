"""Everything in the core is bounded, and the ways in and out keep their promises."""

from __future__ import annotations

import pytest
from solo import MEMBERS, SHORTEST, Bench

from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    Received,
)
from matchengine.raft.proposals import (
    AbortTransfer,
    Barrier,
    ChangeKind,
    ChangeMembership,
    Command,
    Read,
    Reason,
    TransferLeadership,
)
from matchengine.raft.raft import Raft
from matchengine.raft.ready import Accepted, Done, Ready
from matchengine.raft.types import (
    Entry,
    HardState,
    Restored,
    SnapshotMeta,
)


def test_proposals_are_bounded() -> None:
    """One entry in size, all uncommitted ones in sum; a committed one makes room."""
    bench = Bench(max_entry_bytes=100, max_uncommitted_bytes=150).lead()
    assert bench.propose(Command(b"x" * 101)).reason is Reason.TOO_LARGE
    assert isinstance(bench.propose(Command(b"x" * 100)), Accepted)
    assert bench.propose(Command(b"x" * 100)).reason is Reason.BUSY
    bench.accept("n2")
    assert isinstance(bench.propose(Command(b"x" * 100)), Accepted)
    assert isinstance(bench.propose(Barrier()), Accepted)


def test_a_follower_refuses_proposals() -> None:
    """Whatever they are; there is no transfer to abort."""
    bench = Bench()
    for proposal in (
        Command(b""),
        Barrier(),
        Read(),
        TransferLeadership(),
        ChangeMembership(ChangeKind.ADD_VOTER, "x"),
    ):
        assert bench.propose(proposal).reason is Reason.NOT_LEADER
    assert isinstance(bench.propose(AbortTransfer()), Done)


def test_the_window_bounds_what_is_under_way() -> None:
    """Requests per follower, by number; the rest waits and then leaves in one batch."""
    bench = Bench(max_inflight_requests=2, max_partial_requests=2).lead()
    for _ in range(5):
        bench.propose(Command(b"x"))
    first, second = bench.appends("n2")
    bench.answer("n2", first, AppendEntriesResponse(2, 0, True))
    (third,) = bench.appends("n2")
    assert [len(r.entries) for r in (first, second, third)] == [1, 1, 3]


def test_the_window_bounds_bytes_too() -> None:
    """And a batch is bounded in bytes, but never empty."""
    bench = Bench(max_append_bytes=100, max_inflight_bytes=150).lead()
    bench.auto_write = False
    for _ in range(4):
        bench.raft.propose(7, Command(b"x" * 90))
    bench.pump()
    assert [len(r.entries) for r in bench.appends("n2")] == [1, 1]


def test_what_arrives_while_requests_are_unanswered_leaves_together() -> None:
    """Few requests of few entries are under way at once; a full one does not wait for them."""
    bench = Bench(max_partial_requests=2, max_append_entries=3).lead()
    for _ in range(4):
        bench.propose(Command(b"x"))
    assert [len(r.entries) for r in bench.appends("n2")] == [1, 1]
    bench.propose(Command(b"x"))
    assert [len(r.entries) for r in bench.appends("n2")] == [3]


def test_a_request_is_full_by_its_bytes_as_well() -> None:
    """Two entries of 60 bytes are more than a request of 100 may hold."""
    bench = Bench(max_partial_requests=1, max_append_bytes=100, max_entry_bytes=90).lead()
    for _ in range(2):
        bench.propose(Command(b"x" * 60))
    assert [len(r.entries) for r in bench.appends("n2")] == [1]
    bench.propose(Command(b"x" * 60))
    assert [len(r.entries) for r in bench.appends("n2")] == [1]


def test_a_silent_peer_gathers_no_calls() -> None:
    """One probe, and a bounded number of heartbeats, however long it is silent."""
    bench = Bench().lead()
    for _ in range(500):
        bench.tick(1)
        bench.accept("n2")
    requests = bench.take(AppendEntries, "n3")
    assert len([r for r in requests if r.is_heartbeat]) == 8
    assert len([r for r in requests if not r.is_heartbeat]) <= 32


def test_apply_is_bounded() -> None:
    """At most four batches of 64 entries are given before the state machine has answered."""
    bench = Bench(*[1] * 400)
    bench.raft.step(Received(1, "n2", "n2:1", AppendEntries(1, 401, 1, (), 401)))
    sizes = []
    while bench.raft.has_ready():
        sizes.append(len(bench.raft.ready().apply))
        bench.raft.advance()
    assert [s for s in sizes if s] == [64] * 4
    bench.raft.step(Applied(64))
    assert len(bench.raft.ready().apply) == 64


def test_ready_says_the_same_until_it_is_taken_over() -> None:
    """And nothing is given twice."""
    bench = Bench()
    bench.raft.step(Received(1, "n2", "n2:1", AppendEntries(1)))
    assert bench.raft.has_ready()
    assert bench.raft.ready() is bench.raft.ready()
    bench.raft.advance()
    assert not bench.raft.has_ready()
    assert bench.raft.ready() == Ready()


@pytest.mark.parametrize(
    "restored",
    [
        Restored(HardState(1), None, (Entry(2, 1),)),
        Restored(HardState(1), None, (Entry(1, 1), Entry(3, 1))),
        Restored(HardState(1), SnapshotMeta(5, 1, MEMBERS), (Entry(7, 1),)),
        Restored(HardState(1), SnapshotMeta(5, 1, MEMBERS), (Entry(1, 1),)),
    ],
)
def test_a_log_with_a_gap_is_refused(restored: Restored) -> None:
    """Storage must not hand over what contradicts itself."""
    with pytest.raises(ValueError, match="log:"):
        Raft(RaftConfig("n1", "n1:1"), restored, SHORTEST)


def test_a_restart_behind_a_snapshot() -> None:
    """Commit and applied begin at the snapshot; its configuration is in force, and a term it proves is entered."""
    bench = Bench(restored=Restored(HardState(2), SnapshotMeta(10, 3, MEMBERS, 1, 100), ()))
    bench.pump()
    assert (bench.status.commit_index, bench.status.applied_index, bench.status.term) == (10, 10, 3)
    assert bench.status.configuration == MEMBERS
    assert bench.writes[-1].hard_state == HardState(3, "")
