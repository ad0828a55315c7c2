"""One test per rule of sections 6 to 8 of the Raft paper and of the thesis, on single cores driven by hand."""

from __future__ import annotations

import pytest
from solo import MEMBERS, Bench, log

from cluster import TIMING, Cluster
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    InstallSnapshot,
    InstallSnapshotResponse,
    Received,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    SnapshotReceived,
    SnapshotTaken,
    TimeoutNow,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    AbortTransfer,
    ChangeKind,
    ChangeMembership,
    Command,
    Read,
    Reason,
    TransferLeadership,
)
from matchengine.raft.raft import bootstrap
from matchengine.raft.ready import Accepted, Done, ReadReady, Refused
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
    """A server that is no member, and whose log cannot hold the news that it is one; one without id and address."""
    bench = Bench(1)
    assert bench.ask(RequestVote(9, 2, 1), "n9") == RequestVoteResponse(1, False)
    bench.raft.step(Received(9, "", "", RequestVote(9, 9, 9)))
    bench.pump()
    assert bench.responses[9].response == RequestVoteResponse(1, False)


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
    bench = Bench(*[3] * 14, trailing_entries=0)
    bench.ask(AppendEntries(3, 15, 3, (), 15))
    assert bench.ask(InstallSnapshot(3, META)).success
    assert not bench.ask(InstallSnapshot(3, SnapshotMeta(10, 2, MEMBERS, 1))).success
    bench.raft.step(SnapshotTaken(SnapshotMeta(14, 3, MEMBERS, 1)))
    assert bench.ask(InstallSnapshot(3, META)).success, "what is compacted away is committed"
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
    for _ in range(2):  # in the pipeline, and to the probe that asks whether n3 has really lost what it had
        (request,) = bench.appends("n3")
        assert request.prev_log_index == 22
        bench.answer("n3", request, AppendEntriesResponse(2, 4, False, True))
    bench.tick()
    (offer,) = bench.take(InstallSnapshot)
    assert offer.snapshot.index == 20
    bench.answer("n3", offer, InstallSnapshotResponse(2, True))
    (request,) = bench.appends("n3")
    assert request.prev_log_index == 20


def test_7_a_snapshot_that_did_not_help_is_sent_less_and_less_often() -> None:
    """HashiCorp Raft keeps entries that conflict with it; the next snapshot goes out as soon as anything may."""
    bench = Bench(*[1] * 20, trailing_entries=0).lead(commit=False)
    for _ in range(TIMING.election_timeout_ms + 1):  # n3 is silent, so the log is not kept for it
        bench.tick()
        bench.accept("n2")
        for request in bench.take(AppendEntries, "n3"):
            bench.raft.step(Unanswered("n3", request))
    bench.raft.step(SnapshotTaken(SnapshotMeta(22, 2, MEMBERS, 1)))
    bench.pump()

    def offers_while_it_keeps_its_suffix(ticks: int) -> list[InstallSnapshot]:
        offers = []
        for _ in range(ticks):
            bench.tick()
            bench.accept("n2")
            while under_way := [*bench.take(InstallSnapshot, "n3"), *bench.take(AppendEntries, "n3")]:
                for request in under_way:
                    if isinstance(request, InstallSnapshot):
                        offers.append(request)
                        bench.answer("n3", request, InstallSnapshotResponse(2, True))
                    else:
                        agrees = request.is_heartbeat or request.prev_log_index > 30
                        bench.answer("n3", request, AppendEntriesResponse(2, 30, agrees, not agrees))
        return offers

    offers = offers_while_it_keeps_its_suffix(200)
    longest = TIMING.heartbeat_timeout_ms // TIMING.tick_ms // 2
    assert {offer.snapshot.index for offer in offers} == {22}
    assert 2 <= len(offers) <= 200 // longest + 8
    for _ in range(20):
        bench.propose(Command(b"x"))
        bench.accept("n2")
    bench.raft.step(SnapshotTaken(SnapshotMeta(40, 2, MEMBERS, 1)))
    assert offers_while_it_keeps_its_suffix(longest + 1)[0].snapshot.index == 40


@pytest.mark.parametrize("compacted", [0, 16])
def test_7_a_log_that_begins_behind_its_snapshot_is_found_between_two_steps(compacted: int) -> None:
    """HashiCorp Raft refuses what lies before its log, committed or not: here it can agree at 25 only."""
    entries = log(*[1] * 24, *[2] * 15)
    snapshot = SnapshotMeta(20, 1, MEMBERS, 1) if compacted else None
    bench = Bench(restored=Restored(HardState(2), snapshot, entries[compacted:])).lead(commit=False)
    taken: list[int] = []

    def answer(request: AppendEntries) -> AppendEntriesResponse:
        """As a node that was given a snapshot of 24 entries, and wrote 26 to 30 as a leader that nobody followed."""
        prev, stands = request.prev_log_index, bool(taken)
        agrees = request.is_heartbeat or prev == 25 or (stands and prev > 25)
        taken.extend(entry.index for entry in request.entries if agrees)
        return AppendEntriesResponse(request.term, 30, agrees, not agrees and prev > 0)

    for _ in range(100):
        for request in bench.take(AppendEntries, "n2"):
            bench.answer("n2", request, answer(request))
        bench.accept("n3")
        bench.tick()
    assert not bench.take(InstallSnapshot), "it would be older than what n2 has"
    assert taken == [*range(26, 42)]


