"""Large answers over loopback: in slices for those who take slices, in one response or a clear error for others."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import grpc
import pytest

from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, COMMAND, KIND_ORDERS, REPORT, VERSION
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce
from matchengine.service import exchange_services, machine_services, proposals, translation
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.proposals import answer_stream
from matchengine.service.slices import MAX_UNARY_BYTES, SLICE_BYTES, slices
from matchengine.service.translation import REPORTS_PER_SLICE
from matchengine.sessions import SessionMachine
from matchengine.v1 import exchange_pb2, machine_pb2
from matchengine.v1.exchange_pb2_grpc import OrderEntryStub
from matchengine.v1.machine_pb2_grpc import MachineStub, SessionsStub

#: Some whole slices and a half.
LARGE = 2 * SLICE_BYTES + 1000
MAKERS = REPORTS_PER_SLICE + 10
COUNT = 2 * MAKERS + 1


@pytest.mark.parametrize("seed", range(100))
def test_slices_are_the_answer_from_a_position_on(seed):
    rng = random.Random(seed)
    header, unit, size = rng.randrange(4), rng.randrange(1, 4), rng.randrange(1, 5)
    count = rng.randrange(12)
    data = rng.randbytes(header + count * unit)
    cut = rng.randrange(header, len(data) + 1)
    position = rng.randrange(count + 1)
    parts = list(
        slices(SimpleNamespace(position=position), (data[:cut], data[cut:]), header=header, unit=unit, size=size)
    )
    assert b"".join(part.data for part in parts) == data[header + position * unit :]
    assert [part.position for part in parts] == list(range(position, count, size) or [position])
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]


def test_no_slice_begins_behind_the_end():
    with pytest.raises(InvalidArgumentError, match="position: 4 is behind the end of the answer, at 3"):
        next(slices(SimpleNamespace(position=4), b"abc"))


class Echo:
    """Answers a number with so many bytes, a new random row of them for each number."""

    def __init__(self):
        self.executed = 0

    def apply(self, entries):
        self.executed += len(entries)
        return [random.Random(entry.data).randbytes(int(entry.data)) for entry in entries]


def answer_to(size):
    return random.Random(b"%d" % size).randbytes(size)


def apply(session, sequence, size, **more):
    return machine_pb2.ApplyRequest(session_id=session, sequence=sequence, command=b"%d" % size, **more)


async def opened(channel):
    return (await SessionsStub(channel).Open(machine_pb2.OpenSessionRequest())).session_id


async def read(call):
    """The next answer's responses, up to its last slice."""
    parts = [await call.read()]
    while parts[-1].more:
        parts.append(await call.read())
    return parts


async def test_a_large_answer_comes_in_slices_and_small_ones_as_they_are(node, serving):
    node.machine = SessionMachine(Echo())
    async with serving(node, machine_services) as channel:
        session, call = await opened(channel), MachineStub(channel).ApplyStream()
        for sequence, size in ((1, LARGE), (2, 3), (3, 0)):
            await call.write(apply(session, sequence, size, slices=True))
        parts = await read(call)
        assert b"".join(part.answer for part in parts) == answer_to(LARGE)
        assert [(part.position, len(part.answer)) for part in parts] == [
            (0, SLICE_BYTES),
            (SLICE_BYTES, SLICE_BYTES),
            (2 * SLICE_BYTES, 1000),
        ]
        assert {(part.sequence, part.status, part.index) for part in parts} == {(1, 1, session + 1)}
        assert [part.answer for part in (*await read(call), *await read(call))] == [answer_to(3), b""]
        call.cancel()


