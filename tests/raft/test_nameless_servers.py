"""Servers that announce no id: HashiCorp Raft before 1.3.7 tells its address only, and not even that in TimeoutNow."""

from __future__ import annotations

import pytest
from solo import Bench

from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    Received,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from matchengine.raft.ready import Respond
from matchengine.raft.types import Configuration, Entry, EntryType, HardState, Restored, Role, Server, SnapshotMeta


class NamelessBench(Bench):
    """n1 among servers that tell nothing but an address, or not even that."""

    def hear(self, request: Request, address: str = "", sender: str = "") -> Respond:
        self.tokens += 1
        self.raft.step(Received(self.tokens, sender, address, request))
        self.pump()
        return self.responses[self.tokens]


@pytest.fixture
def bench() -> NamelessBench:
    return NamelessBench()


def fresh() -> NamelessBench:
    """A server that was never told its cluster."""
    return NamelessBench(restored=Restored(HardState(), None, ()))


def test_a_member_is_known_by_its_address(bench) -> None:
    """Its append makes it the leader by its id, its candidacy gets a vote, which is kept under its id."""
    bench.hear(AppendEntries(2), "n2:1")
    assert (bench.status.leader_id, bench.status.leader_address) == ("n2", "n2:1")
    bench.tick(20)
    assert bench.hear(RequestVote(3, 1, 1), "n3:1").response == RequestVoteResponse(3, True)
    assert bench.raft.core.voted_for == "n3"
    # It asks again, under its name, and nobody else gets the vote of this term.
    assert bench.hear(RequestVote(3, 1, 1), "n3:1", "n3").response == RequestVoteResponse(3, True)
    assert bench.hear(RequestVote(3, 1, 1), "n2:1").response == RequestVoteResponse(3, False)


def test_while_it_is_heard_no_other_is_voted_for(bench) -> None:
    bench.hear(AppendEntries(2), "n2:1")
    assert bench.hear(RequestVote(3, 1, 1), "n3:1").response == RequestVoteResponse(2, False)
    assert bench.hear(RequestVote(3, 1, 1), "n2:1").response == RequestVoteResponse(3, True)


def test_a_stranger_at_an_unknown_address_gets_no_vote(bench) -> None:
    assert bench.hear(RequestVote(2, 1, 1), "n9:1").response == RequestVoteResponse(1, False)


def test_a_server_without_a_cluster_votes_for_an_address(bench) -> None:
    """Or a founder that adds it and restarts would never find a majority.  The vote is given once all the same."""
    bench = fresh()
    assert bench.hear(RequestVote(2, 1, 1), "n2:1").response == RequestVoteResponse(2, True)
    assert bench.hear(RequestVote(2, 1, 1), "n2:1").response == RequestVoteResponse(2, True)
    assert bench.hear(RequestVote(2, 1, 1), "n3:1").response == RequestVoteResponse(2, False)
    assert bench.hear(RequestVote(2, 1, 1), "n3:1", "n3").response == RequestVoteResponse(2, False)


def test_an_address_that_was_voted_for_is_not_the_id_of_another(bench) -> None:
    bench = fresh()
    assert bench.hear(RequestVote(2, 1, 1), "n2:1").response == RequestVoteResponse(2, True)
    assert bench.hear(RequestVote(2, 1, 1), "n3:1", "n2:1").response == RequestVoteResponse(2, False)


def test_a_leader_goes_by_its_address_until_its_configuration_has_come(bench) -> None:
    founded = NamelessBench().raft.core.log.slice(1, 1)
    bench = fresh()
    bench.hear(AppendEntries(2), "n2:1")
    assert bench.status.leader_address == "n2:1"
    assert bench.hear(RequestVote(3, 1, 1), "n3:1").response == RequestVoteResponse(2, False)
    bench.hear(AppendEntries(2, 0, 0, tuple(founded), 1), "n2:1")
    bench.hear(AppendEntries(2), "n2:1")
    assert bench.status.leader_id == "n2"


