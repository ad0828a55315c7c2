"""What the log says of a peer that does not answer."""

from __future__ import annotations

import logging

import msgspec
import pytest
from tests.transport.conftest import PATIENT

from matchengine.raft.messages import AppendEntries, AppendEntriesResponse
from matchengine.raft.types import Server
from matchengine.transport.reachability import Reachability

HEARTBEAT = AppendEntries(1, 0, 0, (), 0)
AT_ONCE = msgspec.structs.replace(PATIENT, election_timeout_ms=0)


class Watch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def peer(watch, caplog):
    caplog.set_level(logging.INFO)
    return Reachability("n2", "10.0.0.2:50051", 0.3, watch)


def test_a_call_that_fails_now_and_then_is_not_told(peer, watch, caplog):
    for _ in range(10):
        peer.failed("deadline exceeded")
        watch.now += 1.0
        peer.answered()
    assert caplog.messages == []


def test_silence_is_told_once_with_its_reason(peer, watch, caplog):
    for _ in range(5):
        peer.failed("connection refused")
        watch.now += 0.2
    assert caplog.messages == ["peer n2 at 10.0.0.2:50051 has not answered for 0.4 s: connection refused"]


def test_silence_that_lasts_is_told_again_every_minute(peer, watch, caplog):
    for _ in range(125):
        peer.failed("connection refused")
        watch.now += 1.0
    assert [message.split(" for ")[1][:6] for message in caplog.messages] == ["1.0 s:", "61.0 s", "121.0 "]


def test_the_end_of_a_silence_is_told(peer, watch, caplog):
    peer.failed("")
    watch.now += 1.0
    peer.failed("")
    watch.now += 11.5
    peer.answered()
    peer.answered()
    assert caplog.messages[1:] == ["peer n2 at 10.0.0.2:50051 answers again after 12.5 s"]


def test_a_silence_that_was_not_told_has_no_end_in_the_log(peer, watch, caplog):
    peer.failed("")
    peer.answered()
    assert caplog.messages == []


async def test_a_heartbeat_to_a_server_that_is_gone_is_told(world, caplog):
    caplog.set_level(logging.INFO)
    async with world(AT_ONCE) as net:
        gone = await net.serve(lambda call, request: None)
        await net.servers.pop().stop(None)
        assert await net.send(gone, HEARTBEAT) == "unanswered"
    assert [m for m in caplog.messages if m.startswith(f"peer n2 at {gone.address} has not answered")]


async def test_an_answer_to_a_heartbeat_ends_the_silence(world, caplog):
    caplog.set_level(logging.INFO)
    answers = iter([False, True])

    def handler(call, request) -> None:
        if next(answers):
            call.answer(AppendEntriesResponse(request.term, 0, True))
        else:
            call.fail("not now")

    async with world(AT_ONCE) as net:
        to: Server = await net.serve(handler)
        assert await net.send(to, HEARTBEAT) == "unanswered"
        await net.send(to, HEARTBEAT)
    silent, back = (message for message in caplog.messages if message.startswith("peer n2"))
    assert silent.endswith("not now")
    assert "answers again after" in back
