"""One order at a time, by one unary client: how long an acknowledgement takes."""

from __future__ import annotations

import time

import grpc

from benchmarks.cluster import percentile, running_cluster
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, VERSION
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce
from matchengine.v1.exchange_pb2 import SubmitRequest
from matchengine.v1.exchange_pb2_grpc import OrderEntryStub
from matchengine.v1.machine_pb2 import OpenSessionRequest
from matchengine.v1.machine_pb2_grpc import SessionsStub

_WARM_UP = 200


def _order(number: int) -> bytes:
    side = Side.BUY if number % 2 else Side.SELL
    terms = OrdType.LIMIT | TimeInForce.GTC << 4
    order = COMMAND.pack(CommandType.NEW, side, terms, 0, 1, 1, 0, number, 0, 10_000 + number % 10, 1)
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, 1) + order


async def main(orders: int) -> None:
    """Print rate, median, p99 and worst in milliseconds."""
    async with running_cluster() as cluster:
        leader = next(s.address for s in await cluster.statuses() if s and s.role == "leader")
        async with grpc.aio.insecure_channel(leader) as channel:
            session = (await SessionsStub(channel).Open(OpenSessionRequest(client_name="bench"))).session_id
            submit = OrderEntryStub(channel).Submit
            took: list[float] = []
            for number in range(1, _WARM_UP + orders + 1):
                request = SubmitRequest(
                    session_id=session, sequence=number, acknowledged=number - 1, packed=_order(number)
                )
                began = time.perf_counter()
                await submit(request, timeout=10)
                took.append((time.perf_counter() - began) * 1000)
        fsync = max(s.fsync_us for s in await cluster.statuses() if s)
    took = took[_WARM_UP:]
    print(
        f"{orders} orders: {1000 * len(took) / sum(took):,.0f}/s, p50 {percentile(took, 0.5):.2f} ms, "
        f"p99 {percentile(took, 0.99):.2f} ms, worst {max(took):.1f} ms, fsync {fsync:.0f} us"
    )
