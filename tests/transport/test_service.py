"""The service as a foreign peer sees it, message by message."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import AppendEntriesResponse, InstallSnapshotResponse, RequestVoteResponse
from matchengine.raft.types import Configuration, Server
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

GO = pb.RPCHeader(protocol_version=3, id=b"go", addr=b"h:9")
CONFIGURATION = encode_configuration(Configuration((Server("go", "h:9"),)))


def append(index: int, **fields) -> pb.AppendEntriesRequest:
    entry = pb.Log(index=index, term=1)
    return pb.AppendEntriesRequest(
        **{"rpc_header": GO, "term": 1, "prev_log_entry": index - 1, "entries": [entry]} | fields
    )


def accept(call, request) -> None:
    call.answer(AppendEntriesResponse(request.term, request.prev_log_index, True))


class Foreign:
    """A raw stub for one member."""

    def __init__(self, member: Server) -> None:
        self.channel = grpc.aio.insecure_channel(member.address)
        self.stub = RaftTransportStub(self.channel)

    async def __aenter__(self):
        return self.stub

    async def __aexit__(self, *exc) -> None:
        await self.channel.close()


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.AppendEntriesRequest(term=1), "rpc_header is missing"),
        (append(1, entries=[pb.Log(index=1, type=9)]), "entry 1: log type 9 is unknown"),
    ],
)
async def test_what_is_refused_never_reaches_the_handler(world, request_, text):
    seen = []
    async with world() as w, Foreign(await w.serve(lambda *a: seen.append(a))) as stub:
        assert await refusal(stub.AppendEntries(request_)) == (grpc.StatusCode.UNKNOWN, text)
        stream = stub.AppendEntriesPipeline()
        await stream.write(request_)
        assert await refusal(stream.read()) == (grpc.StatusCode.UNKNOWN, text)
        assert seen == []


@pytest.mark.parametrize("method", ["AppendEntries", "RequestVote", "RequestPreVote", "TimeoutNow", "InstallSnapshot"])
async def test_bytes_that_are_no_message_are_refused_without_a_traceback(world, caplog, method):
    seen = []
    async with world() as w:
        member = await w.serve(lambda *a: seen.append(a))
        async with grpc.aio.insecure_channel(member.address) as channel:
            path = f"/RaftTransport/{method}"
            if method == "InstallSnapshot":
                call = channel.stream_unary(path)(iter([b"\xff\xff"]))
            else:
                call = channel.unary_unary(path)(b"\xff\xff")
            assert await refusal(call) == (grpc.StatusCode.UNKNOWN, "the request is malformed")
    assert not seen
    assert not caplog.records


async def test_failure_of_the_core_is_unknown_with_its_text(world):
    async with world() as w, Foreign(await w.serve(lambda call, _: call.fail("transport shutdown"))) as stub:
        assert await refusal(stub.RequestVote(pb.RequestVoteRequest(rpc_header=GO))) == (
            grpc.StatusCode.UNKNOWN,
            "transport shutdown",
        )


async def test_the_log_says_who_was_refused_but_not_each_time(world, caplog):
    async with world() as w, Foreign(await w.serve(lambda call, _: call.fail("entry 4 is committed here"))) as stub:
        for _ in range(5):
            await refusal(stub.AppendEntries(append(4)))
    said = [record.message for record in caplog.records if record.name == "matchengine.transport.server"]
    assert said == ["a request of go was refused: entry 4 is committed here"]


async def test_responses_announce_the_server(world):
    async with (
        world() as w,
        Foreign(await w.serve(lambda call, _: call.answer(RequestVoteResponse(0, False)))) as stub,
    ):
        answer = await stub.RequestVote(pb.RequestVoteRequest(rpc_header=GO))
        assert answer.rpc_header == pb.RPCHeader(protocol_version=3, id=b"n2", addr=b"127.0.0.1:2")


async def test_half_closed_pipeline_gets_all_its_answers(world):
    async with world() as w, Foreign(await w.serve(accept)) as stub:
        stream = stub.AppendEntriesPipeline()
        for index in range(1, 101):
            await stream.write(append(index))
        await stream.done_writing()
        assert [m.last_log async for m in stream] == list(range(100))
        assert await stream.code() is grpc.StatusCode.OK


async def test_pipeline_is_not_read_beyond_its_bound(world):
    taken = asyncio.Queue()
    async with world() as w, Foreign(await w.serve(lambda *a: taken.put_nowait(a))) as stub:
        stream = stub.AppendEntriesPipeline()
        for index in range(1, 201):
            await stream.write(append(index))
        early = [await taken.get() for _ in range(66)]
        assert taken.empty()
        for call, request in early:
            accept(call, request)
        for _ in range(66, 200):
            accept(*await taken.get())
        assert [(await stream.read()).last_log for _ in range(200)] == list(range(200))


async def test_peer_that_cancels_is_forgotten(world):
    taken = asyncio.Queue()
    async with world() as w, Foreign(await w.serve(lambda *a: taken.put_nowait(a))) as stub:
        unary, stream = stub.AppendEntries(append(1)), stub.AppendEntriesPipeline()
        await stream.write(append(1))
        await stream.write(append(2))
        calls = [await taken.get() for _ in range(3)]
        unary.cancel()
        stream.cancel()
        for call, request in calls:
            await asyncio.wait((call.outcome,))
            assert call.outcome.cancelled()
            accept(call, request)
            call.fail("too late")


async def test_a_call_without_snapshot_says_so(world):
    def handler(call, request):
        call.receive_snapshot(None, call.fail)

    async with world() as w, Foreign(await w.serve(handler)) as stub:
        assert (await refusal(stub.AppendEntries(append(1))))[1] == "the call brings no snapshot"


def installing(call, request) -> None:
    def done(error: str) -> None:
        call.fail(error) if error else call.answer(InstallSnapshotResponse(request.term, True))

    call.receive_snapshot(request.snapshot, done)


def offer(**fields) -> pb.InstallSnapshotRequest:
    return pb.InstallSnapshotRequest(
        **{"rpc_header": GO, "term": 1, "last_log_index": 3, "snapshot_version": 1, "configuration": CONFIGURATION}
        | fields
    )


async def test_data_of_the_first_message_counts(world):
    async with world() as w, Foreign(await w.serve(installing)) as stub:
        messages = [offer(size=4, data=b"ab"), pb.InstallSnapshotRequest(), pb.InstallSnapshotRequest(data=b"cd")]
        assert (await stub.InstallSnapshot(iter(messages))).success
        assert b"".join(w.snapshots.open(w.snapshots.newest())) == b"abcd"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "EOF"),
        ([pb.InstallSnapshotRequest(data=b"x")], "rpc_header is missing"),
        ([offer(snapshot_version=2)], "unsupported snapshot version 2"),
        ([offer(configuration=b"junk")], "configuration"),
        ([offer(size=3), pb.InstallSnapshotRequest(data=b"xy")], "short read"),
    ],
)
async def test_refused_snapshots_have_the_originals_status(world, messages, text):
    async with world() as w, Foreign(await w.serve(installing)) as stub:
        code, details = await refusal(stub.InstallSnapshot(iter(messages)))
        assert code is grpc.StatusCode.UNKNOWN and text in details
        assert w.snapshots.newest() is None


async def test_refused_sender_can_send_everything_before_it_looks(world):
    def refuse(call, request):
        call.answer(InstallSnapshotResponse(9, False))

    async with world() as w, Foreign(await w.serve(refuse)) as stub:
        call = stub.InstallSnapshot()
        await call.write(offer(size=200 * 65536))
        for _ in range(200):
            await call.write(pb.InstallSnapshotRequest(data=bytes(65536)))
        await call.done_writing()
        assert (await call).term == 9


async def test_node_that_stops_during_a_transfer_ends_it(world):
    ended, aborted = asyncio.Queue(), asyncio.Event()

    class Sink:
        def abort(self):
            w.loop.call_soon_threadsafe(aborted.set)

    def create_sink(meta):
        w.loop.call_soon_threadsafe(calls[0].fail, "node has stopped")
        return Sink()

    def handler(call, request):
        calls.append(call)
        call.receive_snapshot(request.snapshot, ended.put_nowait)

    calls = []
    async with world() as w, Foreign(await w.serve(handler, create_sink=create_sink)) as stub:
        call = stub.InstallSnapshot()
        await call.write(offer(size=10))
        assert await refusal(call) == (grpc.StatusCode.UNKNOWN, "node has stopped")
        assert await ended.get()
        await aborted.wait()
