"""One test per rule of section 5 of the Raft paper (section in each docstring), on single cores driven by hand."""

from __future__ import annotations

import pytest
from solo import MEMBERS, Bench, log

from cluster import TIMING
from matchengine.raft.config import RaftConfig
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Received,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Written,
)
from matchengine.raft.proposals import (
    Command,
)
from matchengine.raft.raft import Raft, bootstrap
from matchengine.raft.types import (
    Entry,
    EntryType,
    HardState,
    Role,
)

# --- section 5.1, 5.2: terms and elections ------------------------------------------------


def test_5_1_a_request_of_an_older_term_is_refused() -> None:
    """Section 5.1: the answer carries the newer term."""
    bench = Bench(term=5)
    assert bench.ask(AppendEntries(4, 1, 1)) == AppendEntriesResponse(5, 1, False)
    assert bench.ask(RequestVote(4, 9, 9)) == RequestVoteResponse(5, False)


def test_5_1_a_newer_term_makes_a_leader_follow() -> None:
    """Section 5.1: whoever sees a higher term becomes a follower of it."""
    bench = Bench().lead()
    (request,) = bench.take(AppendEntries, "n3") or (bench.propose(Command(b"x")) and bench.take(AppendEntries, "n3"))
    bench.answer("n3", request, AppendEntriesResponse(9, 0, False))
    assert (bench.status.role, bench.status.term) == (Role.FOLLOWER, 9)


def test_5_1_an_unknown_answer_of_an_older_term_is_ignored() -> None:
    """Section 5.1: a vote of an earlier election does not count in this one."""
    bench = Bench()
    old = bench.stand()
    bench.tick(20)
    (ask, _) = bench.take(RequestPreVote)
    bench.answer("n2", ask, RequestPreVoteResponse(ask.term, True))
    bench.answer("n2", old, RequestVoteResponse(old.term, True))
    assert bench.status.role is Role.CANDIDATE


def test_5_2_a_follower_without_a_leader_stands() -> None:
    """Section 5.2: after the timeout, not before, with its own vote on disk first."""
    bench = Bench()
    bench.tick(19)
    assert bench.status.role is Role.FOLLOWER
    bench.auto_write = False
    bench.tick(1)
    ask = bench.take(RequestPreVote)[0]
    bench.answer("n2", ask, RequestPreVoteResponse(ask.term, True))
    assert bench.writes[-1].hard_state == HardState(2, "n1")
    assert not bench.take(RequestVote)
    bench.written()
    assert [r.term for r in bench.take(RequestVote)] == [2, 2]


def test_5_2_contact_with_the_leader_keeps_a_follower_quiet() -> None:
    """Section 5.2: heartbeats reset the timer."""
    bench = Bench()
    for _ in range(5):
        bench.tick(15)
        bench.ask(AppendEntries(1))
    assert bench.status.role is Role.FOLLOWER


def test_5_2_timeouts_are_drawn_from_t_to_2t() -> None:
    """Section 5.2, 9.3: uniform in [t, 2t), from the injected chance."""
    asked: list[tuple[int, int]] = []

    class Rng:
        def randrange(self, start: int, stop: int) -> int:
            asked.append((start, stop))
            return stop - 1

    raft = Raft(RaftConfig("n1", "n1:1", TIMING), bootstrap(MEMBERS), Rng())
    for _ in range(38):
        raft.tick()
    assert raft.status().role is Role.FOLLOWER
    raft.tick()
    assert raft.status().role is Role.PRE_CANDIDATE
    assert set(asked) == {(20, 40)}


def test_5_2_one_vote_per_term_first_come() -> None:
    """Section 5.2: the same candidate may ask again, another is refused."""
    bench = Bench()
    assert bench.ask(RequestVote(2, 1, 1), "n2").granted
    assert bench.ask(RequestVote(2, 1, 1), "n2").granted
    assert not bench.ask(RequestVote(2, 1, 1), "n3").granted


def test_5_2_a_vote_survives_a_restart() -> None:
    """Figure 2: votedFor is persistent."""
    bench = Bench(term=2, vote="n2")
    assert not bench.ask(RequestVote(2, 1, 1), "n3").granted
    assert bench.ask(RequestVote(2, 1, 1), "n2").granted


def test_figure_2_a_vote_is_durable_before_it_is_given() -> None:
    """Figure 2: updated on stable storage before responding; term and vote in one write."""
    bench = Bench()
    bench.auto_write = False
    assert bench.receive(RequestVote(2, 1, 1)) is None
    assert bench.writes[-1].hard_state == HardState(2, "n2")
    bench.written()
    assert bench.responses[1].response == RequestVoteResponse(2, True)


def test_figure_2_entries_are_durable_before_they_are_acknowledged() -> None:
    """Figure 2: and a duplicate of an entry that is being written waits for the same write."""
    bench = Bench()
    bench.ask(AppendEntries(1))
    bench.auto_write = False
    request = AppendEntries(1, 1, 1, log(1)[1:])
    assert bench.receive(request) is None
    assert bench.receive(request) is None
    assert bench.ask(AppendEntries(1)).success, "a heartbeat claims nothing that is being written"
    bench.written()
    assert bench.responses[2].response.success
    assert bench.responses[3].response.success


