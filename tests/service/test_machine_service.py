"""Sessions and Machine over loopback: opaque commands of any state machine."""

from __future__ import annotations

import asyncio
import gc

import grpc
import pytest

from matchengine.errors import UnknownOutcomeError
from matchengine.raft.types import MAX_ENTRY_BYTES
from matchengine.service import core_services, exchange_services, machine_services
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.machine import MAX_COMMAND_BYTES, machine_group
from matchengine.service.market_data import add_market_data
from matchengine.service.order_entry import add_order_entry
from matchengine.service.proposals import MAX_OUTSTANDING, answer_stream
from matchengine.service.sessions import add_sessions
from matchengine.sessions import ENVELOPE, SessionMachine
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import MachineStub, SessionsStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def opened(channel, name="tester"):
    response = await SessionsStub(channel).Open(pb.OpenSessionRequest(client_name=name))
    assert response.status == pb.SESSION_STATUS_OK
    return response.session_id


def apply(session, sequence, command=b"1", acknowledged=0):
    return pb.ApplyRequest(session_id=session, sequence=sequence, acknowledged=acknowledged, command=command)


async def read_all(call):
    answers = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        answers.append(answer)
    return answers


# --- sessions ------------------------------------------------------------------------------


async def test_a_session_is_opened_kept_and_closed(node, serving):
    async with serving(node, machine_services) as channel:
        sessions = SessionsStub(channel)
        session = await opened(channel)
        assert session == node.index
        assert (await sessions.KeepAlive(pb.KeepAliveRequest(session_id=session))).status == pb.SESSION_STATUS_OK
        assert (await sessions.Close(pb.CloseSessionRequest(session_id=session))).status == pb.SESSION_STATUS_OK
        gone = pb.SESSION_STATUS_UNKNOWN_SESSION
        assert (await sessions.KeepAlive(pb.KeepAliveRequest(session_id=session))).status == gone
        assert (await sessions.Close(pb.CloseSessionRequest(session_id=session))).status == gone
        assert (await MachineStub(channel).Apply(apply(session, 1))).status == gone


async def test_a_long_client_name_is_refused_and_nothing_proposed(node, serving, failing):
    async with serving(node, machine_services) as channel:
        stub = SessionsStub(channel)
        text, metadata = await failing(stub.Open(pb.OpenSessionRequest(client_name="é" * 33)), INVALID)
        assert text == "client_name: 66 bytes are above the limit of 64"
        assert metadata["matchengine-reason"] == "invalid"
        assert not node.proposed
        await opened(channel, "é" * 32)


async def test_a_session_id_of_zero_is_refused(node, serving, failing):
    async with serving(node, machine_services) as channel:
        stub = SessionsStub(channel)
        text, _ = await failing(stub.KeepAlive(pb.KeepAliveRequest()), INVALID)
        assert text == "session_id: 0 is not above 0"
        assert not node.proposed


# --- commands ------------------------------------------------------------------------------


async def test_a_retried_command_gets_the_first_answer(node, serving):
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        session = await opened(channel)
        first = await machine.Apply(apply(session, 1, b"5"))
        again = await machine.Apply(apply(session, 1, b"5"))
        assert first == again
        assert (first.sequence, first.answer, first.index) == (1, b"5", node.index - 1)
        assert (await machine.Apply(apply(session, 3))).status == pb.SESSION_STATUS_SEQUENCE_GAP


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (apply(0, 1), "session_id: 0 is not above 0"),
        (apply(7, 0), "sequence: 0 is not above 0"),
        (apply(7, 2, acknowledged=2), "acknowledged: 2 is not below the sequence 2, whose answer is yet to come"),
        (
            apply(7, 1, bytes(MAX_COMMAND_BYTES + 1)),
            f"command: {MAX_COMMAND_BYTES + 1} bytes are above the limit of {MAX_COMMAND_BYTES}",
        ),
    ],
)
async def test_bad_commands_are_refused_by_name(node, serving, failing, request_, text):
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        assert (await failing(machine.Apply(request_), INVALID))[0] == text
        stream = machine.ApplyStream(iter([request_]))
        assert (await failing(read_all(stream), INVALID))[0] == text
        assert not node.proposed