@pytest.mark.parametrize("compacted", [0, 16])
def test_7_who_agrees_nowhere_is_not_sent_a_snapshot_that_may_take_it_back(compacted: int) -> None:
    """HashiCorp Raft restores whatever comes: it waits for one of all that it may have applied, and one is taken."""
    entries = log(*[1] * 24, *[2] * 15)
    snapshot = SnapshotMeta(20, 1, MEMBERS, 1) if compacted else None
    bench = Bench(restored=Restored(HardState(2), snapshot, entries[compacted:])).lead(commit=False)

    loads: list[int] = []

    def offers_to_who_refuses_all(ticks: int) -> list[int]:
        for _ in range(ticks):
            for request in bench.take(AppendEntries, "n2"):
                agrees = request.is_heartbeat
                loads.extend([] if agrees else [len(request.entries)])
                bench.answer("n2", request, AppendEntriesResponse(3, 45, agrees, not agrees))
            bench.accept("n3")
            bench.tick()
        return [offer.snapshot.index for offer in bench.take(InstallSnapshot, "n2")]

    assert offers_to_who_refuses_all(100) == []
    assert 1 <= sum(ready.wants_snapshot for ready in bench.ready) <= 30
    assert sum(map(bool, loads)) <= 10 < len(loads), "only the steps that double carry entries"
    bench.raft.step(SnapshotTaken(SnapshotMeta(41, 3, MEMBERS, 1)))
    assert offers_to_who_refuses_all(20) == [41]


def test_7_a_snapshot_that_did_not_help_is_not_followed_by_a_question_for_every_entry() -> None:
    """What lies before it was acknowledged with it, and may be thousands of entries."""
    bench = Bench(*[1] * 1000).lead(commit=False)
    bench.accept("n2")
    bench.raft.step(SnapshotTaken(SnapshotMeta(1002, 2, MEMBERS, 1)))
    asked = offered = 0
    for _ in range(300):
        bench.tick()
        bench.accept("n2")
        for offer in bench.take(InstallSnapshot, "n3"):
            offered += 1
            bench.answer("n3", offer, InstallSnapshotResponse(2, True))
        for request in bench.take(AppendEntries, "n3"):
            asked += not request.is_heartbeat
            agrees = request.is_heartbeat
            bench.answer("n3", request, AppendEntriesResponse(2, 2000, agrees, not agrees))
        while requests := bench.appends("n3"):
            asked += len(requests)
            for request in requests:
                bench.answer("n3", request, AppendEntriesResponse(2, 2000, False, True))
    assert offered > 5
    assert asked < 1000 + 20 * (offered + 1), "once for every entry, and then in steps that double"


def test_7_without_whom_nothing_is_committed_gets_the_snapshot_that_there_is() -> None:
    """A deposed leader's long suffix, and nobody else to commit with: a newer snapshot would never come."""
    entries = log(*[1] * 24, *[2] * 15)
    snapshot = SnapshotMeta(20, 1, MEMBERS, 1)
    bench = Bench(restored=Restored(HardState(2), snapshot, entries[16:])).lead(commit=False)
    offers: list[InstallSnapshot] = []
    waited = 0
    while not offers and waited < 100:
        for request in bench.take(AppendEntries, "n2"):
            bench.answer("n2", request, AppendEntriesResponse(3, 60, request.is_heartbeat, not request.is_heartbeat))
        bench.tick()
        waited += 1
        offers = bench.take(InstallSnapshot, "n2")
    assert [offer.snapshot.index for offer in offers] == [20]
    assert waited > 20, "others may be about to commit"
    bench.answer("n2", offers[0], InstallSnapshotResponse(3, True))
    for request in bench.take(AppendEntries, "n2"):
        bench.answer("n2", request, AppendEntriesResponse(3, 20, True))
    bench.tick(10)
    bench.accept("n2")
    assert bench.status.commit_index == bench.status.last_index == 41


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
    """Only the leader of the current term may say it; another member would merely cost the cluster its leader."""
    bench = Bench()
    assert "'n2' does not lead term 1" in bench.receive(TimeoutNow(), "n2").error
    bench.ask(AppendEntries(1), "n2")
    for other in ("n3", "n9"):
        assert f"'{other}' does not lead term 1" in bench.receive(TimeoutNow(), other).error
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
    reasons = [ready.soft_state.reason for ready in bench.ready if ready.soft_state is not None]
    assert [reason for reason in reasons if reason] == ["no majority of the voters has answered for a lease"]


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


def test_a_leader_whose_disk_hangs_with_all_others_stays() -> None:
    """Who shares a disk with the others would gain nothing by an election; it makes way once a majority answers."""
    bench = Bench().lead()
    bench.accept("n2", "n3")
    bench.auto_write = False
    bench.propose(Command(b"x"))
    unanswered = []
    for _ in range(100):
        bench.tick(1)
        for peer in ("n2", "n3"):
            for request in bench.take(AppendEntries, peer):
                if request.is_heartbeat:
                    bench.answer(peer, request, AppendEntriesResponse(2, 2, True))
                else:
                    unanswered.append((peer, request))
    assert bench.status.role is Role.LEADER
    for answering in ("n2", "n3"):
        assert bench.status.role is Role.LEADER
        for peer, request in unanswered:
            if peer == answering:
                bench.answer(peer, request, AppendEntriesResponse(2, 2, True))
        bench.tick(1)
    assert bench.status.role is Role.FOLLOWER


def test_a_leader_whose_disk_is_slow_goes_on() -> None:
    """Each write waits behind others for longer than an election takes, but the disk finishes one again and again."""
    bench = Bench().lead()
    bench.auto_write = False
    for _ in range(10):
        for _ in range(15):
            bench.propose(Command(b"x"))
            bench.tick(1)
            bench.accept("n2", "n3")
        bench.raft.step(Written(bench.writes[-30].number if len(bench.writes) > 30 else 0))
    assert bench.status.role is Role.LEADER


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