def test_figure_2_an_acknowledgement_never_covers_what_was_replaced() -> None:
    """Figure 2: entries that are truncated while they are written are not acknowledged, nor is the write mistaken."""
    bench = Bench()
    bench.ask(AppendEntries(1))
    bench.auto_write = False
    bench.raft.step(Received(90, "n2", "n2:1", AppendEntries(1, 1, 1, log(1)[1:])))
    bench.pump()
    bench.raft.step(Received(91, "n3", "n3:1", AppendEntries(2, 1, 1, log(2)[1:])))
    bench.raft.step(Written(bench.writes[0].number))
    bench.pump()
    assert bench.responses[90].response is None
    assert 91 not in bench.responses
    assert bench.status.durable_index == 1
    bench.written()
    assert bench.responses[91].response == AppendEntriesResponse(2, 2, True)


def test_5_2_a_majority_elects() -> None:
    """Section 5.2: one vote of two others is enough in a cluster of three; refusals are not."""
    bench = Bench()
    ballot = bench.stand()
    bench.answer("n3", ballot, RequestVoteResponse(ballot.term, False))
    assert bench.status.role is Role.CANDIDATE
    bench.answer("n2", ballot, RequestVoteResponse(ballot.term, True))
    assert bench.status.role is Role.LEADER


def test_5_2_a_candidate_follows_a_leader_of_its_term() -> None:
    """Section 5.2: an AppendEntries of the same term ends the candidacy."""
    bench = Bench()
    ballot = bench.stand()
    bench.ask(AppendEntries(ballot.term))
    assert (bench.status.role, bench.status.leader_id) == (Role.FOLLOWER, "n2")


def test_5_2_a_split_vote_is_repeated() -> None:
    """Section 5.2: after the election timeout the candidate starts over."""
    bench = Bench()
    bench.stand()
    bench.take(RequestVote)
    bench.tick(20)
    assert bench.status.role is Role.PRE_CANDIDATE
    assert bench.take(RequestPreVote)[0].term == 3


def test_a_second_leader_of_one_term_is_refused_and_counted() -> None:
    """Election safety (figure 3) rules it out; a leader that meets one does not give in."""
    bench = Bench().lead()
    answer = bench.receive(AppendEntries(bench.status.term, 1, 1))
    assert answer is not None
    assert "is the leader of term 2 itself" in answer.error
    assert (bench.status.role, bench.status.contradictions) == (Role.LEADER, 1)


# --- section 5.3: log replication ---------------------------------------------------------


def test_5_3_the_consistency_check() -> None:
    """Section 5.3: refused unless the log holds prev with its term; a hint and permission to retry come along."""
    bench = Bench(1, 1)
    assert bench.ask(AppendEntries(1, 9, 1)) == AppendEntriesResponse(1, 3, False, True)
    assert bench.ask(AppendEntries(2, 3, 2)) == AppendEntriesResponse(2, 3, False, True)
    assert bench.ask(AppendEntries(2, 3, 1)).success


def test_5_3_conflicting_entries_are_replaced() -> None:
    """Section 5.3: the first conflict and all after it go, and the disk hears of it."""
    bench = Bench(1, 1, 1)
    assert bench.ask(AppendEntries(2, 2, 1, (Entry(3, 2),))).success
    assert bench.status.last_index == 3
    assert bench.writes[-1].truncate_from == 3
    assert bench.writes[-1].entries == (Entry(3, 2),)


def test_5_3_matching_entries_stay() -> None:
    """Section 5.3, step 3: an old request that arrives late truncates nothing."""
    bench = Bench(1, 1, 1)
    assert bench.ask(AppendEntries(1, 1, 1, log(1)[1:])).success
    assert bench.status.last_index == 4


def test_5_3_commit_is_bounded_by_what_the_request_proves() -> None:
    """Figure 2, step 5: min(leaderCommit, index of last new entry), not our own last index."""
    bench = Bench(1, 1, 1)
    bench.ask(AppendEntries(2, 2, 1, (), 4))
    assert bench.status.commit_index == 2


def test_5_3_a_committed_entry_is_never_replaced() -> None:
    """Figure 3: a leader that contradicts what is committed is refused."""
    bench = Bench(1, 1)
    bench.ask(AppendEntries(1, 3, 1, (), 3))
    answer = bench.receive(AppendEntries(2, 1, 1, (Entry(2, 2),)))
    assert answer is not None
    assert answer.error == "entry 2 is committed here with another term"
    assert bench.status.last_index == 3


