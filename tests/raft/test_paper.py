"""One test per rule of the Raft paper (section in each docstring), on single cores driven by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import TIMING, Cluster
from matchengine.raft.config import RaftConfig
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import (
    Answered,
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    InstallSnapshot,
    InstallSnapshotResponse,
    Received,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    SnapshotReceived,
    SnapshotTaken,
    TimeoutNow,
    TimeoutNowResponse,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    AbortTransfer,
    Barrier,
    ChangeKind,
    ChangeMembership,
    Command,
    Proposal,
    Read,
    Reason,
    TransferLeadership,
)
from matchengine.raft.raft import Raft, bootstrap
from matchengine.raft.ready import Accepted, Done, ReadReady, Ready, Refused, Respond, Send
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

MEMBERS = Configuration(tuple(Server(i, f"{i}:1") for i in ("n1", "n2", "n3")))
FIRST = Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(MEMBERS))
SHORTEST = type("Shortest", (), {"randrange": lambda self, start, stop: start})()


def log(*terms: int) -> tuple[Entry, ...]:
    """The bootstrap entry and one command per term."""
    return (FIRST, *(Entry(i, t, data=b"%d" % i) for i, t in enumerate(terms, 2)))


class Bench:
    """n1 with its disk and its callers, everything it says kept until asked for."""

    def __init__(self, *terms: int, term: int = 0, vote: str = "", restored: Restored | None = None, **limits: int):
        entries = log(*terms)
        hard_state = HardState(term or entries[-1].term, vote)
        self.raft = Raft(
            RaftConfig("n1", "n1:1", TIMING, **limits), restored or Restored(hard_state, None, entries), SHORTEST
        )
        self.auto_write = True
        self.writes: list[Any] = []
        self.sent: list[Send] = []
        self.responses: dict[int, Respond] = {}
        self.outcomes: dict[int, object] = {}
        self.applied: list[Entry] = []
        self.ready: list[Ready] = []
        self.tokens = 0
        self.keys = 0

    def pump(self) -> None:
        while self.raft.has_ready():
            ready = self.raft.ready()
            self.raft.advance()
            self.ready.append(ready)
            self.sent += ready.requests
            self.responses.update({r.token: r for r in ready.responses})
            self.outcomes.update({o.key: o for o in (*ready.accepted, *ready.refused, *ready.done, *ready.reads)})
            self.applied += ready.apply
            if ready.write is not None:
                self.writes.append(ready.write)
                if self.auto_write:
                    self.raft.step(Written(ready.write.number))
            if ready.apply:
                self.raft.step(Applied(ready.apply[-1].index))

    def written(self) -> None:
        self.raft.step(Written(self.writes[-1].number))
        self.pump()

    def receive(self, request: Request, sender: str = "n2") -> Respond | None:
        self.tokens += 1
        self.raft.step(Received(self.tokens, sender, f"{sender}:1", request))
        self.pump()
        return self.responses.get(self.tokens)

    def ask(self, request: Request, sender: str = "n2") -> Any:
        answer = self.receive(request, sender)
        assert answer is not None, "no answer yet"
        assert answer.response is not None, answer.error
        return answer.response

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.raft.tick()
            self.pump()

    def propose(self, proposal: Proposal) -> Any:
        self.keys += 1
        self.raft.propose(self.keys, proposal)
        self.pump()
        return self.outcomes.get(self.keys)

    def answer(self, peer: str, request: Request, response: Response) -> None:
        self.raft.step(Answered(peer, request, response))
        self.pump()

    def take(self, kind: type, to: str | None = None) -> list[Any]:
        """Requests of a kind that were sent since the last call."""
        taken = [s for s in self.sent if isinstance(s.request, kind) and to in (None, s.to.id)]
        self.sent = [s for s in self.sent if s not in taken]
        return [s.request for s in taken]

    def appends(self, to: str) -> list[AppendEntries]:
        return [a for a in self.take(AppendEntries, to) if not a.is_heartbeat]

    def accept(self, *peers: str) -> None:
        """These peers say yes to every append under way."""
        for peer in peers:
            for request in self.take(AppendEntries, peer):
                self.answer(peer, request, AppendEntriesResponse(request.term, 0, True))

    def stand(self) -> RequestVote:
        """Time passes until n1 is a candidate."""
        self.tick(20)
        ask = self.take(RequestPreVote)[0]
        self.answer("n2", ask, RequestPreVoteResponse(ask.term, True))
        return self.take(RequestVote)[0]

    def lead(self, *, commit: bool = True) -> Bench:
        """n1 becomes leader; with ``commit`` its no-op is committed."""
        ballot = self.stand()
        self.answer("n2", ballot, RequestVoteResponse(ballot.term, True))
        assert self.status.role is Role.LEADER
        if commit:
            self.accept("n2", "n3")
        return self

    @property
    def status(self) -> Any:
        return self.raft.status()


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


# --- section 6, thesis 4: membership ------------------------------------------------------


def test_6_a_change_counts_from_when_it_is_appended() -> None:
    """Section 6: the new voter counts at once, and gets a session of its own."""
    bench = Bench().lead()
    assert isinstance(bench.propose(ChangeMembership(ChangeKind.ADD_VOTER, "n4", "n4:1")), Accepted)
    bench.accept("n2")
    assert bench.status.commit_index == 2, "two of four are no majority"
    bench.accept("n3")
    assert bench.status.commit_index == 3


def test_thesis_4_1_one_change_at_a_time() -> None:
    """Thesis section 4.1: the second waits; when too many wait they are refused."""
    bench = Bench(max_waiting_changes=1).lead()
    bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n4", "n4:1"))
    waiting = bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n5", "n5:1"))
    refused = bench.propose(ChangeMembership(ChangeKind.ADD_NONVOTER, "n6", "n6:1"))
    assert waiting is None
    assert refused.reason is Reason.CHANGE_PENDING
    bench.accept("n2")
    assert isinstance(bench.outcomes[2], Accepted)


def test_thesis_4_1_a_change_waits_for_an_own_entry() -> None:
    """The correction of 2015: not before an entry of this term is committed."""
    bench = Bench().lead(commit=False)
    assert bench.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, "n3")) is None
    bench.accept("n2")
    assert isinstance(bench.outcomes[1], Accepted)


def test_a_change_names_the_configuration_it_was_made_for() -> None:
    """The previous-index check."""
    bench = Bench().lead()
    refused = bench.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, "n3", prev_index=7))
    assert refused.reason is Reason.CONFIGURATION_CHANGED
    assert refused.detail == "configuration changed since 7 (latest is 1)"
    assert isinstance(bench.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, "n3", prev_index=1)), Accepted)


def test_a_change_that_breaks_a_rule_is_refused() -> None:
    """Duplicate addresses, for one."""
    bench = Bench().lead()
    refused = bench.propose(ChangeMembership(ChangeKind.ADD_VOTER, "n4", "n2:1"))
    assert refused.reason is Reason.INVALID_CHANGE


def test_6_a_truncated_configuration_falls_back() -> None:
    """Section 6: the latest configuration in the log counts, so when it goes the one before is in force."""
    bench = Bench()
    more = Configuration((*MEMBERS.servers, Server("n4", "n4:1")))
    entry = Entry(2, 1, EntryType.CONFIGURATION, encode_configuration(more))
    bench.ask(AppendEntries(1, 1, 1, (entry,)))
    assert bench.status.configuration == more
    bench.ask(AppendEntries(2, 1, 1, (Entry(2, 2),)), "n3")
    assert bench.status.configuration == MEMBERS


def test_thesis_4_2_2_a_removed_leader_goes_after_the_commit() -> None:
    """Thesis section 4.2.2: it leads, without counting itself, until its removal is committed and applied."""
    bench = Bench().lead()
    bench.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, "n1"))
    bench.accept("n2")
    assert bench.status.role is Role.LEADER
    bench.accept("n3")
    assert bench.status.role is Role.FOLLOWER
    assert bench.take(TimeoutNow), "a successor is named"
    bench.tick(100)
    assert bench.status.role is Role.FOLLOWER, "and the removed server does not stand"


def test_thesis_4_2_1_non_voters_do_not_count_or_stand() -> None:
    """Thesis section 4.2.1: neither for commitment, nor in elections."""
    two = Configuration((Server("n1", "n1:1"), Server("n2", "n2:1"), Server("n3", "n3:1", Suffrage.NONVOTER)))
    bench = Bench(restored=bootstrap(two))
    bench.tick(20)
    assert len(bench.take(RequestPreVote)) == 1
    silent = Configuration((Server("n1", "n1:1", Suffrage.NONVOTER), Server("n2", "n2:1")))
    bench = Bench(restored=bootstrap(silent))
    bench.tick(100)
    assert bench.status.role is Role.FOLLOWER


def test_thesis_4_2_3_who_hears_a_leader_refuses() -> None:
    """Thesis section 4.2.3: no vote, no pre-vote, and no new term; unless the leader itself wished it."""
    bench = Bench()
    bench.ask(AppendEntries(1), "n2")
    assert bench.ask(RequestVote(9, 9, 9), "n3") == RequestVoteResponse(1, False)
    assert bench.ask(RequestPreVote(9, 9, 9), "n3").granted is False
    assert bench.ask(RequestVote(9, 9, 9, True), "n3") == RequestVoteResponse(9, True)


def test_strangers_get_no_vote_and_change_no_term() -> None:
    """A server that is no member, and whose log cannot hold the news that it is one."""
    bench = Bench(1)
    assert bench.ask(RequestVote(9, 2, 1), "n9") == RequestVoteResponse(1, False)
    assert bench.ask(RequestVote(9, 9, 9), "") == RequestVoteResponse(1, False)


def test_thesis_4_1_a_candidate_with_a_newer_log_may_be_a_stranger() -> None:
    """Thesis section 4.1: its log may hold the configuration that admits it, and ours may be the one that lags."""
    bench = Bench(1)
    assert bench.ask(RequestVote(9, 3, 1), "n9").granted


# --- section 7: snapshots -----------------------------------------------------------------

META = SnapshotMeta(10, 3, MEMBERS, 1, 100)


def install(bench: Bench, meta: SnapshotMeta = META, term: int = 3) -> int:
    bench.receive(InstallSnapshot(term, meta))
    token = bench.tokens
    bench.raft.step(SnapshotReceived(token))
    bench.pump()
    return token


def test_7_a_snapshot_replaces_a_log_that_it_does_not_know() -> None:
    """Section 7: the whole log goes; the answer waits for disk and state machine."""
    bench = Bench(1, 1)
    bench.auto_write = False
    bench.raft.step(Received(1, "n2", "n2:1", InstallSnapshot(3, META)))
    bench.pump()
    assert bench.ready[-1].receive.snapshot == META
    bench.raft.step(SnapshotReceived(1))
    bench.pump()
    assert bench.writes[-1].reset == META
    assert bench.ready[-1].restore == META
    bench.written()
    assert 1 not in bench.responses
    bench.raft.step(Applied(10))
    bench.pump()
    assert bench.responses[1].response == InstallSnapshotResponse(3, True)
    assert (bench.status.first_index, bench.status.last_index, bench.status.commit_index) == (11, 10, 10)


def test_7_a_conflicting_log_is_dropped_even_behind_the_snapshot() -> None:
    """Section 7: entries after a conflict with the snapshot are no continuation of it."""
    bench = Bench(*[1] * 14)
    install(bench)
    bench.raft.step(Applied(10))
    bench.pump()
    assert bench.status.last_index == 10
    assert bench.ask(AppendEntries(3, 10, 3, (Entry(11, 3),))).success


def test_7_a_log_that_agrees_with_the_snapshot_stays() -> None:
    """Section 7: retain what follows; it is then applied from the log, without a restore."""
    bench = Bench(*[3] * 14)
    token = install(bench)
    assert bench.responses[token].response.success
    assert bench.status.last_index == 15
    assert bench.status.applied_index == 10
    assert all(r.restore is None for r in bench.ready)


def test_7_a_snapshot_never_takes_the_state_machine_back() -> None:
    """An older snapshot is acknowledged when our log holds its end, refused when it contradicts; never restored."""
    bench = Bench(*[3] * 14)
    bench.ask(AppendEntries(3, 15, 3, (), 15))
    assert bench.ask(InstallSnapshot(3, META)).success
    assert not bench.ask(InstallSnapshot(3, SnapshotMeta(10, 2, MEMBERS, 1))).success
    assert all(r.restore is None and r.receive is None for r in bench.ready)


def test_7_one_snapshot_at_a_time_and_failure_is_not_the_end() -> None:
    """A second one is refused; after a broken stream the next may come."""
    bench = Bench()
    bench.receive(InstallSnapshot(3, META))
    second = bench.receive(InstallSnapshot(3, META))
    assert second is not None
    assert second.error == "another snapshot is being installed"
    bench.raft.step(SnapshotReceived(1, "short read"))
    bench.pump()
    assert bench.responses[1].error == "short read"
    install(bench)
    assert bench.ready[-1].restore == META or bench.ready[-2].restore == META


def test_7_a_snapshot_of_a_deposed_leader_is_refused() -> None:
    """The term is checked when it comes, and again when the bytes are here."""
    bench = Bench(term=5)
    assert bench.ask(InstallSnapshot(4, META)) == InstallSnapshotResponse(5, False)
    bench.receive(InstallSnapshot(5, META))
    bench.ask(AppendEntries(6), "n3")
    bench.raft.step(SnapshotReceived(2))
    bench.pump()
    assert bench.responses[2].response == InstallSnapshotResponse(6, False)


def test_7_nothing_is_applied_while_a_snapshot_is_restored() -> None:
    """Section 7: entries behind the snapshot wait for it."""
    bench = Bench()
    install(bench)
    bench.ask(AppendEntries(3, 10, 3, (Entry(11, 3),), 11))
    assert bench.applied == []
    bench.raft.step(Applied(10))
    bench.pump()
    assert [e.index for e in bench.applied] == [11]


def test_7_compaction_keeps_a_little_for_those_who_lag() -> None:
    """Section 7: by entries or by bytes, whichever is less; the term at the edge is not forgotten."""
    bench = Bench(*[1] * 20, trailing_entries=5)
    bench.ask(AppendEntries(1, 21, 1, (), 21))
    bench.raft.step(SnapshotTaken(SnapshotMeta(20, 1, MEMBERS, 1)))
    bench.pump()
    assert bench.status.first_index == 16
    assert bench.writes[-1].compact_to == 15
    assert bench.ask(AppendEntries(1, 15, 1)).success
    bench.raft.step(SnapshotTaken(SnapshotMeta(18, 1, MEMBERS, 1)))
    assert bench.status.snapshot_index == 20


def test_7_a_follower_that_lags_too_far_gets_the_snapshot() -> None:
    """Section 7: when the entry before the next one is gone."""
    bench = Bench(*[1] * 20, trailing_entries=0).lead()
    bench.raft.step(SnapshotTaken(SnapshotMeta(20, 1, MEMBERS, 1)))
    bench.pump()
    bench.propose(Command(b"x"))
    (request,) = bench.appends("n3")
    bench.answer("n3", request, AppendEntriesResponse(2, 4, False, True))
    (offer,) = bench.take(InstallSnapshot)
    assert offer.snapshot.index == 20
    bench.answer("n3", offer, InstallSnapshotResponse(2, True))
    (request,) = bench.appends("n3")
    assert request.prev_log_index == 20


# --- thesis 3.10: leadership transfer -----------------------------------------------------


def test_thesis_3_10_the_target_is_told_when_it_has_everything() -> None:
    """Thesis section 3.10: not before; proposals are refused meanwhile."""
    bench = Bench().lead()
    bench.propose(Command(b"x"))
    assert bench.propose(TransferLeadership("n3")) is None
    assert bench.propose(Command(b"y")).reason is Reason.TRANSFER_IN_PROGRESS
    assert bench.propose(TransferLeadership("n2")).reason is Reason.TRANSFER_IN_PROGRESS
    bench.accept("n2")
    assert not bench.take(TimeoutNow)
    bench.accept("n3")
    assert len(bench.take(TimeoutNow, "n3")) == 1
    bench.ask(RequestVote(3, 3, 2, True), "n3")
    assert isinstance(bench.outcomes[2], Done)


def test_thesis_3_10_a_transfer_is_never_stuck() -> None:
    """It ends by time, on request, and with the leadership; a lost call is repeated."""
    bench = Bench().lead()
    bench.propose(TransferLeadership(None))
    (call,) = bench.take(TimeoutNow)
    bench.raft.step(Unanswered("n2", call))
    bench.tick(1)
    assert len(bench.take(TimeoutNow)) == 1
    for _ in range(19):
        bench.accept("n2", "n3")
        bench.tick(1)
    assert bench.outcomes[1] == Refused(1, Reason.TRANSFER_TIMEOUT)
    bench.propose(TransferLeadership("n2"))
    assert isinstance(bench.propose(AbortTransfer()), Done)
    assert bench.outcomes[2] == Refused(2, Reason.TRANSFER_ABORTED)
    assert isinstance(bench.propose(Command(b"x")), Accepted)
    bench.propose(TransferLeadership("n2"))
    bench.tick(30)
    assert bench.outcomes[5] == Refused(5, Reason.TRANSFER_ABORTED)


@pytest.mark.parametrize("target", ["n1", "n9"])
def test_thesis_3_10_only_another_voter_can_be_the_target(target: str) -> None:
    """Neither the leader itself nor a stranger."""
    assert Bench().lead().propose(TransferLeadership(target)).reason is Reason.NO_TRANSFER_TARGET


def test_thesis_3_10_timeout_now_skips_the_pre_vote() -> None:
    """Only a member may say it; a stranger is answered and ignored."""
    bench = Bench()
    assert bench.ask(TimeoutNow(), "n9") == TimeoutNowResponse()
    assert bench.status.role is Role.FOLLOWER
    bench.ask(TimeoutNow(), "n2")
    assert bench.status.role is Role.CANDIDATE
    assert all(r.leadership_transfer for r in bench.take(RequestVote))


# --- thesis 6.2, 6.4: lease and reads -----------------------------------------------------


def test_thesis_6_2_a_leader_without_a_quorum_steps_down() -> None:
    """Thesis section 6.2: after the lease; one of two followers is enough to stay."""
    bench = Bench().lead()
    for _ in range(40):
        bench.tick(1)
        bench.accept("n2")
    assert bench.status.role is Role.LEADER
    bench.tick(21)
    assert bench.status.role is Role.FOLLOWER


def test_a_leader_whose_disk_hangs_steps_down_and_stays_down() -> None:
    """Its write is older than an election takes; while it hangs nobody is asked for votes."""
    bench = Bench().lead()
    bench.auto_write = False
    bench.propose(Command(b"x"))
    for _ in range(21):
        bench.tick(1)
        bench.accept("n2", "n3")
    assert bench.status.role is Role.FOLLOWER
    bench.take(RequestPreVote)
    bench.tick(100)
    assert not bench.take(RequestPreVote)
    bench.written()
    bench.tick(20)
    assert bench.take(RequestPreVote)


def test_thesis_6_4_reads_wait_for_an_own_commit_and_a_new_round() -> None:
    """Thesis section 6.4: neither an old heartbeat's answer nor a non-voter's confirms a read."""
    bench = Bench().lead(commit=False)
    bench.tick(4)
    old = bench.take(AppendEntries)
    assert bench.propose(Read()) is None
    appends = [a for a in old if not a.is_heartbeat]
    bench.answer("n2", appends[0], AppendEntriesResponse(2, 1, True))
    assert bench.outcomes.get(1) is None, "committed by an answer from before the round"
    bench.accept("n2")
    assert bench.outcomes[1] == ReadReady(1, 2)


def test_thesis_6_4_non_voters_confirm_nothing() -> None:
    """Only voters make a quorum."""
    mixed = Configuration((Server("n1", "n1:1"), Server("n2", "n2:1"), Server("n3", "n3:1", Suffrage.NONVOTER)))
    bench = Bench(restored=bootstrap(mixed)).lead()
    assert bench.propose(Read()) is None
    bench.tick(4)
    bench.accept("n3")
    assert bench.outcomes.get(1) is None
    bench.accept("n2")
    assert bench.outcomes[1] == ReadReady(1, 2)


def test_thesis_6_4_reads_of_a_lost_leadership_are_refused() -> None:
    """The reader has to ask the next leader."""
    bench = Bench().lead()
    bench.propose(Read())
    bench.ask(AppendEntries(9))
    assert bench.outcomes[1] == Refused(1, Reason.NOT_LEADER)


def test_a_single_server_reads_at_once() -> None:
    """It is its own majority."""
    cluster = Cluster(1)
    leader = cluster.elect()
    key = leader.propose(Read())
    assert cluster.outcomes[key] == ReadReady(key, 2)


# --- thesis 9.6: pre-vote -----------------------------------------------------------------


def test_thesis_9_6_a_pre_vote_changes_nothing() -> None:
    """Thesis section 9.6: no term, no vote, nothing on disk, at neither end."""
    bench = Bench()
    assert bench.ask(RequestPreVote(5, 1, 1)) == RequestPreVoteResponse(5, True)
    bench.tick(20)
    assert (bench.status.term, bench.writes) == (1, [])


def test_thesis_9_6_without_welcome_no_election() -> None:
    """Refusals leave the term alone; a peer that does not know the question counts as welcome."""
    bench = Bench()
    bench.tick(20)
    (first, second) = bench.take(RequestPreVote)
    bench.answer("n2", first, RequestPreVoteResponse(2, False))
    bench.raft.step(Unanswered("n3", second))
    bench.pump()
    assert bench.status.role is Role.PRE_CANDIDATE
    bench.raft.step(Unanswered("n3", second, too_old=True))
    bench.pump()
    assert (bench.status.role, bench.status.term) == (Role.CANDIDATE, 2)


def test_thesis_9_6_a_later_term_in_the_answer_is_adopted() -> None:
    """Only one beyond the proposed term is news."""
    bench = Bench()
    bench.tick(20)
    ask = bench.take(RequestPreVote)[0]
    bench.answer("n2", ask, RequestPreVoteResponse(7, False))
    assert (bench.status.role, bench.status.term) == (Role.FOLLOWER, 7)


# --- bounds -------------------------------------------------------------------------------


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
    bench = Bench(max_inflight_requests=2).lead()
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
    bench = Bench(restored=Restored(HardState(2), META, ()))
    bench.pump()
    assert (bench.status.commit_index, bench.status.applied_index, bench.status.term) == (10, 10, 3)
    assert bench.status.configuration == MEMBERS
    assert bench.writes[-1].hard_state == HardState(3, "")