async def test_the_largest_command_fits_an_entry(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        await MachineStub(channel).Apply(apply(session, 1, bytes(MAX_COMMAND_BYTES)))
        assert len(node.proposed[-1]) == MAX_ENTRY_BYTES == MAX_COMMAND_BYTES + ENVELOPE.size


async def test_a_check_keeps_commands_out_of_the_log(node, serving, failing):
    def check(command):
        if command == b"poison":
            raise InvalidArgumentError("command: poison is not allowed")

    async with serving(node, add_sessions, machine_group(check)) as channel:
        session = await opened(channel)
        await failing(MachineStub(channel).Apply(apply(session, 1, b"poison")), INVALID)
        assert len(node.proposed) == 1
        assert (await MachineStub(channel).Apply(apply(session, 1, b"4"))).answer == b"4"


async def test_failures_of_the_node_have_code_reason_and_leader(node, serving, failing, transport_failure):
    error, code, reason = transport_failure
    async with serving(node, machine_services) as channel:
        request = apply(await opened(channel), 1)
        node.failure, node.fail_after = error, len(node.proposed)
        machine = MachineStub(channel)
        for call in (machine.Apply(request), read_all(machine.ApplyStream(iter([request])))):
            text, metadata = await failing(call, code)
            assert text == str(error)
            assert metadata["matchengine-reason"] == reason
            assert metadata.get("matchengine-leader") == ("10.0.0.2:7" if reason == "not-leader" else None)


# --- streams -------------------------------------------------------------------------------


async def test_stream_answers_in_order(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        call = MachineStub(channel).ApplyStream(iter([apply(session, n, b"1") for n in range(1, 301)]))
        answers = await read_all(call)
        assert [a.sequence for a in answers] == list(range(1, 301))
        assert [int(a.answer) for a in answers] == list(range(1, 301))


async def test_stream_order_survives_outcomes_in_another_order(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        node.hold = True
        call = MachineStub(channel).ApplyStream()
        for n in (1, 2, 3):
            await call.write(apply(session, n, b"1"))
        await call.done_writing()
        await node.wait_held(3)
        first = node.held.pop(0)
        node.held.sort(key=lambda held: held[0], reverse=True)
        node.release()
        node.held.append(first)
        node.release()
        assert [a.sequence for a in await read_all(call)] == [1, 2, 3]


async def test_stream_reads_no_further_than_its_bound(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        node.hold = True
        total = MAX_OUTSTANDING + 40
        call = MachineStub(channel).ApplyStream(iter([apply(session, n) for n in range(1, total + 1)]))
        await node.wait_held(MAX_OUTSTANDING)
        node.release(1)
        assert (await call.read()).sequence == 1
        await node.wait_held(MAX_OUTSTANDING)
        assert len(node.proposed) == 1 + MAX_OUTSTANDING + 1
        node.hold = False
        node.release()
        assert [a.sequence for a in await read_all(call)] == list(range(2, total + 1))


async def test_stream_bounds_bytes(node, serving, monkeypatch):
    monkeypatch.setattr("matchengine.service.proposals.MAX_OUTSTANDING_BYTES", 100_000)
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        node.hold = True
        call = MachineStub(channel).ApplyStream(iter([apply(session, n, bytes(40_000)) for n in range(1, 7)]))
        await node.wait_held(2)
        for _ in range(3):
            node.release(1)
            await call.read()
            await node.wait_held(2)
        node.hold = False
        node.release()
        assert [a.sequence for a in await read_all(call)] == [4, 5, 6]


async def test_first_failure_ends_the_stream_after_the_earlier_answers(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        node.fail_after, node.failure = len(node.proposed) + 3, UnknownOutcomeError("leadership lost")
        call = MachineStub(channel).ApplyStream()
        for n in range(1, 5):
            await call.write(apply(session, n))
        answers = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                answers.append(await call.read())
        assert [a.sequence for a in answers] == [1, 2, 3]
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        node.fail_after = None
        retried = await read_all(MachineStub(channel).ApplyStream(iter([apply(session, n) for n in range(3, 20)])))
        assert [int(a.answer) for a in retried] == list(range(3, 20))


class SlowToEnd:
    """The context of a stream whose client has sent three requests, and whose read ends late."""

    def __init__(self):
        self.requests = [apply(1, n) for n in (1, 2, 3)]
        self.gate = asyncio.Event()
        self.ending = asyncio.Event()

    async def read(self):
        if self.requests:
            return self.requests.pop(0)
        try:
            await self.gate.wait()
        finally:
            self.ending.set()
            await self.gate.wait()


class Failing:
    """Proposals whose outcome becomes unknown all at once, when the last is made."""

    def __init__(self):
        self.futures = []

    async def propose(self, _request):
        self.futures.append(asyncio.get_running_loop().create_future())
        if len(self.futures) == 3:
            for future in self.futures:
                future.set_exception(UnknownOutcomeError("leadership lost"))
        return self.futures[-1]


async def test_a_stream_cancelled_while_it_fails_leaves_no_complaints():
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    context, proposer = SlowToEnd(), Failing()
    stream = asyncio.create_task(answer_stream(proposer, context))
    await context.ending.wait()
    stream.cancel()
    context.gate.set()
    await asyncio.wait([stream])
    assert stream.cancelled()
    proposer.futures.clear()
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []


async def test_a_later_request_cannot_overtake_a_failed_one(node, serving):
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        node.hold = True
        call = MachineStub(channel).ApplyStream(iter([apply(session, n, b"1") for n in (1, 2)]))
        await node.wait_held(2)
        node.held.pop(0)[1].set_exception(UnknownOutcomeError("leadership lost"))
        node.release()
        with pytest.raises(grpc.aio.AioRpcError):
            await read_all(call)
        assert node.machine.inner.sum == 0


async def test_a_client_that_cancels_leaves_the_others_unharmed(node, serving):
    async with serving(node, machine_services) as channel:
        session, other = await opened(channel), await opened(channel)
        node.hold = True
        call = MachineStub(channel).ApplyStream(iter([apply(session, n) for n in range(1, 6)]))
        await node.wait_held(5)
        call.cancel()
        await asyncio.wait([future for _, future in node.held])
        assert all(future.cancelled() for _, future in node.held)
        node.hold = False
        assert (await MachineStub(channel).Apply(apply(other, 1, b"9"))).answer == b"9"
        node.release()
        assert (await MachineStub(channel).Apply(apply(session, 5))).answer == b"14"


async def test_a_bug_in_the_machine_ends_one_call_only(node, serving):
    class Broken:
        def apply(self, entries):
            return [b"?" for _ in entries]

    async with serving(node, machine_services) as channel:
        healthy, node.machine = node.machine, Broken()
        with pytest.raises(grpc.aio.AioRpcError):
            await read_all(MachineStub(channel).ApplyStream(iter([apply(7, 1)])))
        node.machine = healthy
        await opened(channel)


@pytest.mark.parametrize("group", [add_sessions, machine_group()])
async def test_a_node_without_sessions_does_not_start(node, serving, group):
    node.machine = node.machine.inner
    with pytest.raises(TypeError, match="machine: Counter is no SessionMachine"):
        async with serving(node, group):
            pass


@pytest.mark.parametrize("group", [exchange_services, add_order_entry, add_market_data])
async def test_a_node_without_an_exchange_does_not_start(node, serving, group):
    with pytest.raises(TypeError, match="machine: SessionMachine holds no exchange in sessions"):
        async with serving(node, group):
            pass


# --- queries -------------------------------------------------------------------------------


async def test_query_reads_at_a_linearizable_point_from_any_node(node, serving):
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        await machine.Apply(apply(await opened(channel), 1, b"42"))
        node.lead(False)
        response = await machine.Query(pb.QueryRequest(query=b"sum"))
        assert (response.answer, response.index) == (b"42", node.index)
        assert node.read_indexes == 1


async def test_query_failures(node, serving, failing):
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        text, _ = await failing(machine.Query(pb.QueryRequest(query=b"product")), INVALID)
        assert text == "query: b'product' is not b'sum'"
        node.machine_is_readable = False
        await failing(machine.Query(pb.QueryRequest(query=b"sum")), grpc.StatusCode.RESOURCE_EXHAUSTED)
        node.leader_address = ""
        await failing(machine.Query(pb.QueryRequest(query=b"sum")), grpc.StatusCode.UNAVAILABLE)


async def test_query_of_a_machine_without_queries(node, serving, failing):
    class Mute:
        def apply(self, entries):
            return [b"" for _ in entries]

    node.machine = SessionMachine(Mute())
    async with serving(node, machine_services) as channel:
        text, _ = await failing(MachineStub(channel).Query(pb.QueryRequest()), grpc.StatusCode.UNIMPLEMENTED)
        assert text == "query: Mute answers no queries"


async def test_core_services_alone(node, serving, failing):
    async with serving(node) as channel:
        await failing(MachineStub(channel).Query(pb.QueryRequest()), grpc.StatusCode.UNIMPLEMENTED)
    assert callable(core_services)
