"""What misconfigured, malformed or very slow peers and users must not be able to do to a core."""

from __future__ import annotations

import pytest
from solo import MEMBERS, Bench

from cluster import TIMING
from matchengine.raft.config import Ticks
from matchengine.raft.configuration import MAX_SERVERS, check_configuration, encode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    RequestPreVote,
    RequestVote,
    SnapshotTaken,
    TimeoutNow,
)
from matchengine.raft.proposals import Barrier, ChangeKind, ChangeMembership, Command, Read, Reason
from matchengine.raft.raft import bootstrap
from matchengine.raft.ready import Accepted, ReadReady, Refused
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Restored,
    Role,
    Server,
    SnapshotMeta,
    Suffrage,
)

TICKS = Ticks.of(TIMING)

# --- configurations -----------------------------------------------------------------------


def test_a_configuration_that_others_cannot_read_is_never_appended() -> None:
    """Followers bound what they decode: one entry beyond that would stop the cluster for good."""
    bench = Bench().lead()
    last = bench.status.last_index
    refused = bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n4", "x" * 61_500))
    assert refused.reason is Reason.INVALID_CHANGE
    assert "larger than an entry may be" in refused.detail
    assert bench.status.last_index == last


def test_servers_in_a_configuration_are_bounded_when_written_as_when_read() -> None:
    servers = tuple(Server(f"{i}", f"a{i}") for i in range(MAX_SERVERS))
    check_configuration(Configuration(servers))
    with pytest.raises(ValueError, match="1025 servers"):
        check_configuration(Configuration((*servers, Server("one", "too many"))))


@pytest.mark.parametrize("servers", [(), (Server("n1", "n1:1", Suffrage.NONVOTER),)])
def test_nobody_can_take_all_votes_away(servers: tuple[Server, ...]) -> None:
    """No leader writes such a configuration; a server that took it could never again tell its cluster."""
    bench = Bench()
    silent = Configuration(servers)
    entry = Entry(2, 1, EntryType.CONFIGURATION, encode_configuration(silent))
    answer = bench.receive(AppendEntries(1, 1, 1, (entry,), 2))
    assert answer is not None
    assert "at least one voter" in answer.error
    answer = bench.receive(InstallSnapshot(1, SnapshotMeta(9, 1, silent)))
    assert answer is not None
    assert "at least one voter" in answer.error
    assert bench.status.configuration == MEMBERS


def test_a_snapshot_from_a_later_term_than_its_sender_is_refused() -> None:
    bench = Bench()
    answer = bench.receive(InstallSnapshot(3, SnapshotMeta(9, 4, MEMBERS, 1)))
    assert answer is not None
    assert "its term 4 is not from 1 to the leader's, 3" in answer.error
    assert all(ready.receive is None for ready in bench.ready)


# --- peers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        AppendEntries(9),
        RequestVote(2, 9, 9),
        RequestPreVote(3, 9, 9),
        InstallSnapshot(9, SnapshotMeta(9, 9, MEMBERS)),
        TimeoutNow(),
    ],
)
def test_a_server_with_our_own_id_is_refused(request_: Request) -> None:
    """The vote that we gave ourselves is not that one's, and we do not follow ourselves."""
    bench = Bench()
    bench.stand()
    term = bench.status.term
    answer = bench.receive(request_, "n1")
    assert answer is not None
    assert "another server calls itself n1" in answer.error
    assert (bench.status.term, bench.status.role, bench.status.leader_id) == (term, Role.CANDIDATE, "")


def test_answers_of_an_older_term_close_no_window() -> None:
    """No server that took a request can be in an earlier term; such an answer counts as none."""
    bench = Bench().lead()
    for _ in range(20):
        bench.tick(5)
        bench.accept("n2")
        for request in bench.take(AppendEntries, "n3"):
            bench.answer("n3", request, AppendEntriesResponse(0, 0, False))
    (peer,) = (p for p in bench.status.peers if p.id == "n3")
    assert peer.inflight_requests == 0
    bench.take(AppendEntries)
    bench.tick(10)
    assert any(request.is_heartbeat for request in bench.take(AppendEntries, "n3"))