@pytest.mark.parametrize("position", [1, SLICE_BYTES, LARGE - 1, LARGE])
async def test_an_answer_goes_on_where_the_client_says(node, serving, position):
    node.machine = SessionMachine(Echo())
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        call = MachineStub(channel).ApplyStream()
        await call.write(apply(session, 1, LARGE, slices=True))
        await read(call)
        call.cancel()
        call = MachineStub(channel).ApplyStream()
        await call.write(apply(session, 1, LARGE, slices=True, position=position))
        parts = await read(call)
        assert b"".join(part.answer for part in parts) == answer_to(LARGE)[position:]
        assert parts[0].position == position
        assert node.machine.inner.executed == 1
        await call.write(apply(session, 1, LARGE, slices=True, position=LARGE + 1))
        with pytest.raises(grpc.aio.AioRpcError, match=r"position: .* is behind the end of the answer"):
            await call.read()


async def test_who_does_not_ask_for_slices_gets_one_response(node, serving):
    node.machine = SessionMachine(Echo())
    async with serving(node, machine_services) as channel:
        session, call = await opened(channel), MachineStub(channel).ApplyStream()
        await call.write(apply(session, 1, LARGE))
        (whole,) = await read(call)
        assert whole.answer == answer_to(LARGE)
        call.cancel()


async def test_an_answer_too_large_for_a_unary_call_says_how_to_get_it(node, serving, failing):
    node.machine = SessionMachine(Echo())
    async with serving(node, machine_services) as channel:
        session, stub = await opened(channel), MachineStub(channel)
        assert len((await stub.Apply(apply(session, 1, MAX_UNARY_BYTES - 100))).answer) == MAX_UNARY_BYTES - 100
        for _ in range(2):
            text, metadata = await failing(stub.Apply(apply(session, 2, MAX_UNARY_BYTES)), grpc.StatusCode.OUT_OF_RANGE)
        assert text.startswith("sequence: 2 took effect, but its answer of")
        assert "in slices, in a stream, with the same sequence" in text
        assert metadata["matchengine-reason"] == "too-large"
        assert node.machine.inner.executed == 2
        call = stub.ApplyStream()
        await call.write(apply(session, 2, MAX_UNARY_BYTES, slices=True))
        assert b"".join(part.answer for part in await read(call)) == answer_to(MAX_UNARY_BYTES)
        call.cancel()


async def test_an_answer_too_large_for_one_response_ends_the_stream_of_who_asks_for_one(node, serving, monkeypatch):
    monkeypatch.setattr(proposals, "MAX_WHOLE_BYTES", 1000)
    node.machine = SessionMachine(Echo())
    async with serving(node, machine_services) as channel:
        session, call = await opened(channel), MachineStub(channel).ApplyStream()
        await call.write(apply(session, 1, 10))
        await call.write(apply(session, 2, 1000))
        assert (await call.read()).answer == answer_to(10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


# --- a reader that is slow -----------------------------------------------------------------


class SlowReader:
    """The context of a stream with three requests, which takes responses when the test lets it."""

    def __init__(self):
        self.requests = [SimpleNamespace(slices=True, number=n, ByteSize=lambda: 1) for n in range(3)]
        self.written = []
        self.more = asyncio.Semaphore(0)

    async def read(self):
        return self.requests.pop(0) if self.requests else grpc.aio.EOF

    async def write(self, response):
        await self.more.acquire()
        self.written.append(response)


class Counting:
    """Three slices for each request, made when they are asked for."""

    def __init__(self):
        self.made = 0
        self.proposed = 0

    async def propose(self, _request):
        self.proposed += 1
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def slices(self, request, _outcome):
        for part in range(3):
            self.made += 1
            yield request.number, part


async def test_no_slice_is_made_before_the_one_before_it_was_taken():
    context, proposer = SlowReader(), Counting()
    stream = asyncio.create_task(answer_stream(proposer, context))
    for taken in range(9):
        for _ in range(5):
            await asyncio.sleep(0)
        assert proposer.made == taken + 1
        assert proposer.proposed == 3
        context.more.release()
    await stream
    assert context.written == [(number, part) for number in range(3) for part in range(3)]


# --- orders --------------------------------------------------------------------------------


def packed(*records):
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(records)) + b"".join(records)


