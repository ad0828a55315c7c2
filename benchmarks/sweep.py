"""One market order through very many resting orders: its answer arrives, and others hardly wait."""

from __future__ import annotations

import asyncio
import time

from benchmarks.cluster import SYMBOL, running_cluster
from matchengine.client.exchange import BUY, ExchangeClient
from matchengine.cluster.local import LocalCluster
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, COMMAND, MAX_COMMANDS, VERSION
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce

_PATIENCE_S = 120.0
_PAUSE_S = 0.02
_SETTLE_S = 2.0
_MAKER, _TAKER = 1, 2
_LIMIT_GTC = OrdType.LIMIT | TimeInForce.GTC << 4
_MARKET_IOC = OrdType.MARKET | TimeInForce.IOC << 4


async def main(orders: int) -> None:
    """Print how long the taker waits for all of its reports, how long another client does, and the elections."""
    async with (
        running_cluster() as cluster,
        ExchangeClient(cluster.addresses, account=_MAKER, timeout_s=_PATIENCE_S) as other,
        ExchangeClient(cluster.addresses, account=_TAKER, timeout_s=_PATIENCE_S) as taker,
    ):
        await _rest(other, orders)
        await asyncio.sleep(_SETTLE_S)
        before = await _term(cluster)
        waits: list[float] = []
        trading = asyncio.create_task(_trade(other, orders, waits))
        await asyncio.sleep(_SETTLE_S)
        at_rest = max(waits)
        waits.clear()
        began = time.perf_counter()
        answer = await taker.apply(_batch([_command(Side.BUY, _MARKET_IOC, _TAKER, 1, 0, orders)]))
        took_s = time.perf_counter() - began
        await asyncio.sleep(_SETTLE_S)
        trading.cancel()
        await asyncio.gather(trading, return_exceptions=True)
        elections = await _term(cluster) - before
    reports = ANSWER_HEADER.unpack_from(answer.packed)[3]
    print(
        f"{orders:,} resting orders: {reports:,} reports after {took_s:.2f} s, elections {elections}; longest wait of "
        f"another client {at_rest * 1000:.0f} ms before, {max(waits) * 1000:.0f} ms meanwhile"
    )


async def _rest(client: ExchangeClient, orders: int) -> None:
    answers = []
    for start in range(1, orders + 1, MAX_COMMANDS):
        ids = range(start, min(orders + 1, start + MAX_COMMANDS))
        records = [_command(Side.SELL, _LIMIT_GTC, _MAKER, cl_ord_id, 10_000, 1) for cl_ord_id in ids]
        answers.append(await client.submit(_batch(records)))
    await asyncio.gather(*answers)


async def _trade(client: ExchangeClient, taken: int, waits: list[float]) -> None:
    """One small order after the other, far from the market."""
    cl_ord_id = taken
    while True:
        cl_ord_id += 1
        began = time.perf_counter()
        await client.new_order(SYMBOL, BUY, "1", "1.00", cl_ord_id=cl_ord_id)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE_S)


def _command(side: Side, kind: int, account: int, cl_ord_id: int, price: int, quantity: int) -> bytes:
    return COMMAND.pack(CommandType.NEW, side, kind, 0, 1, account, 0, cl_ord_id, 0, price, quantity)


def _batch(records: list[bytes]) -> bytes:
    return BATCH_HEADER.pack(VERSION, 1, 0, len(records)) + b"".join(records)


async def _term(cluster: LocalCluster) -> int:
    return max(status.term for status in await cluster.statuses() if status)