def test_an_answer_of_an_older_term_ends_a_snapshot_under_way() -> None:
    bench = Bench(1, 1, 1, trailing_entries=0).lead()
    bench.raft.step(SnapshotTaken(SnapshotMeta(bench.status.commit_index, bench.status.term, MEMBERS, 1)))
    bench.pump()
    bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n4", "n4:1"))
    for request in bench.appends("n4"):
        bench.answer("n4", request, AppendEntriesResponse(request.term, 0, False, True))
    (offer,) = bench.take(InstallSnapshot, "n4")
    bench.answer("n4", offer, InstallSnapshotResponse(0, True))
    bench.tick(20)
    (peer,) = (p for p in bench.status.peers if p.id == "n4")
    assert peer.match == 0
    assert bench.take(InstallSnapshot, "n4") or bench.appends("n4")


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_that_is_just_starting_costs_no_leader(*, answers: bool) -> None:
    """The second server of two is needed for a quorum from the moment it is added, running or not."""
    one = bootstrap(Configuration((Server("n1", "n1:1"),)))
    bench = Bench(restored=one)
    bench.tick(20)
    assert bench.status.role is Role.LEADER
    bench.propose(ChangeMembership(ChangeKind.ADD_VOTER, "n2", "n2:1"))
    read = bench.propose(Read())
    bench.tick(4 * TICKS.election_timeout)
    assert bench.status.role is Role.LEADER
    assert (bench.status.commit_index, read) == (2, None)
    if answers:
        bench.accept("n2")
        assert (bench.status.commit_index, bench.outcomes[2]) == (3, ReadReady(2, 2))
    bench.tick(2 * TICKS.election_timeout)
    assert bench.status.role is not Role.LEADER


def test_a_silent_old_peer_is_not_excused_by_a_new_one() -> None:
    """Patience is for what was just added, not for those that a new leader has not heard yet."""
    bench = Bench().lead(commit=False)
    bench.tick(TICKS.lease + 1)
    assert bench.status.role is not Role.LEADER


# --- users --------------------------------------------------------------------------------


@pytest.mark.parametrize("proposal", [Command(b""), Barrier()])
def test_entries_without_bytes_are_bounded_too(proposal: Command | Barrier) -> None:
    bench = Bench(max_uncommitted_entries=4).lead()
    outcomes = [bench.propose(proposal) for _ in range(5)]
    assert [type(o) for o in outcomes] == [Accepted] * 4 + [Refused]
    assert outcomes[-1].reason is Reason.BUSY
    bench.accept("n2", "n3")
    assert type(bench.propose(proposal)) is Accepted


def _behind_a_snapshot() -> Bench:
    return Bench(restored=Restored(HardState(2), SnapshotMeta(10, 2, MEMBERS, 1)))


@pytest.mark.parametrize(
    ("prev", "terms", "conflict"),
    [
        ((7, 3), (), 7),
        ((7, 2), (3,), 8),
        ((7, 1), (1, 1, 1), 10),
        ((7, 2), (2, 2, 2, 5), 0),
        ((3, 1), (1, 2), 0),
        ((10, 2), (5,), 0),
    ],
)
def test_what_a_snapshot_replaced_is_held_against_the_leaders_terms(
    prev: tuple[int, int], terms: tuple[int, ...], conflict: int
) -> None:
    """A recovery from a lost quorum can leave two histories; what is compacted must not pass for the leader's."""
    bench = _behind_a_snapshot()
    entries = tuple(Entry(prev[0] + n, term) for n, term in enumerate(terms, 1))
    answer = bench.receive(AppendEntries(5, *prev, entries, 20))
    assert answer is not None
    if conflict:
        assert answer.error == f"entry {conflict} is committed here with another term"
        assert bench.status.commit_index == 10
    else:
        assert answer.response == AppendEntriesResponse(5, 10, True)
        assert bench.status.last_index == max(10, prev[0] + len(terms))


@pytest.mark.parametrize(("index", "term", "success"), [(8, 3, False), (10, 3, False), (8, 2, True), (10, 2, True)])
def test_a_snapshot_of_another_history_is_no_success(index: int, term: int, success: bool) -> None:
    """Nor does it take the state machine back."""
    bench = _behind_a_snapshot()
    assert bench.ask(InstallSnapshot(5, SnapshotMeta(index, term, MEMBERS, 1))).success is success
    assert bench.status.commit_index == 10
