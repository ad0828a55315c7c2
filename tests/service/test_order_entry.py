"""OrderEntry over loopback, with the real exchange behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import asynccontextmanager

import grpc
import pytest

from matchengine.errors import NotLeaderError
from matchengine.exchange.layout import (
    ANSWER_HEADER,
    BATCH_HEADER,
    COMMAND,
    KIND_ORDERS,
    MAX_BATCH_BYTES,
    MAX_COMMANDS,
    REPORT,
    VERSION,
)
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce
from matchengine.service import exchange_services, translation
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1 import machine_pb2
from matchengine.v1.exchange_pb2_grpc import OrderEntryStub
from matchengine.v1.machine_pb2_grpc import MachineStub, SessionsStub

TOO_LARGE = BATCH_HEADER.size + (MAX_COMMANDS + 1) * COMMAND.size
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Trader:
    """One session with account 7, which counts its sequences."""

    def __init__(self, channel, session):
        self.stub = OrderEntryStub(channel)
        self.session = session
        self.sequence = 0

    @classmethod
    async def open(cls, channel):
        response = await SessionsStub(channel).Open(machine_pb2.OpenSessionRequest())
        return cls(channel, response.session_id)

    def next(self):
        self.sequence += 1
        return {"session_id": self.session, "sequence": self.sequence, "acknowledged": self.sequence - 1}

    def request(self, *commands, packed=b""):
        return pb.SubmitRequest(**self.next(), commands=commands, packed=packed)

    async def submit(self, *commands):
        response = await self.stub.Submit(self.request(*commands))
        assert response.status == machine_pb2.SESSION_STATUS_OK
        return list(response.reports)

    async def list(self, symbol="GOOG", tick_size="0.01", lot_size="1"):
        request = pb.AddInstrumentRequest(**self.next(), symbol=symbol, tick_size=tick_size, lot_size=lot_size)
        return await self.stub.AddInstrument(request)


def new(cl_ord_id, side, quantity, price, symbol="GOOG", **changes):
    fields = {"ord_type": pb.ORD_TYPE_LIMIT, "time_in_force": pb.TIME_IN_FORCE_GTC} | changes
    order = pb.NewOrder(cl_ord_id=cl_ord_id, symbol=symbol, side=side, price=price, quantity=quantity, **fields)
    return pb.Command(account=7, new_order=order)


def packed_new(cl_ord_id, side, quantity, price):
    how = OrdType.LIMIT | TimeInForce.GTC << 4
    return COMMAND.pack(CommandType.NEW, side, how, 0, 1, 7, 0, cl_ord_id, 0, price, quantity)


def packed_batch(*records):
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(records)) + b"".join(records)


@pytest.fixture
def trading(serving, exchange_node):
    """``async with trading() as trader``: a trader at an exchange that lists GOOG, tick 0.01, lot 1."""

    @asynccontextmanager
    async def start():
        async with serving(exchange_node, exchange_services) as channel:
            trader = await Trader.open(channel)
            assert (await trader.list()).instrument == 1
            yield trader

    return start


# --- packed --------------------------------------------------------------------------------


async def test_a_packed_batch_passes_through_as_it_is(trading, exchange_node):
    async with trading() as trader:
        batch = packed_batch(packed_new(1, Side.SELL, 5, 10_000), packed_new(2, Side.BUY, 3, 10_000))
        response = await trader.stub.Submit(trader.request(packed=batch))
        assert exchange_node.proposed[-1].endswith(batch)
        version, kind, _, count, time = ANSWER_HEADER.unpack_from(response.packed)
        assert (version, kind, count) == (VERSION, KIND_ORDERS, 4)
        assert len(response.packed) == ANSWER_HEADER.size + 4 * REPORT.size
        assert response.exchange_time == time == 1_000_000 * exchange_node.index
        assert (response.index, response.sequence) == (exchange_node.index, 2)
        assert not response.reports


async def test_a_retried_batch_gets_the_first_answer(trading):
    async with trading() as trader:
        request = trader.request(packed=packed_batch(packed_new(1, Side.SELL, 5, 10_000)))
        first = await trader.stub.Submit(request)
        assert await trader.stub.Submit(request) == first


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "packed: empty, and so is commands; a request has exactly one of the two"),
        (
            {"packed": packed_batch(), "commands": [new(1, pb.SIDE_BUY, "1", "1")]},
            "packed: given together with commands; a request has exactly one of the two",
        ),
        (
            {"packed": BATCH_HEADER.pack(VERSION + 1, KIND_ORDERS, 0, 0)},
            f"packed: layout version {VERSION + 1} is above {VERSION}, the newest known here",
        ),
        ({"packed": bytes(70_000)}, f"packed: 70000 bytes are above the limit of {MAX_BATCH_BYTES}; split the batch"),
        (
            {"commands": [pb.Command()] * (MAX_COMMANDS + 1)},
            f"commands: {TOO_LARGE} bytes are above the limit of {MAX_BATCH_BYTES}; split the batch",
        ),
        ({"session_id": 0, "packed": packed_batch()}, "session_id: 0 is not above 0"),
        ({"sequence": 0, "packed": packed_batch()}, "sequence: 0 is not above 0"),
    ],
)
async def test_bad_requests_are_refused_by_name_and_not_proposed(trading, exchange_node, failing, fields, text):
    async with trading() as trader:
        request = pb.SubmitRequest(**({"session_id": trader.session, "sequence": 2} | fields))
        proposed = len(exchange_node.proposed)
        assert (await failing(trader.stub.Submit(request), INVALID))[0] == text
        assert (await failing(read_all(trader.stub.Stream(iter([request]))), INVALID))[0] == text
        assert len(exchange_node.proposed) == proposed
        trader.sequence = 1
        assert await trader.submit(new(1, pb.SIDE_BUY, "1", "1"))


async def test_no_door_lets_a_newer_layout_into_the_log(trading, exchange_node, failing, serving):
    async with serving(exchange_node, exchange_services) as channel:
        trader = await Trader.open(channel)
        command = BATCH_HEADER.pack(VERSION + 1, KIND_ORDERS, 0, 0)
        request = machine_pb2.ApplyRequest(session_id=trader.session, sequence=1, command=command)
        text, _ = await failing(MachineStub(channel).Apply(request), INVALID)
        assert text == f"command: layout version {VERSION + 1} is above {VERSION}, the newest known here"


# --- typed ---------------------------------------------------------------------------------


async def test_a_trade_in_words(trading):
    async with trading() as trader:
        reports = await trader.submit(
            new(1, pb.SIDE_SELL, "5", "100.25"),
            new(2, pb.SIDE_BUY, "3", "100.30", time_in_force=pb.TIME_IN_FORCE_IOC),
        )
        assert [(r.exec_type, r.ord_status, r.command) for r in reports] == [
            ("0", "0", 0),
            ("0", "0", 1),
            ("F", "2", 1),
            ("F", "1", 1),
        ]
        taker, maker = reports[2:]
        assert taker.trade_id == maker.trade_id > 0
        assert (taker.symbol, taker.account, taker.cl_ord_id, taker.side) == ("GOOG", 7, 2, pb.SIDE_BUY)
        assert (taker.price, taker.last_px, taker.last_qty) == ("100.30", "100.25", "3")
        assert (taker.leaves_qty, taker.cum_qty) == ("0", "3")
        assert (maker.cl_ord_id, maker.leaves_qty, maker.cum_qty, maker.reason) == (1, "2", "3", "")
        assert (reports[0].last_px, reports[0].last_qty) == ("", "")


async def test_the_life_of_an_order(trading):
    async with trading() as trader:
        await trader.submit(new(1, pb.SIDE_BUY, "10", "99"))
        (reduced,) = await trader.submit(
            pb.Command(account=7, symbol="GOOG", reduce=pb.ReduceOrder(orig_cl_ord_id=1, quantity="4"))
        )
        assert (reduced.exec_type, reduced.leaves_qty) == ("5", "6")
        change = pb.ReplaceOrder(orig_cl_ord_id=1, cl_ord_id=2, price="98.50", quantity="8")
        (replaced,) = await trader.submit(pb.Command(account=7, symbol="GOOG", replace=change))
        assert (replaced.cl_ord_id, replaced.orig_cl_ord_id) == (2, 1)
        assert (replaced.price, replaced.leaves_qty) == ("98.50", "8")
        (cancelled,) = await trader.submit(pb.Command(account=7, cancel=pb.CancelOrder(orig_cl_ord_id=2)))
        assert (cancelled.exec_type, cancelled.ord_status, cancelled.leaves_qty) == ("4", "4", "0")
        (unknown,) = await trader.submit(pb.Command(account=7, cancel=pb.CancelOrder(orig_cl_ord_id=2)))
        assert (unknown.exec_type, unknown.reason) == ("9", "UNKNOWN_ORDER")


async def test_the_loop_gets_its_turns_while_a_sweep_is_put_into_words(trading, monkeypatch):
    turn, in_turn, translate = 0, Counter(), translation._report

    async def count_turns():
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def report(*arguments):
        in_turn[turn] += 1
        return translate(*arguments)

    monkeypatch.setattr(translation, "_report", report)
    async with trading() as trader:
        makers = [packed_new(n, Side.SELL, 1, 10_000) for n in range(1, 1001)]
        await trader.stub.Submit(trader.request(packed=packed_batch(*makers)))
        counting = asyncio.create_task(count_turns())
        reports = await trader.submit(new(5_000, pb.SIDE_BUY, "1000", "100"))
        counting.cancel()
    assert [report.cl_ord_id for report in reports[2::2]] == list(range(1, 1001))
    assert max(in_turn.values()) <= 256


async def test_flags_of_a_replace_reach_the_engine(trading):
    async with trading() as trader:
        await trader.submit(new(1, pb.SIDE_BUY, "10", "99"), new(2, pb.SIDE_SELL, "4", "99"))
        leaves = pb.ReplaceOrder(orig_cl_ord_id=1, price="99", quantity="5", quantity_is_leaves=True)
        (replaced,) = await trader.submit(pb.Command(account=7, symbol="GOOG", replace=leaves))
        assert (replaced.leaves_qty, replaced.cum_qty) == ("5", "4")
        total = pb.ReplaceOrder(orig_cl_ord_id=1, price="99", quantity="8", lose_place=True)
        (replaced,) = await trader.submit(pb.Command(account=7, symbol="GOOG", replace=total))
        assert (replaced.leaves_qty, replaced.cum_qty) == ("4", "4")


async def test_a_market_order_has_no_price(trading):
    async with trading() as trader:
        market = {"ord_type": pb.ORD_TYPE_MARKET, "time_in_force": pb.TIME_IN_FORCE_IOC}
        reports = await trader.submit(new(1, pb.SIDE_BUY, "2", "", **market))
        assert [(r.exec_type, r.reason, r.price) for r in reports] == [("0", "", ""), ("4", "MARKET_REMAINDER", "")]
        (priced,) = await trader.submit(new(2, pb.SIDE_BUY, "2", "1.00", **market))
        assert (priced.exec_type, priced.reason) == ("8", "PRICE_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (new(1, pb.SIDE_BUY, "1", "1", symbol="NOPE"), "UNKNOWN_INSTRUMENT"),
        (new(1, pb.SIDE_BUY, "1", "1.005"), "PRICE_TOO_PRECISE"),
        (new(1, pb.SIDE_BUY, "1", "0"), "PRICE_ZERO"),
        (new(1, pb.SIDE_BUY, "1", "-1"), "PRICE_NEGATIVE"),
        (new(1, pb.SIDE_BUY, "1", ""), "PRICE_MALFORMED"),
        (new(1, pb.SIDE_BUY, "1", "1e2"), "PRICE_MALFORMED"),
        (new(1, pb.SIDE_BUY, "1", "9" * 30), "PRICE_OVERFLOW"),
        (new(1, pb.SIDE_BUY, "0", "1"), "QUANTITY_ZERO"),
        (new(1, pb.SIDE_BUY, "-5", "1"), "QUANTITY_NEGATIVE"),
        (new(1, pb.SIDE_BUY, "0.5", "1"), "QUANTITY_TOO_PRECISE"),
        (new(1, pb.SIDE_BUY, "x", "1"), "QUANTITY_MALFORMED"),
        (new(1, pb.SIDE_BUY, "9" * 30, "1"), "QUANTITY_OVERFLOW"),
        (new(1, pb.SIDE_UNSPECIFIED, "1", "1"), "INVALID_SIDE"),
        (new(1, 999, "1", "1"), "INVALID_SIDE"),
        (new(1, -1, "1", "1"), "INVALID_SIDE"),
        (new(1, pb.SIDE_BUY, "1", "1", ord_type=99), "INVALID_ORD_TYPE"),
        (new(1, pb.SIDE_BUY, "1", "1", time_in_force=99), "INVALID_TIME_IN_FORCE"),
        (pb.Command(account=7), "UNKNOWN_COMMAND"),
    ],
)
async def test_rejects_are_reports_in_their_place(trading, command, reason):
    async with trading() as trader:
        reports = await trader.submit(new(8, pb.SIDE_BUY, "1", "1"), command, new(9, pb.SIDE_BUY, "1", "1"))
        assert [(r.command, r.exec_type, r.reason) for r in reports] == [(0, "0", ""), (1, "8", reason), (2, "0", "")]


@pytest.mark.parametrize("symbol", ["NOPE", ""])
async def test_amounts_of_an_unknown_symbol_change_no_order(trading, symbol):
    async with trading() as trader:
        await trader.submit(new(1, pb.SIDE_BUY, "10", "99"))
        reduce = pb.Command(account=7, symbol=symbol, reduce=pb.ReduceOrder(orig_cl_ord_id=1, quantity="4"))
        change = pb.ReplaceOrder(orig_cl_ord_id=1, price="98", quantity="8")
        replace = pb.Command(account=7, symbol=symbol, replace=change)
        reports = await trader.submit(reduce, replace)
        assert [(r.exec_type, r.reason) for r in reports] == [("9", "UNKNOWN_INSTRUMENT")] * 2


async def test_amounts_of_another_instrument_change_no_order(trading):
    async with trading() as trader:
        await trader.list("FINE", "0.0001", "0.001")
        await trader.submit(new(1, pb.SIDE_BUY, "10", "99"))
        reduce = pb.Command(account=7, symbol="FINE", reduce=pb.ReduceOrder(orig_cl_ord_id=1, quantity="4"))
        change = pb.ReplaceOrder(orig_cl_ord_id=1, price="98", quantity="8")
        replace = pb.Command(account=7, symbol="FINE", replace=change)
        reports = await trader.submit(reduce, replace)
        assert [r.exec_type for r in reports] == ["9", "9"]
        (cancelled,) = await trader.submit(pb.Command(account=7, cancel=pb.CancelOrder(orig_cl_ord_id=1)))
        assert (cancelled.exec_type, cancelled.cum_qty) == ("4", "0")


async def test_decimals_of_each_instrument(trading):
    async with trading() as trader:
        await trader.list("FINE", "0.0005", "0.010")
        (report,) = await trader.submit(new(1, pb.SIDE_BUY, "1.25", "3.5", symbol="FINE"))
        assert (report.symbol, report.price, report.leaves_qty, report.cum_qty) == ("FINE", "3.5000", "1.250", "0.000")
        (off_tick,) = await trader.submit(new(2, pb.SIDE_BUY, "1.25", "3.5001", symbol="FINE"))
        (off_lot,) = await trader.submit(new(2, pb.SIDE_BUY, "1.255", "3.5", symbol="FINE"))
        assert (off_tick.reason, off_lot.reason) == ("PRICE_OFF_TICK", "QUANTITY_OFF_LOT")


async def test_a_session_that_is_gone_executes_nothing(trading, exchange_node):
    async with trading() as trader:
        for request in (
            pb.SubmitRequest(session_id=999, sequence=1, commands=[new(1, pb.SIDE_BUY, "1", "1")]),
            pb.SubmitRequest(session_id=999, sequence=1, packed=packed_batch()),
        ):
            response = await trader.stub.Submit(request)
            assert response.status == machine_pb2.SESSION_STATUS_UNKNOWN_SESSION
            assert not response.reports and not response.packed and not response.exchange_time
        request = pb.AddInstrumentRequest(session_id=999, sequence=1, symbol="X", tick_size="1", lot_size="1")
        assert (await trader.stub.AddInstrument(request)).status == machine_pb2.SESSION_STATUS_UNKNOWN_SESSION


# --- leadership ----------------------------------------------------------------------------


async def test_typed_commands_wait_once_per_leadership_until_the_leader_has_caught_up(trading, exchange_node):
    async with trading() as trader:
        for cl_ord_id in (1, 2):
            await trader.submit(new(cl_ord_id, pb.SIDE_BUY, "1", "1"))
        assert exchange_node.read_indexes == 1
        exchange_node.lead(False)
        exchange_node.lead(True)
        await trader.submit(new(3, pb.SIDE_BUY, "1", "1"))
        assert exchange_node.read_indexes == 2
        await trader.stub.Submit(trader.request(packed=packed_batch(packed_new(4, Side.BUY, 1, 1))))
        assert exchange_node.read_indexes == 2


async def test_leadership_that_changes_during_the_wait_is_waited_for_again(trading, exchange_node):
    async with trading() as trader:
        real = exchange_node.read_index

        async def unsettled():
            if exchange_node.read_indexes == 0:
                exchange_node.lead(False)
                exchange_node.lead(True)
            return await real()

        exchange_node.read_index = unsettled
        await trader.submit(new(1, pb.SIDE_BUY, "1", "1"))
        assert exchange_node.read_indexes == 2


async def test_a_follower_names_the_leader(trading, exchange_node, failing):
    async with trading() as trader:
        exchange_node.lead(False)
        exchange_node.leader_id, exchange_node.leader_address = "node2", "127.0.0.1:7002"
        typed = trader.request(new(1, pb.SIDE_BUY, "1", "1"))
        packed = pb.SubmitRequest(session_id=trader.session, sequence=2, packed=packed_batch())
        listing = pb.AddInstrumentRequest(
            session_id=trader.session, sequence=2, symbol="X", tick_size="1", lot_size="1"
        )
        for call in (
            trader.stub.Submit(typed),
            trader.stub.Submit(packed),
            read_all(trader.stub.Stream(iter([packed]))),
            trader.stub.AddInstrument(listing),
        ):
            text, metadata = await failing(call, grpc.StatusCode.UNAVAILABLE)
            assert text == str(NotLeaderError("node2", "127.0.0.1:7002"))
            assert metadata["matchengine-leader"] == "127.0.0.1:7002"
            assert metadata["matchengine-reason"] == "not-leader"
        assert exchange_node.read_indexes == 0


# --- streams -------------------------------------------------------------------------------


async def test_a_stream_mixes_packed_and_typed_batches(trading):
    async with trading() as trader:
        requests = [
            trader.request(packed=packed_batch(packed_new(1, Side.SELL, 5, 10_000))),
            trader.request(new(2, pb.SIDE_BUY, "2", "100")),
            trader.request(packed=packed_batch(packed_new(3, Side.BUY, 3, 10_000))),
        ]
        first, second, third = await read_all(trader.stub.Stream(iter(requests)))
        assert [first.sequence, second.sequence, third.sequence] == [2, 3, 4]
        assert first.packed and not first.reports
        assert not second.packed and [r.exec_type for r in second.reports] == ["0", "F", "F"]
        assert third.packed and not third.reports


async def test_a_bad_batch_ends_the_stream_after_the_earlier_answers(trading):
    async with trading() as trader:
        call = trader.stub.Stream()
        await call.write(trader.request(new(1, pb.SIDE_BUY, "1", "1")))
        await call.write(trader.request(packed=b"\xff"))
        assert (await call.read()).reports[0].exec_type == "0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is INVALID
        trader.sequence -= 1
        assert await trader.submit(new(2, pb.SIDE_BUY, "1", "1"))


def raw_stream(channel):
    """``OrderEntry.Stream`` for a client that writes whatever bytes it likes."""
    method = "/matchengine.v1.OrderEntry/Stream"
    return channel.stream_stream(method, request_serializer=bytes, response_deserializer=pb.SubmitResponse.FromString)()


async def test_bytes_that_are_no_message_end_the_stream_after_the_earlier_answers(serving, exchange_node):
    async with serving(exchange_node, exchange_services) as channel:
        trader = await Trader.open(channel)
        await trader.list()
        call = raw_stream(channel)
        await call.write(trader.request(new(1, pb.SIDE_BUY, "1", "1")).SerializeToString())
        await call.write(b"\xff\xff")
        assert (await call.read()).reports[0].exec_type == "0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is INVALID
        assert "the bytes are no message of this method" in caught.value.details()
        assert await trader.submit(new(2, pb.SIDE_BUY, "1", "1"))


@pytest.mark.parametrize(
    "method",
    [
        "matchengine.v1.OrderEntry/Submit",
        "matchengine.v1.OrderEntry/AddInstrument",
        "matchengine.v1.MarketData/Depth",
        "matchengine.v1.Machine/Apply",
        "matchengine.v1.Sessions/Open",
        "matchengine.v1.Cluster/Status",
        "RaftAdmin/AddVoter",
    ],
)
async def test_bytes_that_are_no_message_are_refused_whatever_the_method(
    serving, exchange_node, failing, caplog, method
):
    async with serving(exchange_node, exchange_services) as channel:
        call = channel.unary_unary(f"/{method}", request_serializer=bytes)
        text, metadata = await failing(call(b"\xff\xff"), INVALID)
        assert text == "request: the bytes are no message of this method"
        assert metadata["matchengine-reason"] == "invalid"
        assert not exchange_node.proposed
    assert not caplog.records


NASTY = {
    "no message": lambda trader: b"\xff\xff",
    "an empty message": lambda trader: b"",
    "a batch cut short": lambda trader: trader.request(packed=packed_batch(b"x" * 47)),
    "a newer layout": lambda trader: trader.request(packed=BATCH_HEADER.pack(VERSION + 1, KIND_ORDERS, 0, 0)),
    "too many commands": lambda trader: trader.request(*[pb.Command()] * 10_000),
    "more commands than bytes": lambda trader: trader.request(packed=BATCH_HEADER.pack(VERSION, 1, 0, 2**32 - 1)),
    "a session that is gone": lambda trader: pb.SubmitRequest(session_id=10**9, sequence=1, packed=packed_batch()),
    "a gap": lambda trader: pb.SubmitRequest(session_id=trader.session, sequence=9, packed=packed_batch()),
    "one number for all": lambda trader: pb.SubmitRequest(session_id=trader.session, sequence=1, packed=packed_batch()),
    "records of chance": lambda trader: trader.request(packed=packed_batch(bytes(range(48)), bytes(range(200, 248)))),
    "an unknown instrument": lambda trader: trader.request(new(1, pb.SIDE_BUY, "1", "1", symbol="NOPE")),
}


@pytest.mark.parametrize("what", NASTY)
async def test_whatever_one_client_sends_the_others_trade_on(serving, exchange_node, what):
    async with serving(exchange_node, exchange_services) as channel:
        good, bad = await Trader.open(channel), await Trader.open(channel)
        await good.list()
        call = good.stub.Stream()
        for name in range(1, 4):
            sent = NASTY[what](bad)
            hostile = raw_stream(channel)
            await hostile.write(sent if isinstance(sent, bytes) else sent.SerializeToString())
            await call.write(good.request(new(name, pb.SIDE_BUY, "1", "1")))
            with contextlib.suppress(grpc.aio.AioRpcError):
                await hostile.read()
            (report,) = (await call.read()).reports
            assert (report.exec_type, report.cl_ord_id) == ("0", name)
        levels, _ = exchange_node.machine.inner.engine.depth(1, 9)
        assert levels == [(100, 3, 3)]


@pytest.mark.parametrize(
    ("sequence", "acknowledged", "status"),
    [
        (4, 0, machine_pb2.SESSION_STATUS_SEQUENCE_GAP),
        (2**64 - 1, 2**64 - 2, machine_pb2.SESSION_STATUS_SEQUENCE_GAP),
        (1, 0, machine_pb2.SESSION_STATUS_ALREADY_ACKNOWLEDGED),
    ],
)
async def test_a_sequence_out_of_turn_is_answered_and_executes_nothing(trading, sequence, acknowledged, status):
    async with trading() as trader:
        first = trader.request(new(1, pb.SIDE_BUY, "1", "1"))
        await trader.stub.Submit(first)
        odd = pb.SubmitRequest(
            session_id=trader.session,
            sequence=sequence,
            acknowledged=acknowledged,
            packed=packed_batch(packed_new(9, Side.BUY, 1, 1)),
        )
        later = trader.request(new(2, pb.SIDE_BUY, "1", "1"))
        answers = await read_all(trader.stub.Stream(iter([odd, later])))
        assert [answer.status for answer in answers] == [status, machine_pb2.SESSION_STATUS_OK]
        (unknown,) = await trader.submit(pb.Command(account=7, cancel=pb.CancelOrder(orig_cl_ord_id=9)))
        assert unknown.reason == "UNKNOWN_ORDER"


# --- instruments ---------------------------------------------------------------------------


async def test_instruments_are_listed_through_the_log(trading):
    async with trading() as trader:
        second = await trader.list("MSFT", "0.05", "10")
        assert (second.instrument, second.reason, second.sequence) == (2, "", 2)
        duplicate = await trader.list("MSFT", "0.05", "10")
        assert (duplicate.instrument, duplicate.reason) == (0, "DUPLICATE_INSTRUMENT")


@pytest.mark.parametrize(
    ("symbol", "tick", "lot", "text"),
    [
        ("", "1", "1", "symbol: '' is not printable ASCII without spaces"),
        ("X", "0", "1", "tick_size: 0 is not above 0"),
        ("X", "1", "x", "lot_size: 'x' is not a decimal number such as 0.01"),
    ],
)
async def test_bad_definitions_are_refused_by_name(trading, exchange_node, failing, symbol, tick, lot, text):
    async with trading() as trader:
        proposed = len(exchange_node.proposed)
        assert (await failing(trader.list(symbol, tick, lot), INVALID))[0] == text
        assert len(exchange_node.proposed) == proposed


async def test_a_sequence_that_was_used_for_something_else(trading, failing):
    async with trading() as trader:
        reused = {"session_id": trader.session, "sequence": 2}
        await trader.submit(new(1, pb.SIDE_BUY, "1", "1"))
        request = pb.AddInstrumentRequest(**reused, symbol="X", tick_size="1", lot_size="1")
        text, _ = await failing(trader.stub.AddInstrument(request), INVALID)
        assert text == "sequence: 2 was used for another command, which took effect"
        await trader.list("MSFT")
        request = pb.SubmitRequest(session_id=trader.session, sequence=3, commands=[new(2, pb.SIDE_BUY, "1", "1")])
        text, _ = await failing(trader.stub.Submit(request), INVALID)
        assert text == "sequence: 3 was used for another command, which took effect"


async def read_all(call):
    answers = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        answers.append(answer)
    return answers
