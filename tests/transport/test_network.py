"""The network: which way requests go, and that each has exactly one outcome."""

from __future__ import annotations

import asyncio

import grpc
import msgspec
import pytest

from matchengine.raft.config import FAST
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from matchengine.raft.types import Configuration, Entry, Server, SnapshotMeta
from matchengine.transport import wire
from matchengine.transport.appends import MAX_WAITING
from matchengine.transport.client import _channel_options
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportServicer, add_RaftTransportServicer_to_server

CONFIGURATION = Configuration((Server("n1", "127.0.0.1:1"),))


def append(index: int, data: bytes = b"x") -> AppendEntries:
    return AppendEntries(1, index - 1, 1, (Entry(index, 1, data=data),), 0)


def accept(call, request) -> None:
    match request:
        case AppendEntries():
            call.answer(AppendEntriesResponse(request.term, request.prev_log_index, True))
        case RequestVote():
            call.answer(RequestVoteResponse(request.term, True))
        case RequestPreVote():
            call.answer(RequestPreVoteResponse(request.term, True))
        case TimeoutNow():
            call.answer(TimeoutNowResponse())


class Script:
    """A handler that keeps its calls until the test answers them."""

    def __init__(self) -> None:
        self.calls = asyncio.Queue()

    def __call__(self, call, request) -> None:
        self.calls.put_nowait((call, request))


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (AppendEntries(4), AppendEntriesResponse(4, 0, True)),
        (append(3), AppendEntriesResponse(1, 2, True)),
        (RequestVote(2, 5, 1, True), RequestVoteResponse(2, True)),
        (RequestPreVote(2, 5, 1), RequestPreVoteResponse(2, True)),
        (TimeoutNow(), TimeoutNowResponse()),
    ],
)
async def test_requests_arrive_as_sent(world, request_, response):
    seen = []

    def handler(call, request):
        seen.append((call.sender, call.sender_address, request))
        accept(call, request)

    async with world() as w:
        assert await w.send(await w.serve(handler), request_) == response
        assert seen == [("n1", "127.0.0.1:1", request_)]


@pytest.mark.parametrize(
    "request_", [AppendEntries(4), append(3), RequestVote(2, 5, 1, True), RequestPreVote(2, 5, 1), TimeoutNow()]
)
async def test_the_answer_of_another_server_at_the_address_is_none(world, request_, caplog):
    """A new server at the address of one that was removed must not vote, acknowledge or confirm in its name."""
    async with world() as w:
        there = await w.serve(accept, server_id="n3")
        for _ in range(2):
            assert await w.send(Server("n2", there.address), request_) == "unanswered"
        assert await w.send(there, request_) != "unanswered"
    told = f"an answer from {there.address} counts for nothing: rpc_header.id: 'n3' has answered at the address of 'n2'"
    # Once: an operator may have added it under a wrong id, and nothing else would say.
    assert caplog.messages.count(told) == 1


async def test_a_pipeline_ends_when_another_server_answers(world):
    """As behind a proxy that turns to another server in the middle of a stream."""
    answers = []

    class TwoServers(RaftTransportServicer):
        async def AppendEntries(self, request, context):
            return pb.AppendEntriesResponse(rpc_header=pb.RPCHeader(protocol_version=3, id=b"n2"), term=1, success=True)

        async def AppendEntriesPipeline(self, request_iterator, context):
            async for _ in request_iterator:
                name = b"n2" if not answers else b"n3"
                answers.append(name)
                header = pb.RPCHeader(protocol_version=3, id=name)
                await context.write(pb.AppendEntriesResponse(rpc_header=header, term=1, success=True))

    async with world() as w:
        peer = await w.serve_with(lambda server: add_RaftTransportServicer_to_server(TwoServers(), server))
        results = [w.send(peer, append(i)) for i in range(1, 4)]
        assert [await r == "unanswered" for r in results] == [False, False, True]
        assert answers == [b"n2", b"n3"]


async def test_the_snapshot_answer_of_another_server_is_none(world, caplog):
    async with world() as w:
        w.outgoing[7] = (1, [b"x"])
        there = await w.serve(lambda call, request: call.answer(InstallSnapshotResponse(1, True)), server_id="n3")
        install = InstallSnapshot(1, SnapshotMeta(7, 1, CONFIGURATION, 1))
        assert await w.send(Server("n2", there.address), install) == "unanswered"
        assert await w.send(there, install) == InstallSnapshotResponse(1, True)
    assert sum("'n3' has answered at the address of 'n2'" in told for told in caplog.messages) == 1


async def test_pipeline_keeps_order_while_answers_wait(world):
    script = Script()
    async with world() as w:
        peer = await w.serve(script)
        results = [w.send(peer, append(i)) for i in range(1, 40)]
        call, request = await script.calls.get()
        accept(call, request)
        taken = [await script.calls.get() for _ in range(38)]
        assert [r.entries[0].index for _, r in taken] == list(range(2, 40))
        for call, request in reversed(taken):
            accept(call, request)
        assert [(await r).last_log for r in results] == list(range(39))
        assert {r.times for r in results} == {1}


