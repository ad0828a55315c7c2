"""What a node does about sessions: it expires the idle ones while it leads, and logs which ended and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from matchengine.levels import Levels
from matchengine.raft.types import Entry
from matchengine.runtime.expiry import SessionExpiry
from matchengine.sessions import (
    SessionLimits,
    SessionMachine,
    SessionStatus,
    command_envelope,
    decode_answer,
    end_session_envelope,
    keep_alive_envelope,
    open_envelope,
    raise_levels_envelope,
)

IDLE_S = 60.0


class Echo:
    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        return [entry.data for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert list(chunks) == []


class Node:
    """Its log is applied at once; its clock is set by the test."""

    def __init__(self, level: int) -> None:
        self.machine = SessionMachine(Echo(), SessionLimits(answer_bytes=1000, answer_bytes_per_session=500))
        self.is_leader = True
        self.now = 1000.0
        self.watchers: list[Callable[[bool], None]] = []
        self.index = 0
        if level:
            self.put(raise_levels_envelope(Levels(level, 0)))
        self.expiry = SessionExpiry(self, IDLE_S, lambda: self.now)

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        self.watchers.append(callback)

    def put(self, data: bytes, at: int = 0) -> int:
        self.index += 1
        (answer,) = self.machine.apply([Entry(self.index, 1, data=data, appended_at=at)])
        return decode_answer(answer).value

    def passes(self, seconds: float) -> bytes | None:
        """What the look after this time proposes."""
        self.now += seconds
        return self.expiry.look(self.machine)


@pytest.fixture
def node() -> Node:
    return Node(level=1)


def test_a_session_without_entries_expires_by_the_leaders_own_clock(node):
    node.put(open_envelope("idle", 7), at=2**62)
    node.put(open_envelope("busy", 8), at=5)
    assert node.passes(0) is None
    assert node.passes(IDLE_S / 2) is None
    node.put(keep_alive_envelope(8), at=0)
    assert node.passes(IDLE_S / 2) is None
    envelope = node.passes(1)
    assert envelope is not None
    assert node.put(envelope) == 1
    assert node.machine.standing(7) is SessionStatus.EXPIRED
    assert node.machine.standing(8) is SessionStatus.OK
    assert node.passes(1) is None


def test_a_new_leader_gives_every_session_its_whole_time(node):
    node.put(open_envelope("idle", 7))
    node.passes(0)
    for leading in (False, True):
        for watcher in node.watchers:
            watcher(leading)
    assert node.passes(2 * IDLE_S) is None
    assert node.passes(IDLE_S + 1) is not None


def test_only_a_leader_expires_sessions(node):
    node.put(open_envelope("idle", 7))
    node.is_leader = False
    node.passes(0)
    assert node.passes(10 * IDLE_S) is None


def test_at_level_0_stamps_decide():
    node = Node(level=0)
    node.put(open_envelope("idle"), at=1)
    envelope = node.passes(0)
    assert envelope is not None
    assert node.put(envelope, at=10**18) == 1
    assert len(node.machine) == 0


def test_idle_times_are_as_new_as_the_question(node):
    node.put(open_envelope("a", 7))
    node.passes(0)
    node.now += 30
    assert node.expiry.idle_s() == {7: 30}
    node.put(keep_alive_envelope(7))
    assert node.expiry.idle_s() == {7: 0}


def test_every_node_logs_which_session_ended_and_why_once(node, caplog):
    caplog.set_level(logging.INFO)
    node.is_leader = False
    for session in (7, 8, 9, 10):
        node.put(open_envelope(f"c{session}", session))
    node.put(command_envelope(7, 1, 0, bytes(700)))
    node.put(command_envelope(8, 1, 0, bytes(700)))
    node.put(end_session_envelope(4))
    for _ in range(2):
        assert node.passes(1) is None
    evicted, ended = caplog.records
    assert (evicted.levelname, ended.levelname) == ("WARNING", "INFO")
    assert evicted.message == (
        "session 2 of client 'c7' was closed at entry 7: the answers that its client has not acknowledged had to "
        "make room; it held 712 bytes of answers"
    )
    assert ended.message == (
        "session 4 of client 'c9' was closed at entry 8: an operator closed it; it held 0 bytes of answers"
    )


def test_what_was_logged_before_a_restart_is_not_logged_again(node, caplog):
    caplog.set_level(logging.INFO)
    node.put(open_envelope("a", 7))
    node.put(end_session_envelope(2))
    node.expiry = SessionExpiry(node, IDLE_S)
    node.passes(1)
    assert caplog.records == []
