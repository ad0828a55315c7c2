"""Everything in the core is bounded, and the ways in and out keep their promises."""

from __future__ import annotations

import pytest
from solo import MEMBERS, SHORTEST, Bench

from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    InstallSnapshot,
    Received,
    RequestPreVote,
    SnapshotReceived,
    SnapshotTaken,
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


def _fed(bench: Bench, first: int, last: int) -> object:
    """The leader of term 1 sends these entries and says that all are committed; what the answer was."""
    entries = tuple(Entry(i, 1, data=b"x" * 10) for i in range(first, last + 1))
    return bench.receive(AppendEntries(1, first - 1, 1, entries, last))


@pytest.mark.parametrize("limits", [{"max_unapplied_entries": 20}, {"max_unapplied_bytes": 300}])
def test_a_follower_takes_no_more_than_its_state_machine_can_follow(limits: dict[str, int]) -> None:
    """Beyond the bound a request fails like a lost one; heartbeats are answered, and it goes on once there is room."""
    bench = Bench(**limits)
    bench.auto_apply = False
    assert _fed(bench, 2, 11).response.success
    assert _fed(bench, 12, 21).response.success
    refused = _fed(bench, 22, 31)
    assert refused.response is None
    assert "committed entries wait for the state machine here" in refused.error
    assert bench.status.last_index == 21
    assert bench.ask(AppendEntries(1)).success
    assert _fed(bench, 12, 21).response.success, "it is held already"
    bench.raft.step(Applied(bench.raft.core.log.handed))
    bench.pump()
    assert _fed(bench, 22, 31).response.success
    assert bench.status.contradictions == 0


def test_a_request_that_is_refused_for_want_of_room_is_a_sign_of_life() -> None:
    bench = Bench(max_unapplied_entries=1)
    bench.auto_apply = False
    _fed(bench, 2, 11)
    for _ in range(10):
        bench.tick(15)
        _fed(bench, 12, 21)
    assert not bench.take(RequestPreVote)


def test_what_is_unapplied_is_counted_through_restores_and_compaction() -> None:
    """Exactly the payload of the entries that are committed and not applied."""
    bench = Bench()
    bench.auto_apply = False
    core = bench.raft.core
    assert core.log.unapplied_bytes == 0
    _fed(bench, 2, 11)
    assert core.log.unapplied_bytes == 100 + len(core.log.slice(1, 1)[0].data)
    bench.raft.step(Applied(6))
    assert core.log.unapplied_bytes == 50
    bench.raft.step(SnapshotTaken(SnapshotMeta(6, 1, MEMBERS, 1, 1)))
    bench.raft.step(Applied(11))
    assert core.log.unapplied_bytes == 0
    bench.receive(InstallSnapshot(2, SnapshotMeta(100, 2, MEMBERS, 1, 1)))
    bench.raft.step(SnapshotReceived(bench.tokens))
    bench.pump()
    assert core.log.unapplied_bytes == 0
    bench.ask(AppendEntries(2, 100, 2, (Entry(101, 2, data=b"x" * 7),), 101))
    assert core.log.unapplied_bytes == 7
    bench.raft.step(Applied(100))
    assert core.log.unapplied_bytes == 7
    bench.pump()
    bench.raft.step(Applied(101))
    assert core.log.unapplied_bytes == 0
