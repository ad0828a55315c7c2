"""Timeouts follow from what heartbeats, votes and writes really take; TIMING has a tick of 1 ms and timeouts of 20."""

from __future__ import annotations

import pytest
from solo import Bench

from cluster import TIMING
from matchengine.raft.messages import (
    AppendEntries,
    RequestPreVote,
    RequestVoteResponse,
)
from matchengine.raft.pace import MEMORY_MS, WIDEST, Pace
from matchengine.raft.types import Role

HEARTBEAT = AppendEntries(1)


class Told:
    """A pace and the sentences that it told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.pace = Pace(TIMING, self.told.append)

    @property
    def timeouts(self) -> tuple[int, int, int]:
        return self.pace.heartbeat_timeout, self.pace.election_timeout, self.pace.lease


def test_without_delays_the_timeouts_are_those_of_the_profile() -> None:
    """A heartbeat in every interval of 4 ticks, give or take two, is in time."""
    it = Told()
    for now in range(0, 600, 6):
        it.pace.heard(1, "n2", now)
        it.pace.answered(6)
        it.pace.written(6)
        it.pace.voted(6)
    assert it.timeouts == (20, 20, 20)
    assert it.told == []


@pytest.mark.parametrize(("took", "timeout"), [(7, 30), (10, 30), (11, 40), (20, 60), (33, 100), (100, 100)])
def test_timeouts_are_three_times_a_write(took: int, timeout: int) -> None:
    """In steps of half the profile's, at most five times as long: 20 ticks are what fills an election of two writes."""
    it = Told()
    it.pace.written(took)
    assert it.timeouts == (timeout,) * 3
    assert it.told == [f"election timeout widened to {timeout} ms: a write to the disk took {took} ms"]


def test_a_late_heartbeat_widens_by_its_delay_beyond_the_interval() -> None:
    it = Told()
    it.pace.heard(1, "n2", 0)
    it.pace.heard(1, "n2", 4 + 11)
    assert it.timeouts == (40, 40, 40)
    assert it.told == ["election timeout widened to 40 ms: the leader's heartbeat was late by 11 ms"]


def test_the_time_between_two_leaderships_says_nothing() -> None:
    """An election was held meanwhile."""
    it = Told()
    it.pace.heard(1, "n2", 0)
    it.pace.heard(2, "n2", 15)
    it.pace.heard(2, "n3", 30)
    it.pace.heard_late(1, "n2", 45)
    assert it.told == []


def test_a_leader_that_was_given_up_too_early_widens() -> None:
    """It was alive all the while: its next heartbeat only came late."""
    it = Told()
    it.pace.heard(1, "n2", 0)
    it.pace.heard_late(1, "n2", 30)
    assert it.timeouts == (80, 80, 80)
    it.pace.heard_late(1, "n2", 60)
    assert it.timeouts == (80, 80, 80)


def test_outages_say_nothing_about_the_pace() -> None:
    """Longer than the widest timeout: a partition, a process that was stopped, a disk that hung."""
    it = Told()
    it.pace.heard(1, "n2", 0)
    it.pace.heard(1, "n2", WIDEST * 20 + 1)
    it.pace.answered(WIDEST * 20 + 1)
    it.pace.written(WIDEST * 20 + 1)
    assert it.told == []


def test_delays_are_forgotten_and_the_timeouts_narrow_again() -> None:
    """After one to two stretches of memory."""
    it = Told()
    it.pace.tick(MEMORY_MS - 1)
    it.pace.written(20)
    it.pace.tick(MEMORY_MS)
    assert it.timeouts == (60, 60, 60)
    it.pace.tick(2 * MEMORY_MS - 1)
    assert it.timeouts == (60, 60, 60)
    it.pace.tick(2 * MEMORY_MS)
    assert it.timeouts == (20, 20, 20)
    assert it.told[1:] == ["election timeout narrowed to 20 ms"]


def test_elections_that_fail_in_a_row_widen_until_there_is_a_leader() -> None:
    """The first may fail by chance, as when two stand at the same time."""
    it = Told()
    widths = []
    for _ in range(6):
        it.pace.election_failed()
        widths.append(it.pace.election_timeout)
    assert widths == [20, 40, 80, 100, 100, 100]
    assert it.told[0] == "election timeout widened to 40 ms: 2 elections in a row have failed"
    it.pace.election_over()
    assert it.timeouts == (20, 20, 20)


# --- in the core ------------------------------------------------------------------------------


def test_a_follower_whose_leader_is_late_now_and_then_holds_no_election() -> None:
    """It was 10 ticks late, and now it is silent for 25: as long as before, that would have been an election."""
    bench = Bench()
    bench.ask(HEARTBEAT)
    bench.tick(14)
    bench.ask(HEARTBEAT)
    bench.tick(29)
    assert not bench.take(RequestPreVote)
    bench.tick(1)
    assert len(bench.take(RequestPreVote)) == 2


def test_a_voter_keeps_to_a_leader_that_is_late_now_and_then() -> None:
    """Otherwise a candidate that waits less would find a majority."""
    bench = Bench()
    bench.ask(HEARTBEAT)
    bench.tick(14)
    bench.ask(HEARTBEAT)
    bench.tick(25)
    assert not bench.ask(RequestPreVote(2, 100, 1), "n3").granted
    bench.tick(5)
    assert bench.ask(RequestPreVote(2, 100, 1), "n3").granted


def test_a_leader_of_an_older_term_that_speaks_again_was_only_late() -> None:
    """It was given up; the next one is given more time."""
    bench = Bench()
    bench.ask(HEARTBEAT)
    bench.stand()
    bench.tick(5)
    bench.ask(HEARTBEAT)
    assert bench.raft.core.pace.heartbeat_timeout > 20


def test_a_leader_gives_followers_the_time_that_their_answers_take() -> None:
    """They answer every 14 ticks, and then once after 25."""
    bench = Bench().lead()
    for pause in (14, 25):
        bench.tick(pause)
        bench.accept("n2", "n3")
    assert bench.status.role is Role.LEADER


def test_silence_with_calls_that_failed_is_no_measure_of_answers() -> None:
    """A follower that was started anew answers after 18 ticks; the lease stays what it was."""
    bench = Bench().lead()
    bench.tick(15)
    for peer in ("n2", "n3"):
        for request in bench.take(AppendEntries, peer):
            bench.fail(peer, request)
    bench.tick(3)
    bench.accept("n2", "n3")
    assert bench.raft.core.pace.lease == 20


def test_a_candidate_waits_for_votes_as_long_as_writes_take() -> None:
    """Its own took 18 ticks, and a voter's takes as long: within 20 ticks for both nobody would ever win."""
    bench = Bench()
    bench.auto_write = False
    ballot = bench.stand_slowly(18)
    bench.tick(18)
    assert bench.status.term == ballot.term
    bench.answer("n2", ballot, RequestVoteResponse(ballot.term, True))
    assert bench.status.role is Role.LEADER


def test_the_log_tells_why_an_election_is_held() -> None:
    """Silence, the election, and that it was not won."""
    bench = Bench()
    bench.ask(HEARTBEAT)
    bench.stand()
    bench.tick(20)
    notices = [text for ready in bench.ready for text in ready.notices]
    assert notices == [
        "nothing was heard of leader n2 for 20 ms: asks the voters whether to stand for election",
        "stands for election in term 2",
        "the election of term 2 was not won within 20 ms",
    ]
