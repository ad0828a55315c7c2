"""A removed server is told of its removal."""

from __future__ import annotations

from solo import Bench

from matchengine.raft.messages import AppendEntries, InstallSnapshot
from matchengine.raft.proposals import ChangeKind, ChangeMembership, Command
from matchengine.raft.ready import Accepted
from matchengine.raft.types import EntryType, Role

REMOVE_N3 = ChangeMembership(ChangeKind.REMOVE_SERVER, "n3")


def removing() -> Bench:
    """n1 leads, all are up to date, and the removal of n3 is appended."""
    bench = Bench().lead()
    bench.tick()
    bench.accept("n2", "n3")
    bench.sent.clear()
    assert isinstance(bench.propose(REMOVE_N3), Accepted)
    return bench


def test_it_gets_the_entry_and_hears_that_it_is_committed() -> None:
    bench = removing()
    (append,) = bench.appends("n3")
    assert [e.type for e in append.entries] == [EntryType.CONFIGURATION]
    bench.sent.append(next(s for r in bench.ready for s in r.requests if s.request is append))
    bench.accept("n3")
    assert not bench.appends("n3"), "it is not committed"
    bench.accept("n2")
    bench.tick()
    (append,) = bench.appends("n3")
    assert append.leader_commit == bench.status.configuration_index


def test_afterwards_it_gets_nothing_more() -> None:
    bench = removing()
    for _ in range(3):
        bench.accept("n2", "n3")
        bench.tick()
    bench.sent.clear()
    bench.propose(Command(b"x"))
    bench.tick(100)
    assert not bench.take(AppendEntries, "n3")


def test_it_counts_for_nothing() -> None:
    """It acknowledges its removal; the other member does not."""
    bench = removing()
    bench.accept("n3")
    assert bench.status.commit_index < bench.status.configuration_index
    bench.tick(25)
    bench.accept("n3")
    assert bench.status.role is not Role.LEADER


def test_one_that_is_silent_is_left_after_a_while() -> None:
    bench = removing()
    for _ in range(5 * 20):
        bench.accept("n2")
        bench.tick()
    for request in bench.take(AppendEntries, "n3"):
        bench.fail("n3", request)
    bench.propose(Command(b"x"))
    bench.tick(20)
    assert not bench.take(AppendEntries, "n3")


def test_one_that_is_far_behind_is_left_at_once() -> None:
    """It would need a snapshot."""
    bench = Bench().lead(commit=False)
    bench.accept("n2")
    for request in bench.take(AppendEntries, "n3"):
        bench.fail("n3", request)
    bench.propose(REMOVE_N3)
    bench.tick(20)
    assert not bench.take(AppendEntries, "n3")
    assert not bench.take(InstallSnapshot, "n3")


def test_one_that_is_added_again_begins_anew() -> None:
    """Answers to what it was told before belong to the old session."""
    bench = removing()
    (told,) = [s for s in bench.sent if s.to.id == "n3"]
    bench.accept("n2")
    bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n3", "n3:1"))
    bench.accept("n2")
    assert bench.status.configuration.get("n3") is not None
    session = {peer.id: peer.session for peer in bench.status.peers}["n3"]
    assert session != told.request.session
    assert not bench.raft._leadership._farewells.all()
