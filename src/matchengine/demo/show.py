"""The demonstration itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from matchengine.client.exchange import BUY, SELL, ExchangeClient, ExchangeReader
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import ClusterEngine, LocalCluster
from matchengine.cluster.processes import ClusterError
from matchengine.demo.flow import ACCOUNT, OrderFlow
from matchengine.demo.ledger import Ledger, Levels, Verdict, levels_of
from matchengine.demo.screen import LADDER_LEVELS, Picture, Screen
from matchengine.exchange.types import ExecType
from matchengine.v1 import exchange_pb2 as pb

SYMBOL: Final = "DEMO"
_TICK: Final = "0.01"
_BATCHES_PER_S: Final = 50
_PICTURES_PER_S: Final = 5
_DOWN_S: Final = 1.5
_PATIENCE_S: Final = 60.0
#: Client ids of the orders that ask the exchange for its next numbers; the flow's stay far below.
_PROBE_ID: Final = 1 << 62
_PROBE_PRICE: Final = "1000000.00"


class DemoResult(msgspec.Struct, frozen=True):
    """The last line's numbers."""

    sent: int
    acknowledged: int
    lost: int
    doubled: int
    hashes_agree: bool

    @property
    def good(self) -> bool:
        """Whether everything is as it must be."""
        return self.sent == self.acknowledged and not self.lost and not self.doubled and self.hashes_agree

    def line(self) -> str:
        """For people."""
        agree = "yes" if self.hashes_agree else "no"
        return (
            f"sent {self.sent:,}, acknowledged {self.acknowledged:,}, lost {self.lost}, doubled {self.doubled}, "
            f"state hashes agree: {agree}"
        )


async def run_demo(
    seconds: float, seed: int, rate: int, screen: Screen, work_dir: Path | None, engine: ClusterEngine = "matchengine"
) -> DemoResult:
    """Three nodes, ``rate`` commands a second for ``seconds``, the leader killed half-way."""
    with work_folder(work_dir) as folder:
        cluster = LocalCluster(3, folder, engine)
        try:
            await cluster.start()
            async with (
                ExchangeClient(cluster.addresses, account=ACCOUNT, name="demo") as client,
                ExchangeReader(cluster.addresses) as reader,
            ):
                return await _Demo(cluster, client, reader, screen).run(seconds, seed, rate)
        finally:
            await cluster.stop()


