"""The way from leader to leader, step by step: what is asked when, and what comes too late to matter."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from matchengine.client.commands import LoneCommand, MovedError
from matchengine.client.contracts import ATTEMPT_S, Failure, NodeStatus, Opened, Slice
from matchengine.client.errors import SessionClosedError, SessionExpiredError, SessionRefusedError
from matchengine.client.pursuit import KEEP_ALIVE_S, Pursuit
from matchengine.client.search import LeaderSearch
from matchengine.errors import MatchEngineError, RefusedError, UnknownOutcomeError
from matchengine.sessions import SessionStatus

OK, UNKNOWN = SessionStatus.OK, SessionStatus.UNKNOWN_SESSION
LEADS = NodeStatus(True, "a")


class FakeStream:
    def __init__(self, address: str) -> None:
        self.address = address
        self.writes = 0
        self.cancelled = False

    def write(self) -> None:
        self.writes += 1

    def cancel(self) -> None:
        self.cancelled = True


class FakeCluster:
    """Notes what it is asked; the test answers, and lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.polls: list[tuple[str, Callable[[NodeStatus | None], None]]] = []
        self.opens: list[tuple[str, Callable[[Opened | Failure], None]]] = []
        self.streams: list[FakeStream] = []
        self.kept_alive: list[tuple[str, int]] = []
        self.told_alive: list[Callable[[int | Failure], None]] = []
        self.answers: list[tuple[str, Any]] = []
        self.slices: list[tuple[str, Any]] = []
        self.known: list[int] = []
        self.errors: list[tuple[MatchEngineError, list[Any]]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._made = count()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + delay_s, next(self._made), action))

    def jitter(self) -> float:
        return 0.5

    def ask_status(self, address: str, done: Callable[[NodeStatus | None], None]) -> None:
        self.polls.append((address, done))

    def open_session(self, address: str, done: Callable[[Opened | Failure], None]) -> None:
        self.opens.append((address, done))

    def keep_alive(self, address: str, session_id: int, done: Callable[[int | Failure], None]) -> None:
        self.kept_alive.append((address, session_id))
        self.told_alive.append(done)

    def open_stream(self, address: str) -> FakeStream:
        self.streams.append(FakeStream(address))
        return self.streams[-1]

    def answered(self, ticket: str, response: Any, known: int) -> None:
        self.answers.append((ticket, response))
        self.known.append(known)

    def sliced(self, ticket: str, response: Any, known: int) -> None:
        self.slices.append((ticket, response))
        self.known.append(known)

    def session_opened(self) -> None:
        pass

    def session_over(self, error: MatchEngineError, tickets: list[Any]) -> None:
        self.errors.append((error, tickets))

    def passes(self, seconds: float) -> None:
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now, _, action = heapq.heappop(self._timers)
            action()
        self.now = until

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked, and nothing will happen by itself."""
        return not (self.polls or self.opens or self._timers)

    def tell(self, address: str, status: NodeStatus | None) -> None:
        """Answer the oldest question to this node."""
        at = next(n for n, (asked, _) in enumerate(self.polls) if asked == address)
        self.polls.pop(at)[1](status)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def pursuit(cluster: FakeCluster) -> Pursuit[bytes, str]:
    return Pursuit(("a", "b"), cluster)


@pytest.fixture
def conversing(cluster: FakeCluster, pursuit: Pursuit[bytes, str]) -> Pursuit[bytes, str]:
    """With session 7 and a stream to a."""
    pursuit.begin()
    cluster.tell("a", LEADS)
    cluster.opens.pop()[1](Opened(7, OK))
    cluster.polls.clear()
    return pursuit


def send(pursuit: Pursuit[bytes, str], ticket: str) -> None:
    """Submit a command; the stream takes it."""
    pursuit.add(b"", ticket)
    assert pursuit.commands.next_to_write() is not None


def test_a_node_that_leads_is_asked_for_a_session_and_then_talked_to(
    cluster: FakeCluster, pursuit: Pursuit[bytes, str]
) -> None:
    pursuit.begin()
    assert [address for address, _ in cluster.polls] == ["a", "b"]
    cluster.tell("b", NodeStatus(False, "c"))
    assert [address for address, _ in cluster.polls] == ["a", "c"]
    cluster.tell("c", LEADS)
    ((address, done),) = cluster.opens
    assert address == "c"
    done(Opened(7, OK))
    assert [(stream.address, stream.writes) for stream in cluster.streams] == [("c", 1)]
    pursuit.add(b"", "one")
    assert cluster.streams[0].writes == 2
    assert pursuit.commands.session_id == 7
    assert pursuit.is_conversing


def test_where_a_node_once_sent_us_is_asked_the_next_time_too(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    conversing.begin()
    cluster.tell("b", NodeStatus(False, "c"))
    cluster.polls.clear()
    conversing.begin()
    assert [address for address, _ in cluster.polls] == ["a", "b", "c"]


def test_of_two_searches_the_earlier_is_over(cluster: FakeCluster) -> None:
    search, found = LeaderSearch(("a", "b"), cluster), list[str]()
    search.begin(found.append)
    search.begin(found.append)
    cluster.tell("a", LEADS)
    assert not found
    cluster.tell("a", LEADS)
    assert found == ["a"]


def test_when_the_leader_is_found_nobody_else_is_asked_or_heard(
    cluster: FakeCluster, pursuit: Pursuit[bytes, str]
) -> None:
    pursuit.begin()
    cluster.tell("b", None)
    cluster.tell("a", LEADS)
    cluster.passes(1)
    assert not cluster.polls
    pursuit.begin()
    cluster.tell("a", LEADS)
    cluster.tell("b", LEADS)
    assert [address for address, _ in cluster.opens] == ["a", "a"]


def test_a_session_that_is_opened_too_late_is_nobodys(cluster: FakeCluster, pursuit: Pursuit[bytes, str]) -> None:
    pursuit.begin()
    cluster.tell("a", LEADS)
    pursuit.stop()
    cluster.opens.pop()[1](Opened(7, OK))
    assert not cluster.streams
    assert not pursuit.commands.session_id


def test_a_session_whose_number_is_taken_is_opened_again(cluster: FakeCluster, pursuit: Pursuit[bytes, str]) -> None:
    pursuit.begin()
    cluster.tell("a", LEADS)
    cluster.polls.clear()
    cluster.opens.pop()[1](Opened(0, SessionStatus.ID_TAKEN))
    assert not cluster.errors
    cluster.passes(1.0)
    cluster.tell("b", LEADS)
    cluster.opens.pop()[1](Opened(7, OK))
    assert pursuit.is_conversing


def test_a_refused_session_ends_with_the_clusters_words(cluster: FakeCluster, pursuit: Pursuit[bytes, str]) -> None:
    pursuit.begin()
    cluster.tell("a", LEADS)
    cluster.opens.pop()[1](Opened(0, SessionStatus.TOO_MANY_OF_NAME, "1024 sessions are open under 'desk'"))
    ((error, _),) = cluster.errors
    assert isinstance(error, SessionRefusedError)
    assert str(error) == "session: 1024 sessions are open under 'desk'"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (SessionStatus.UNKNOWN_SESSION, SessionExpiredError, "the cluster no longer knows this session"),
        (SessionStatus.EXPIRED, SessionExpiredError, "this session was idle for too long and has expired"),
        (SessionStatus.EVICTED, SessionClosedError, "the cluster closed this session: unacknowledged answers had to"),
        (SessionStatus.ENDED_BY_OPERATOR, SessionClosedError, "an operator closed this session"),
    ],
)
def test_a_session_that_has_ended_says_why(
    cluster: FakeCluster, conversing: Pursuit[bytes, str], status: SessionStatus, kind: type[Exception], words: str
) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, status, None)
    ((error, tickets),) = cluster.errors
    assert type(error) is kind
    assert str(error).startswith(words)
    assert str(error).endswith("whether its unacknowledged commands took effect is unknown")
    assert tickets == ["one"]


@pytest.mark.parametrize(
    "answer", [Failure("no", may_retry=False), Opened(0, SessionStatus.MALFORMED)], ids=["refused", "by its status"]
)
def test_a_session_that_is_refused_is_over(
    cluster: FakeCluster, pursuit: Pursuit[bytes, str], answer: Opened | Failure
) -> None:
    pursuit.begin()
    cluster.tell("a", LEADS)
    cluster.opens.pop()[1](answer)
    ((error, _),) = cluster.errors
    assert isinstance(error, SessionRefusedError)
    assert pursuit.is_over


def test_what_has_no_answer_goes_over_the_next_stream(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    send(conversing, "two")
    (first,) = cluster.streams
    conversing.take(first, 1, OK, "answer")
    conversing.failed(first, Failure("broken", hint="c"))
    assert first.cancelled
    cluster.passes(0.1)
    assert [address for address, _ in cluster.polls] == ["a", "b", "c"]
    cluster.tell("c", LEADS)
    assert not cluster.opens
    assert cluster.streams[-1].address == "c"
    numbered = conversing.commands.next_to_write()
    assert numbered is not None
    assert (numbered.sequence, numbered.ticket) == (2, "two")
    assert cluster.answers == [("one", "answer")]


def test_an_older_stream_has_no_say(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    (first,) = cluster.streams
    conversing.failed(first, Failure("broken"))
    cluster.passes(0.1)
    cluster.tell("b", LEADS)
    assert conversing.commands.next_to_write() is not None
    conversing.take(first, 1, OK, "late")
    conversing.failed(first, Failure("broken once more"))
    assert not cluster.answers
    assert conversing.is_conversing
    conversing.take(cluster.streams[-1], 1, OK, "answer")
    assert cluster.answers == [("one", "answer")]


def test_an_answer_out_of_order_ends_the_stream_only(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 2, OK, "answer")
    assert cluster.streams[0].cancelled
    assert not cluster.answers
    assert not cluster.errors


def test_an_expired_session_gives_its_commands_up(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, UNKNOWN, None)
    ((error, tickets),) = cluster.errors
    assert isinstance(error, SessionExpiredError)
    assert tickets == ["one"]
    cluster.passes(KEEP_ALIVE_S)
    assert cluster.is_idle


def test_a_silent_node_is_left_for_another_that_leads(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    cluster.passes(ATTEMPT_S)
    cluster.tell("b", LEADS)
    assert cluster.streams[0].cancelled
    assert cluster.streams[-1].address == "b"


def test_a_silent_node_that_still_leads_is_waited_for_a_while(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    send(conversing, "one")
    for _ in range(4):
        cluster.passes(ATTEMPT_S)
        cluster.tell("a", LEADS)
        cluster.polls.clear()
    assert len(cluster.streams) == 1
    cluster.passes(ATTEMPT_S)
    assert cluster.streams[0].cancelled


def test_a_silent_node_is_left_when_nobody_leads(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    cluster.passes(ATTEMPT_S)
    cluster.tell("a", NodeStatus(False, ""))
    cluster.passes(ATTEMPT_S)
    assert cluster.streams[0].cancelled


def test_a_new_stream_has_its_own_time(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    cluster.passes(ATTEMPT_S / 2)
    conversing.failed(cluster.streams[0], Failure("broken"))
    cluster.passes(ATTEMPT_S / 10)
    cluster.tell("b", LEADS)
    cluster.polls.clear()
    send(conversing, "one")
    cluster.passes(ATTEMPT_S / 2)
    assert not cluster.polls
    cluster.passes(ATTEMPT_S / 2)
    assert cluster.polls


def test_a_node_that_owes_nothing_may_be_silent(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    del conversing
    cluster.passes(10 * ATTEMPT_S)
    assert not cluster.polls
    assert not cluster.streams[0].cancelled


def test_only_a_session_without_answers_is_kept_alive(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "answer")
    cluster.passes(KEEP_ALIVE_S)
    assert not cluster.kept_alive
    cluster.passes(KEEP_ALIVE_S)
    assert cluster.kept_alive == [("a", 7)]


def test_a_deposed_node_that_refuses_a_keep_alive_is_left(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    """Nothing else shows a session that rests that its node leads no more: the stream stays open."""
    cluster.passes(KEEP_ALIVE_S)
    cluster.told_alive.pop()(Failure("not the leader", hint="c"))
    assert cluster.streams[0].cancelled
    cluster.passes(0.1)
    assert [address for address, _ in cluster.polls] == ["a", "b", "c"]
    cluster.tell("c", LEADS)
    cluster.passes(KEEP_ALIVE_S)
    assert cluster.kept_alive[-1] == ("c", 7)
    assert conversing.is_conversing


def test_a_keep_alive_that_fails_breaks_no_stream_with_commands(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    cluster.passes(KEEP_ALIVE_S)
    send(conversing, "one")
    cluster.told_alive.pop()(Failure("too busy"))
    assert not cluster.streams[0].cancelled


def test_a_keep_alive_that_comes_back_late_has_no_say(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    cluster.passes(KEEP_ALIVE_S)
    conversing.failed(cluster.streams[0], Failure("broken"))
    cluster.passes(0.1)
    cluster.tell("b", LEADS)
    cluster.told_alive.pop()(Failure("not the leader"))
    assert conversing.is_conversing


def test_a_keep_alive_of_an_ended_session_ends_it_here_too(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    cluster.passes(KEEP_ALIVE_S)
    cluster.told_alive.pop()(UNKNOWN)
    ((error, _),) = cluster.errors
    assert isinstance(error, SessionExpiredError)
    assert conversing.is_over


def test_a_session_that_was_stopped_and_begun_again_is_kept_alive(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    conversing.stop()
    conversing.begin()
    cluster.tell("a", LEADS)
    cluster.passes(KEEP_ALIVE_S)
    assert cluster.kept_alive == [("a", 7)], "once, and not by the timer of before"


def test_a_call_beside_the_stream_that_fails_moves_both(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    conversing.moved_from("b", "")
    assert conversing.is_conversing, "that was another leader"
    conversing.moved_from("a", "c")
    assert cluster.streams[0].cancelled
    cluster.passes(0.1)
    assert [address for address, _ in cluster.polls] == ["a", "b", "c"]


# --- commands sent alone --------------------------------------------------------------------


def test_a_command_alone_takes_only_its_own_answer(conversing: Pursuit[bytes, str]) -> None:
    lone = LoneCommand(conversing.commands)
    assert lone.sequence == 1
    with pytest.raises(MovedError):
        lone.answered(2, OK)
    assert conversing.commands.acknowledged == 0
    lone.answered(1, OK)
    assert conversing.commands.acknowledged == 1


def test_the_number_of_a_command_that_was_answered_strangely_is_not_free(conversing: Pursuit[bytes, str]) -> None:
    lone = LoneCommand(conversing.commands)
    with pytest.raises(MovedError):
        lone.answered(2, OK)
    with pytest.raises(UnknownOutcomeError):
        lone.failed(Failure("too large", may_retry=False))


def test_the_number_of_a_command_that_was_refused_is_free(conversing: Pursuit[bytes, str]) -> None:
    with pytest.raises(RefusedError, match="too large"):
        LoneCommand(conversing.commands).failed(Failure("too large", may_retry=False))
    assert LoneCommand(conversing.commands).sequence == 1


def test_the_number_of_a_command_that_may_be_in_the_log_is_not(conversing: Pursuit[bytes, str]) -> None:
    lone = LoneCommand(conversing.commands)
    lone.failed(Failure("no answer"))
    with pytest.raises(UnknownOutcomeError, match="sequence 1 was refused after a failure: too large"):
        lone.failed(Failure("too large", may_retry=False))
    assert LoneCommand(conversing.commands).sequence == 2


# --- answers in slices ---------------------------------------------------------------------


def move_to(cluster: FakeCluster, conversing: Pursuit[bytes, str], address: str) -> int:
    """The stream breaks, and ``address`` leads; where the answer of the first command is to begin."""
    conversing.failed(cluster.streams[-1], Failure("broken"))
    cluster.passes(1)
    cluster.tell(address, LEADS)
    cluster.polls.clear()
    numbered = conversing.commands.next_to_write()
    assert numbered is not None
    return numbered.position


def test_a_command_has_its_answer_with_the_last_slice(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    send(conversing, "two")
    stream = cluster.streams[0]
    conversing.take(stream, 1, OK, "a", Slice(0, 10, more=True))
    conversing.take(stream, 1, OK, "b", Slice(10, 10, more=True))
    assert conversing.commands.acknowledged == 0
    assert conversing.commands.in_flight == 2
    conversing.take(stream, 1, OK, "c", Slice(20, 3, more=False))
    conversing.take(stream, 2, OK, "d")
    assert cluster.slices == [("one", "a"), ("one", "b")]
    assert cluster.answers == [("one", "c"), ("two", "d")]
    assert cluster.known == [0, 0, 0, 0]
    assert conversing.commands.acknowledged == 2


def test_the_next_leader_is_told_where_the_last_one_stopped(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 10, more=True))
    assert move_to(cluster, conversing, "b") == 10
    conversing.take(cluster.streams[1], 1, OK, "b", Slice(10, 5, more=True))
    assert move_to(cluster, conversing, "a") == 15
    conversing.take(cluster.streams[2], 1, OK, "c", Slice(15, 5, more=False))
    assert (cluster.slices, cluster.answers) == ([("one", "a"), ("one", "b")], [("one", "c")])
    assert cluster.known == [0, 0, 0]


@pytest.mark.parametrize("part", [None, Slice(0, 25, more=False)], ids=["unmarked", "marked"])
def test_what_a_node_from_before_slices_repeats_is_known(
    cluster: FakeCluster, conversing: Pursuit[bytes, str], part: Slice | None
) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 10, more=True))
    move_to(cluster, conversing, "b")
    conversing.take(cluster.streams[1], 1, OK, "whole", part)
    assert cluster.answers == [("one", "whole")]
    assert cluster.known == [0, 10]


def test_a_slice_that_repeats_some_is_taken_for_the_rest(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    stream = cluster.streams[0]
    conversing.take(stream, 1, OK, "a", Slice(0, 10, more=True))
    conversing.take(stream, 1, OK, "b", Slice(2, 4, more=True))
    conversing.take(stream, 1, OK, "c", Slice(6, 8, more=True))
    assert cluster.known == [0, 4, 4]
    assert move_to(cluster, conversing, "b") == 14


@pytest.mark.parametrize("more", [True, False])
def test_a_gap_between_slices_is_asked_for_again(
    cluster: FakeCluster, conversing: Pursuit[bytes, str], more: bool
) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 10, more=True))
    conversing.take(cluster.streams[0], 1, OK, "c", Slice(11, 10, more=more))
    assert cluster.streams[0].cancelled
    assert len(cluster.slices) == 1
    assert not cluster.answers
    assert move_to(cluster, conversing, "b") == 10


def test_patience_counts_slices(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    for turn in range(20):
        cluster.passes(ATTEMPT_S)
        conversing.take(cluster.streams[0], 1, OK, "a", Slice(turn, 1, more=True))
    assert not cluster.streams[0].cancelled
    assert len(cluster.streams) == 1


def test_patience_counts_answers(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    for number in range(21):
        send(conversing, str(number))
    for sequence in range(1, 21):
        conversing.take(cluster.streams[0], sequence, OK, "a")
        cluster.passes(ATTEMPT_S)
    assert len(cluster.streams) == 1
    assert not cluster.polls


def test_slices_that_bring_nothing_new_are_silence(cluster: FakeCluster, conversing: Pursuit[bytes, str]) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 1, more=True))
    for _ in range(7):
        conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 1, more=True))
        cluster.passes(ATTEMPT_S)
        if cluster.polls:
            cluster.tell("a", LEADS)
            cluster.polls.clear()
    assert cluster.streams[0].cancelled


def test_a_session_that_ends_among_slices_leaves_the_command_unanswered(
    cluster: FakeCluster, conversing: Pursuit[bytes, str]
) -> None:
    send(conversing, "one")
    conversing.take(cluster.streams[0], 1, OK, "a", Slice(0, 10, more=True))
    conversing.take(cluster.streams[0], 1, UNKNOWN, "gone")
    ((error, tickets),) = cluster.errors
    assert isinstance(error, SessionExpiredError)
    assert tickets == ["one"]