def test_5_3_applied_once_and_in_order_and_only_when_durable() -> None:
    """Section 5.3: committed entries are applied; here only once they are on our own disk, too."""
    bench = Bench()
    bench.auto_write = False
    bench.receive(AppendEntries(1, 1, 1, log(1, 1)[1:], 3))
    assert [e.index for e in bench.applied] == [1]
    bench.written()
    assert [e.index for e in bench.applied] == [1, 2, 3]


def test_5_3_a_leader_backs_off_until_the_logs_agree() -> None:
    """Section 5.3: next index falls on rejection; the hint makes it quick, one probe at a time."""
    bench = Bench(*[1] * 20).lead(commit=False)
    (probe,) = bench.appends("n3")
    assert probe.prev_log_index == 21
    bench.answer("n3", probe, AppendEntriesResponse(2, 5, False, True))
    (probe,) = bench.appends("n3")
    assert probe.prev_log_index == 5
    bench.answer("n3", probe, AppendEntriesResponse(2, 5, False, True))
    (probe,) = bench.appends("n3")
    assert probe.prev_log_index == 4
    bench.answer("n3", probe, AppendEntriesResponse(2, 4, True))
    assert next(p for p in bench.status.peers if p.id == "n3").match == 22


def test_5_3_match_comes_from_the_request_not_from_the_hint() -> None:
    """Section 5.3: what was sent is what matches."""
    bench = Bench().lead(commit=False)
    (request,) = bench.appends("n2")
    bench.answer("n2", request, AppendEntriesResponse(2, 999, True))
    assert next(p for p in bench.status.peers if p.id == "n2").match == 2


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (Entry(3, 1), "entry 3 stands where 2 belongs"),
        (Entry(2, 7), "entry 2 has term 7"),
        (Entry(2, 1, EntryType.ADD_PEER_DEPRECATED), "unknown type"),
        (Entry(2, 1, EntryType.CONFIGURATION, b"\x81\xa7servers\xc0"), "'Servers' is missing"),
    ],
)
def test_malformed_entries_are_refused_whole(entry: Entry, text: str) -> None:
    """Nothing is appended when any entry of a request cannot be right."""
    bench = Bench()
    answer = bench.receive(AppendEntries(1, 1, 1, (entry,)))
    assert answer is not None
    assert text in answer.error
    assert bench.status.last_index == 1


# --- section 5.4: safety ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"), [(9, 1, False), (2, 2, False), (3, 2, True), (2, 3, True)]
)
def test_5_4_1_votes_go_to_up_to_date_logs(last_index: int, last_term: int, granted: bool) -> None:
    """Section 5.4.1: by last term, then by length."""
    bench = Bench(1, 2)
    assert bench.ask(RequestVote(5, last_index, last_term)).granted is granted
    assert bench.status.term == 5


def test_5_4_2_only_entries_of_the_own_term_are_counted() -> None:
    """Section 5.4.2, figure 8: an old entry on a majority waits for one of this term."""
    bench = Bench(1, 1, max_append_entries=1).lead(commit=False)
    (request,) = bench.appends("n2")
    bench.answer("n2", request, AppendEntriesResponse(2, 1, False, True))
    (request,) = bench.appends("n2")
    assert [e.index for e in request.entries] == [2]
    bench.answer("n2", request, AppendEntriesResponse(2, 1, True))
    old, own = bench.appends("n2")
    bench.answer("n2", old, AppendEntriesResponse(2, 2, True))
    assert bench.status.commit_index == 0, "entry 3 is on a majority, and of an older term"
    bench.answer("n2", own, AppendEntriesResponse(2, 3, True))
    assert bench.status.commit_index == 4


def test_8_a_new_leader_appends_a_noop() -> None:
    """Section 8: the first entry of its term."""
    bench = Bench(1).lead(commit=False)
    assert bench.writes[-1].entries[0].type is EntryType.NOOP


def test_5_4_the_leader_counts_itself_only_when_written() -> None:
    """Thesis section 10.2.1: it may send before its own write is done, but not count."""
    bench = Bench().lead()
    bench.auto_write = False
    bench.propose(Command(b"x"))
    (request,) = bench.appends("n2")
    bench.answer("n2", request, AppendEntriesResponse(2, 2, True))
    assert bench.status.commit_index == 2
    bench.written()
    assert bench.status.commit_index == 3


def test_5_4_two_followers_commit_without_the_leaders_disk() -> None:
    """Thesis section 10.2.1: a majority need not contain the leader; applying waits for its disk."""
    bench = Bench().lead()
    bench.auto_write = False
    bench.propose(Command(b"x"))
    bench.accept("n2", "n3")
    assert bench.status.commit_index == 3
    assert bench.status.applied_index == 2


def test_the_leader_never_sends_a_commit_index_beyond_the_request() -> None:
    """Followers of other makes commit up to their own last entry."""
    bench = Bench(max_append_entries=1).lead()
    for _ in range(5):
        bench.propose(Command(b"x"))
    bench.accept("n2")
    assert bench.status.commit_index == 7
    sent = bench.appends("n3")
    assert all(a.leader_commit <= a.prev_log_index + len(a.entries) for a in sent)