class _Demo:
    def __init__(self, cluster: LocalCluster, client: ExchangeClient, reader: ExchangeReader, screen: Screen) -> None:
        self._cluster = cluster
        self._client = client
        self._reader = reader
        self._screen = screen
        self._ledger = Ledger()
        self._sent = 0
        self._acknowledged = 0
        self._story = ""

    async def run(self, seconds: float, seed: int, rate: int) -> DemoResult:
        created = await self._client.add_instrument(SYMBOL, _TICK, "1")
        flow = OrderFlow(seed, created.instrument)
        self._started = time.monotonic()
        with self._screen:
            await self._play(flow, seconds, rate)
        verdict = await self._verdict()
        statuses = await self._cluster.state_hashes()
        agree = len({status.state_hash for status in statuses}) == 1
        return DemoResult(self._sent, self._acknowledged, verdict.lost, verdict.doubled, agree)

    async def _play(self, flow: OrderFlow, seconds: float, rate: int) -> None:
        """The stream and the accident, until both are over; the first error ends all."""
        watching = asyncio.create_task(self._watch())
        acts = [asyncio.create_task(self._send(flow, seconds, rate)), asyncio.create_task(self._accident(seconds / 2))]
        try:
            async with asyncio.timeout(seconds + _PATIENCE_S):
                await asyncio.gather(*acts)
        except TimeoutError:
            raise ClusterError(f"no end after {seconds + _PATIENCE_S:g} s{self._cluster.last_words()}") from None
        finally:
            for task in (watching, *acts):
                task.cancel()

    # --- the stream ------------------------------------------------------------------------

    async def _send(self, flow: OrderFlow, seconds: float, rate: int) -> None:
        count = max(1, rate // _BATCHES_PER_S)
        last: asyncio.Future[pb.SubmitResponse] | None = None
        for number in range(int(seconds * rate / count)):
            await asyncio.sleep(self._started + number * count / rate - time.monotonic())
            last = await self._client.submit(flow.batch(count))
            last.add_done_callback(lambda answered: self._answered(answered, count))
            self._sent += count
        if last is not None:
            await last

    def _answered(self, answered: asyncio.Future[pb.SubmitResponse], count: int) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self._acknowledged += count
            self._ledger.take(answered.result().packed)

    async def _accident(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        victim = self._cluster.node_at(self._client.session.leader)
        streams, killed = self._client.session.streams, time.monotonic()
        victim.kill()
        self._story = f"{victim.id}, the leader, was killed"
        acknowledged = self._acknowledged
        while self._client.session.streams == streams or self._acknowledged == acknowledged:
            if self._client.session.streams == streams:
                acknowledged = self._acknowledged
            await asyncio.sleep(0.005)
        failover_ms = (time.monotonic() - killed) * 1000
        self._story += f"; orders were acknowledged again after {failover_ms:.0f} ms"
        await asyncio.sleep(_DOWN_S)
        victim.start()
        await self._cluster.caught_up(victim)
        self._story += f"; {victim.id} is back and has caught up"

    # --- what it came to -------------------------------------------------------------------

    async def _verdict(self) -> Verdict:
        """Hold the ledger against the whole book, and against the numbers that the next order and trade get."""
        depth = await self._reader.depth(SYMBOL, 0)
        found = _levels(depth)
        order_id, trade_id = await self._probe()
        return self._ledger.judge(found, order_id, trade_id)

    async def _probe(self) -> tuple[int, int]:
        """The numbers that the exchange gives its next order and its next trade.

        A sell that is far above the market rests; a buy that is as high then trades with the best
        ask, so there is a trade in any case.
        """
        reports = await self._client.send([_probe_order(_PROBE_ID, SELL), _probe_order(_PROBE_ID + 1, BUY)])
        orders = [report.order_id for report in reports if report.exec_type == chr(ExecType.NEW)]
        trades = [report.trade_id for report in reports if report.exec_type == chr(ExecType.TRADE)]
        return orders[0], trades[0]

    # --- pictures --------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            statuses = await self._cluster.statuses()
            roles = [(node.id, s.role if s else "down") for node, s in zip(self._cluster.nodes, statuses, strict=True)]
            depth = await self._reader.depth(SYMBOL, LADDER_LEVELS)
            self._screen.show(self._picture(roles, depth))
            await asyncio.sleep(1 / _PICTURES_PER_S)

    def _picture(self, roles: list[tuple[str, str]], depth: pb.DepthResponse) -> Picture:
        return Picture(
            time.monotonic() - self._started,
            self._sent,
            self._acknowledged,
            self._ledger.trades,
            roles,
            depth.asks,
            depth.bids,
            tuple(self._ledger.recent),
            self._story,
        )


def _probe_order(cl_ord_id: int, side: pb.Side) -> pb.Command:
    order = pb.NewOrder(
        cl_ord_id=cl_ord_id,
        symbol=SYMBOL,
        side=side,
        ord_type=pb.ORD_TYPE_LIMIT,
        time_in_force=pb.TIME_IN_FORCE_GTC,
        price=_PROBE_PRICE,
        quantity="1",
    )
    return pb.Command(account=ACCOUNT, new_order=order)


def _levels(depth: pb.DepthResponse) -> Levels:
    bids = [(level.price_ticks, level.quantity_lots, level.orders) for level in depth.bids]
    asks = [(level.price_ticks, level.quantity_lots, level.orders) for level in depth.asks]
    return levels_of(bids, asks)