def test_a_snapshot_of_a_nameless_leader_is_received(bench) -> None:
    meta = SnapshotMeta(7, 1, Configuration((Server("n2", "n2:1"),)), 1, 3)
    bench.tokens += 1
    bench.raft.step(Received(bench.tokens, "", "n2:1", InstallSnapshot(2, meta)))
    bench.pump()
    assert bench.status.leader_id == "n2"
    assert bench.ready[-1].receive is not None


def test_a_leader_that_removes_itself_is_known_until_it_goes(bench) -> None:
    """The configuration that is in force has its address no more."""
    bench.hear(AppendEntries(2), "n2:1")
    without = Configuration(tuple(Server(i, f"{i}:1") for i in ("n1", "n3")))
    removal = Entry(2, 2, EntryType.CONFIGURATION, encode_configuration(without))
    bench.hear(AppendEntries(2, 1, 1, (removal,), 1), "n2:1")
    bench.hear(AppendEntries(2), "n2:1")
    assert bench.status.leader_id == "n2"
    assert bench.hear(TimeoutNow()).response == TimeoutNowResponse()
    assert bench.status.role is Role.CANDIDATE


def test_another_server_at_our_own_address_is_refused(bench) -> None:
    for request in (AppendEntries(2), RequestVote(2, 9, 9)):
        assert "is the address of n1" in bench.hear(request, "n1:1").error
    assert bench.status.term == 1


def test_a_nameless_pre_vote_gets_nothing(bench) -> None:
    """No version that asks for one leaves its name out."""
    assert bench.hear(RequestPreVote(2, 1, 1)).response == RequestPreVoteResponse(2, False)


# --- TimeoutNow ---------------------------------------------------------------------------


def test_a_nameless_timeout_now_is_the_nameless_leaders(bench) -> None:
    bench.hear(AppendEntries(2), "n2:1")
    assert bench.hear(TimeoutNow()).response == TimeoutNowResponse()
    assert (bench.status.role, bench.status.term) == (Role.CANDIDATE, 3)


def test_a_leader_that_was_given_up_may_still_hand_over(bench) -> None:
    """It is known who led this term; to stand at once is what a pre-candidate is about to do anyway."""
    bench.hear(AppendEntries(2), "n2:1")
    bench.tick(20)
    assert (bench.status.role, bench.status.leader_id) == (Role.PRE_CANDIDATE, "")
    assert bench.hear(TimeoutNow()).response == TimeoutNowResponse()
    assert bench.status.role is Role.CANDIDATE


@pytest.mark.parametrize(
    "led", [None, (AppendEntries(2), "n2:1", "n2")], ids=["nobody leads", "the leader announces its id"]
)
def test_elsewhere_a_nameless_timeout_now_is_refused(bench, led) -> None:
    if led is not None:
        bench.hear(*led)
    term = bench.status.term
    assert f"'' does not lead term {term}" in bench.hear(TimeoutNow()).error
    assert (bench.status.role, bench.status.term) == (Role.FOLLOWER, term)


def test_the_leader_of_an_earlier_term_hands_nothing_over(bench) -> None:
    """Its call may be late: it would unseat its successor, or a candidate's vote."""
    bench.hear(AppendEntries(2), "n2:1")
    bench.hear(RequestVote(3, 1, 1, True), "n3:1")
    assert "'' does not lead term 3" in bench.hear(TimeoutNow()).error
    assert "'n2' does not lead term 3" in bench.hear(TimeoutNow(), "n2:1", "n2").error
    assert bench.raft.core.contradictions == 0


def test_a_leader_of_ours_takes_no_nameless_timeout_now(bench) -> None:
    bench.hear(AppendEntries(2), "n2:1")
    bench.lead()
    assert "'' does not lead term 3" in bench.hear(TimeoutNow()).error
    assert bench.status.role is Role.LEADER