class Connections(RaftTransportServicer):
    """Accepts everything, and notes from which connection it came."""

    def __init__(self) -> None:
        self.of_entries: set[str] = set()
        self.of_heartbeats: set[str] = set()

    async def AppendEntries(self, request, context):
        (self.of_entries if request.entries else self.of_heartbeats).add(context.peer())
        return wire.encode_response(wire.make_header("n2", "n2:1"), AppendEntriesResponse(1, 0, True))


async def test_heartbeats_have_a_connection_of_their_own(world):
    """On that of the entries they would wait behind megabytes."""
    connections = Connections()
    async with world() as w:
        peer = await w.serve_with(lambda server: add_RaftTransportServicer_to_server(connections, server))
        for request in (append(1), AppendEntries(1), AppendEntries(1)):
            assert (await w.send(peer, request)).success
    assert len(connections.of_entries) == len(connections.of_heartbeats) == 1
    assert connections.of_entries.isdisjoint(connections.of_heartbeats)


async def test_outcomes_never_come_from_inside_send(world):
    async with world() as w:
        peer = await w.serve(Script())
        results = [w.send(peer, append(i)) for i in range(1, MAX_WAITING + 2)]
        heartbeats = [w.send(peer, AppendEntries(1)) for _ in range(100)]
        await w.network.close()
        late = w.send(peer, append(1))
        assert {r.times for r in [*results, *heartbeats]} == {1} and late.times == 0
        assert await late == "unanswered"


async def test_failed_call_ends_the_pipeline_and_the_next_opens_another(world):
    script = Script()
    async with world() as w:
        peer = await w.serve(script)
        results = [w.send(peer, append(i)) for i in range(1, 6)]
        accept(*await script.calls.get())
        calls = [await script.calls.get() for _ in range(4)]
        calls[0][0].fail("no disk")
        assert await results[0] == AppendEntriesResponse(1, 0, True)
        assert [await r for r in results[1:]] == ["unanswered"] * 4
        for call, request in calls:
            accept(call, request)
        for index in (2, 3):
            result = w.send(peer, append(index))
            accept(*await script.calls.get())
            assert (await result).last_log == index - 1
        assert {r.times for r in results} == {1}


async def test_silent_peer_runs_into_deadlines(world):
    quick = msgspec.structs.replace(FAST, heartbeat_timeout_ms=100, election_timeout_ms=100)
    script = Script()
    async with world(quick) as w:
        peer = await w.serve(script)
        first = w.send(peer, append(1))
        accept(*await script.calls.get())
        await first
        waiting = [w.send(peer, r) for r in (append(2), AppendEntries(1), RequestVote(1, 1, 1), append(3))]
        assert [await r for r in waiting] == ["unanswered"] * 4


async def test_nobody_there_is_unanswered(world):
    async with world() as w:
        peer = await w.serve(Script())
        await w.servers.pop().stop(0)
        assert await w.send(peer, append(1)) == "unanswered"
        assert await w.send(peer, RequestVote(1, 1, 1)) == "unanswered"


async def test_changed_address_gets_a_new_channel(world):
    script = Script()
    async with world() as w:
        old, new = await w.serve(script), await w.serve(accept)
        stuck = w.send(old, append(1))
        await script.calls.get()
        assert await w.send(new, append(1)) == AppendEntriesResponse(1, 0, True)
        assert await stuck == "unanswered"


async def test_stopping_server_leaves_nothing_unreported(world):
    script = Script()
    async with world() as w:
        peer = await w.serve(script)
        first = w.send(peer, append(1))
        accept(*await script.calls.get())
        await first
        waiting = [w.send(peer, r) for r in (append(2), append(3), AppendEntries(1))]
        for _ in waiting:
            await script.calls.get()
        await w.servers.pop().stop(0)
        assert [await r for r in waiting] == ["unanswered"] * 3


async def test_more_than_a_stock_server_takes_is_not_sent(world):
    async with world() as w:
        peer = await w.serve(accept)
        assert await w.send(peer, append(1, bytes(4 * 1024 * 1024))) == "unanswered"
        assert await w.send(peer, append(1)) == AppendEntriesResponse(1, 0, True)