def order(cl_ord_id, side, quantity):
    how = OrdType.LIMIT | TimeInForce.GTC << 4
    return COMMAND.pack(CommandType.NEW, side, how, 0, 1, 7, 0, cl_ord_id, 0, 100, quantity)


async def prepared(channel):
    """A session, the next sequence, and a book with MAKERS orders."""
    session = await opened(channel)
    stub = OrderEntryStub(channel)
    await stub.AddInstrument(
        exchange_pb2.AddInstrumentRequest(session_id=session, sequence=1, symbol="GOOG", tick_size="1", lot_size="1")
    )
    makers = packed(*(order(number, Side.SELL, 1) for number in range(1, MAKERS + 1)))
    await stub.Submit(exchange_pb2.SubmitRequest(session_id=session, sequence=2, acknowledged=1, packed=makers))
    return session, stub


def sweep(session, *, typed, **more):
    request = exchange_pb2.SubmitRequest(session_id=session, sequence=3, acknowledged=2, **more)
    if typed:
        new = exchange_pb2.NewOrder(
            cl_ord_id=10_000, symbol="GOOG", side=1, ord_type=2, time_in_force=1, price="100", quantity=str(MAKERS)
        )
        request.commands.append(exchange_pb2.Command(account=7, new_order=new))
    else:
        request.packed = packed(order(10_000, Side.BUY, MAKERS))
    return request


@pytest.mark.parametrize("position", [0, 1, REPORTS_PER_SLICE, COUNT])
async def test_typed_reports_come_in_slices_that_count_reports(exchange_node, serving, position):
    async with serving(exchange_node, exchange_services) as channel:
        session, stub = await prepared(channel)
        whole = await stub.Submit(sweep(session, typed=True))
        call = stub.Stream()
        await call.write(sweep(session, typed=True, slices=True, position=position))
        parts = await read(call)
        call.cancel()
        assert [report for part in parts for report in part.reports] == list(whole.reports)[position:]
        assert [part.position for part in parts] == list(range(position, COUNT, REPORTS_PER_SLICE) or [position])
        assert max(len(part.reports) for part in parts) <= REPORTS_PER_SLICE
        assert {(part.index, part.exchange_time) for part in parts} == {(whole.index, whole.exchange_time)}


async def test_packed_reports_come_in_slices_of_bytes(exchange_node, serving, monkeypatch):
    monkeypatch.setattr(slices, "__kwdefaults__", {**slices.__kwdefaults__, "size": 1000})
    async with serving(exchange_node, exchange_services) as channel:
        session, stub = await prepared(channel)
        whole = await stub.Submit(sweep(session, typed=False))
        assert len(whole.packed) == ANSWER_HEADER.size + COUNT * REPORT.size
        call = stub.Stream()
        await call.write(sweep(session, typed=False, slices=True, position=77))
        parts = await read(call)
        call.cancel()
        assert b"".join(part.packed for part in parts) == whole.packed[77:]
        assert [part.position for part in parts] == list(range(77, len(whole.packed), 1000))


@pytest.mark.parametrize("typed", [True, False])
async def test_a_sweep_too_large_for_a_unary_call_says_how_to_get_it(
    exchange_node, serving, failing, monkeypatch, typed
):
    async with serving(exchange_node, exchange_services) as channel:
        session, stub = await prepared(channel)
        monkeypatch.setattr(proposals, "MAX_UNARY_BYTES", COUNT * 30)
        monkeypatch.delattr(translation, "_report")  # it is not even translated
        text, _ = await failing(stub.Submit(sweep(session, typed=typed)), grpc.StatusCode.OUT_OF_RANGE)
        assert text.startswith("sequence: 3 took effect")


async def test_a_refusal_is_one_response(exchange_node, serving):
    async with serving(exchange_node, exchange_services) as channel:
        _, stub = await prepared(channel)
        call = stub.Stream()
        await call.write(sweep(99, typed=False, slices=True, position=5))
        (refused,) = await read(call)
        call.cancel()
        assert refused.status == machine_pb2.SESSION_STATUS_UNKNOWN_SESSION and not refused.position
