"""Second lines of defence and preferences: each of these was broken once without any other test taking notice."""

from __future__ import annotations

from solo import MEMBERS, Bench

from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    RequestPreVote,
    SnapshotReceived,
    SnapshotTaken,
)
from matchengine.raft.proposals import ChangeKind, ChangeMembership, Command, TransferLeadership
from matchengine.raft.ready import Accepted
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Restored,
    Server,
    SnapshotMeta,
)

NO_TRAIL = {"trailing_entries": 0, "trailing_bytes": 0}


def snapshot(index: int, term: int = 1) -> SnapshotMeta:
    return SnapshotMeta(index, term, MEMBERS, 1, 1)


def commands(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(i, term, data=b"x") for i in range(first, last + 1))


def heartbeats_only(bench: Bench, peer: str) -> None:
    """The peer answers heartbeats; its answers to appends are under way for ever."""
    for request in bench.take(AppendEntries, peer):
        if request.is_heartbeat:
            bench.answer(peer, request, AppendEntriesResponse(request.term, 0, True))


def test_a_change_waits_for_an_own_entry_although_the_configuration_is_settled() -> None:
    """Thesis section 4.1 as corrected in 2015; here the last configuration is part of a snapshot."""
    restored = Restored(HardState(1), snapshot(1), commands(2, 3))
    bench = Bench(restored=restored).lead(commit=False)
    assert bench.raft.core.membership.is_settled
    assert bench.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, "n3")) is None
    assert bench.status.configuration == MEMBERS
    bench.accept("n2")
    assert isinstance(bench.outcomes[1], Accepted)


def test_a_truncated_configuration_falls_back_to_a_committed_one() -> None:
    """It is the only one that is not committed."""
    bench = Bench()
    bench.ask(AppendEntries(1, 1, 1, (), 1))
    assert bench.raft.core.membership.is_settled
    more = Configuration((*MEMBERS.servers, Server("n4", "n4:1")))
    bench.ask(AppendEntries(1, 1, 1, (Entry(2, 1, EntryType.CONFIGURATION, encode_configuration(more)),), 1))
    assert bench.status.configuration == more
    bench.ask(AppendEntries(2, 1, 1, (Entry(2, 2),)), "n3")
    assert bench.status.configuration == MEMBERS


def test_a_snapshot_that_the_log_has_overtaken_while_it_came_replaces_nothing() -> None:
    """Its last entry is compacted away here, so it cannot be found in the log; what came after it is committed."""
    bench = Bench(**NO_TRAIL)
    bench.receive(InstallSnapshot(1, snapshot(10)))
    (token,) = [r.receive.token for r in bench.ready if r.receive]
    bench.ask(AppendEntries(1, 1, 1, commands(2, 12), 12))
    bench.raft.step(SnapshotTaken(snapshot(12)))
    bench.pump()
    assert bench.status.first_index == 13
    bench.raft.step(SnapshotReceived(token))
    bench.pump()
    assert bench.responses[token].response.success
    assert (bench.status.commit_index, bench.status.applied_index, bench.status.last_index) == (12, 12, 12)
    assert not any(r.restore for r in bench.ready)


def test_a_follower_that_has_just_received_a_snapshot_does_not_stand_at_once() -> None:
    """A long transfer is a sign of life, too."""
    bench = Bench()
    bench.receive(InstallSnapshot(1, snapshot(10)))
    (token,) = [r.receive.token for r in bench.ready if r.receive]
    bench.tick(15)
    bench.raft.step(SnapshotReceived(token))
    bench.pump()
    bench.tick(19)
    assert not bench.take(RequestPreVote)
    bench.tick(1)
    assert bench.take(RequestPreVote)


def test_leadership_goes_to_a_server_that_answers_rather_than_to_one_that_is_further_ahead() -> None:
    bench = Bench().lead()
    bench.propose(Command(b"x"))
    bench.accept("n2")
    for _ in range(25):
        bench.tick()
        heartbeats_only(bench, "n3")
    matches = {peer.id: peer.match for peer in bench.status.peers}
    assert matches["n2"] > matches["n3"]
    bench.propose(TransferLeadership())
    assert bench.status.transfer_target == "n3"


def lagging() -> tuple[Bench, int]:
    """n3 answers heartbeats, and holds only what it held when the leader was elected."""
    bench = Bench(**NO_TRAIL).lead()
    held = {peer.id: peer.match for peer in bench.status.peers}["n3"]
    for _ in range(20):
        bench.propose(Command(b"x"))
        bench.accept("n2")
        heartbeats_only(bench, "n3")
    return bench, held


def test_what_a_follower_that_answers_lacks_stays_in_the_log_and_nothing_more() -> None:
    """It was heard 10 ticks ago, which is more than a heartbeat interval and less than an election timeout."""
    bench, held = lagging()
    for _ in range(10):
        bench.tick()
        bench.accept("n2")
    bench.raft.step(SnapshotTaken(snapshot(bench.status.applied_index, 2)))
    assert bench.status.first_index == held + 1


def test_for_a_follower_that_is_silent_for_an_election_timeout_nothing_stays() -> None:
    bench, _ = lagging()
    for _ in range(25):
        bench.tick()
        bench.accept("n2")
    bench.raft.step(SnapshotTaken(snapshot(bench.status.applied_index, 2)))
    assert bench.status.first_index == bench.status.applied_index + 1