class Foreign(RaftTransportServicer):
    """What HashiCorp's nodes do: no pre-votes, and status UNKNOWN "EOF" when a pipeline is half-closed."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self.code, self.text = code, text

    async def RequestPreVote(self, request, context):
        await context.abort(self.code, self.text)

    async def AppendEntries(self, request, context):
        return pb.AppendEntriesResponse(success=True, term=request.term)

    async def AppendEntriesPipeline(self, request_iterator, context):
        request = await context.read()
        await context.write(pb.AppendEntriesResponse(success=True, term=request.term))
        await context.abort(self.code, self.text)


def test_a_name_that_has_moved_is_looked_up_again_soon():
    """By itself gRPC asks every 30 seconds at most, for which a follower at a new address would be lost."""
    assert ("grpc.dns_min_time_between_resolutions_ms", 1000) in _channel_options(1.0)


@pytest.mark.parametrize(
    ("code", "text", "outcome"),
    [
        (grpc.StatusCode.UNKNOWN, "unexpected command: rpc", "too old"),
        (grpc.StatusCode.UNIMPLEMENTED, "unknown method RequestPreVote for service RaftTransport", "too old"),
        (grpc.StatusCode.UNAVAILABLE, "connection refused", "unanswered"),
        (grpc.StatusCode.UNKNOWN, "EOF", "unanswered"),
        (grpc.StatusCode.CANCELLED, "gone", "unanswered"),
    ],
)
async def test_a_peer_without_pre_votes_says_so_by_code_or_text(world, code, text, outcome):
    async with world() as w:
        peer = await w.serve_with(lambda s: add_RaftTransportServicer_to_server(Foreign(code, text), s))
        assert await w.send(peer, RequestPreVote(1, 1, 1)) == outcome
        # An ended pipeline is opened again, whatever its status.
        for index in range(1, 8):
            result = await w.send(peer, append(index))
            assert result == "unanswered" or result.success


# --- snapshots ----------------------------------------------------------------------------


def offer(size: int) -> InstallSnapshot:
    return InstallSnapshot(2, SnapshotMeta(7, 1, CONFIGURATION, 1, size))


def installing(call, request) -> None:
    def done(error: str) -> None:
        if error:
            call.fail(error)
        else:
            call.answer(InstallSnapshotResponse(request.term, True))

    call.receive_snapshot(request.snapshot, done)


async def test_snapshot_of_ten_megabytes_arrives(world):
    chunks = [bytes([i]) * 1_000_003 for i in range(10)]
    size = sum(map(len, chunks))
    async with world() as w:
        w.outgoing[7] = (size, chunks)
        assert await w.send(await w.serve(installing), offer(size)) == InstallSnapshotResponse(2, True)
        meta = w.snapshots.newest()
        assert meta == offer(size).snapshot
        assert b"".join(w.snapshots.open(meta)) == b"".join(chunks)


@pytest.mark.parametrize(
    ("announced", "text"),
    [(999_999, "size: more bytes come than the 999999 that were announced"), (1_000_001, "short read")],
)
async def test_snapshot_of_another_size_is_thrown_away(world, announced, text):
    errors = []

    def handler(call, request):
        call.receive_snapshot(request.snapshot, lambda error: (errors.append(error), call.fail(error)))

    async with world() as w:
        w.outgoing[7] = (announced, [bytes(1_000_000)])
        assert await w.send(await w.serve(handler), offer(announced)) == "unanswered"
        assert errors == [text] and w.snapshots.newest() is None


async def test_refused_snapshot_is_read_to_its_end(world):
    def refuse(call, request):
        call.answer(InstallSnapshotResponse(9, False))

    async with world() as w:
        w.outgoing[7] = (10_000_000, [bytes(1_000_000)] * 10)
        assert await w.send(await w.serve(refuse), offer(10_000_000)) == InstallSnapshotResponse(9, False)


async def test_sender_that_breaks_off_is_told_to_the_core_and_leaves_nothing(world):
    errors = asyncio.Queue()
    aborted = asyncio.Event()

    class Sink:
        def write(self, chunk):
            raise AssertionError("too few bytes for a write")

        def abort(self):
            w.loop.call_soon_threadsafe(aborted.set)

    def handler(call, request):
        call.receive_snapshot(request.snapshot, errors.put_nowait)

    def broken():
        yield bytes(1000)
        raise OSError("the disk is gone")

    async with world() as w:
        peer = await w.serve(handler, create_sink=lambda meta: Sink())
        w.outgoing[7] = (5000, broken())
        assert await w.send(peer, offer(5000)) == "unanswered"
        assert await errors.get()
        await aborted.wait()
        assert errors.empty()


async def test_a_peer_that_is_down_is_complained_of_once(world, caplog):
    async with world() as w:
        w.outgoing[7] = (10, [bytes(10)])
        peer = await w.serve(installing)
        await w.servers[0].stop(0)
        for _ in range(5):
            assert await w.send(peer, offer(10)) == "unanswered"
        assert caplog.text.count(f"sending a snapshot to {peer.address} failed") == 1
        assert "debug_error_string" not in caplog.text


async def test_failing_store_fails_the_call_with_its_text(world):
    texts = asyncio.Queue()

    def create_sink(meta):
        raise OSError("no space")

    def handler(call, request):
        call.receive_snapshot(request.snapshot, lambda error: (texts.put_nowait(error), call.fail(error)))

    async with world() as w:
        w.outgoing[7] = (10, [bytes(10)])
        assert await w.send(await w.serve(handler, create_sink=create_sink), offer(10)) == "unanswered"
        assert await texts.get() == "no space"
