"""One run: build the world, trade under faults, take the faults back, and judge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final, cast

import grpc
import msgspec

from matchengine.chaos.engines import Engine
from matchengine.chaos.faults import Faults
from matchengine.chaos.gauges import Gauges
from matchengine.chaos.history import LOT_SIZE, TICK_SIZE, History, Levels, Record, Refused, Submit, words
from matchengine.chaos.ledger import balance
from matchengine.chaos.model import BookModel
from matchengine.chaos.network import Network
from matchengine.chaos.nodes import Cluster, Place
from matchengine.chaos.relay import Relay
from matchengine.chaos.report import Linearizability, Operations, Report
from matchengine.chaos.schedule import LANES, Lane
from matchengine.chaos.traders import Market, Progress, Trader, depth, look
from matchengine.client.exchange import BUY, SELL, ExchangeClient, ExchangeReader
from matchengine.client.standing import look as look_at
from matchengine.cluster.folders import work_folder
from matchengine.errors import MatchEngineError
from matchengine.exchange.types import ExecType
from matchengine.testing.linearizability import Verdict, check

_START_S: Final = 120.0
_READ_S: Final = 60.0
_HASH_S: Final = 60.0
_SPARE_PLACES: Final = 1
_INSTRUMENTS_AT_ONCE: Final = 4
_ROUND_S: Final = 8.0
_MOST_LOOKS: Final = 5_000
_READERS: Final = 8
_TELL_EVERY_S: Final = 10.0
_PROBE: Final = "PROBE"


class _EndState(msgspec.Struct, frozen=True):
    """What the cluster is after the last fault: its books, the next order and trade number, whether all nodes agree."""

    recovery_s: float
    depths: dict[str, tuple[Levels, Levels]]
    next_order_id: int
    next_trade_id: int
    agree: bool


class Options(msgspec.Struct, frozen=True):
    """How long, how many, and from which seed; ``rate`` is what all clients together do in a second at most.

    The history is written to ``history`` if that is given.
    ``engines`` are dealt to the places in turn; the faults of ``lanes`` go on at the same time.  After the last one the
    cluster has twice ``recovery_s`` to be whole again.
    """

    minutes: float
    seed: int
    nodes: int
    clients: int
    rate: float
    engines: tuple[Engine, ...]
    work_dir: Path | None = None
    history: Path | None = None
    lanes: tuple[Lane, ...] = LANES
    recovery_s: float = 90.0


async def run_chaos(options: Options, tell: Callable[[str], None]) -> Report:
    """A whole run, within a sandbox (see :mod:`matchengine.chaos.sandbox`); ``tell`` hears how it goes.

    A cluster that does not come back after the last fault is judged by the history alone, and has failed.  Raises
    ClusterError when the world cannot be built, or when the cluster never starts.
    """
    with work_folder(options.work_dir) as folder:
        async with _world(options, folder) as (network, cluster):
            tell(f"delay and loss by {network.shaper}; disks: {cluster.places[0].disk.kind}")
            await cluster.start(options.nodes, _START_S)
            return await _Run(options, network, cluster, tell).run()


@contextlib.asynccontextmanager
async def _world(options: Options, folder: Path) -> AsyncIterator[tuple[Network, Cluster]]:
    relay = Relay(Random(f"{options.seed}/relay"))
    names = [f"n{number}" for number in range(1, options.nodes + _SPARE_PLACES + 1)]
    network = Network(names, relay)
    places: list[Place] = []
    cluster: Cluster | None = None
    try:
        network.build()
        for number, host in enumerate(network.hosts, 1):
            engine = options.engines[(number - 1) % len(options.engines)]
            places.append(Place(number, host, engine, folder))
            places[-1].disk.mount()
        cluster = Cluster(places)
        yield network, cluster
    finally:
        if cluster is not None:
            await cluster.stop()
        relay.close()
        for place in places:
            place.disk.unmount()


class _Run:
    def __init__(self, options: Options, network: Network, cluster: Cluster, tell: Callable[[str], None]) -> None:
        self._options = options
        self._network = network
        self._cluster = cluster
        self._tell = tell
        self._started = time.monotonic()
        self._history = History()
        self._progress = Progress()
        self._market = Market(cluster.addresses, _INSTRUMENTS_AT_ONCE, _ROUND_S)
        self._traders = [self._trader(number) for number in range(1, options.clients + 1)]
        self._faults = Faults(cluster, network, self._traders, self._say)
        self._gauges = Gauges(cluster.places)

    def _trader(self, number: int) -> Trader:
        chance = Random(f"{self._options.seed}/trader-{number}")
        rate = self._options.rate / self._options.clients
        return Trader(number, self._cluster.addresses, self._market, self._history, self._progress, chance, rate)

    async def run(self) -> Report:
        end: _EndState | None = None
        try:
            end = await self._until_the_end()
        except (MatchEngineError, grpc.aio.AioRpcError) as error:
            self._faults.problems.append(f"the cluster has no end state: {error}")
        finally:
            if self._options.history is not None:  # of all runs, those are looked at that came to no verdict
                self._history.write(self._options.history)
        await self._cluster.stop()
        self._say("judging the history")
        records = list(self._history.records())
        sums = balance(records, end.depths, end.next_order_id, end.next_trade_id) if end else None
        order = await asyncio.to_thread(self._judge)
        options = self._options
        return Report(
            options.seed,
            options.minutes,
            options.nodes,
            options.clients,
            tuple(engine.name for engine in options.engines),
            self._network.shaper,
            self._cluster.places[0].disk.kind,
            self._operations(records),
            {kind.value: count for kind, count in sorted(self._faults.done.items())},
            self._faults.full_disk_stops,
            sums,
            order,
            end is not None and end.agree,
            self._progress.longest_gap_s,
            self._progress.longest_gap_at_s,
            end.recovery_s if end else None,
            self._gauges.memory(),
            self._gauges.descriptors(),
            self._gauges.threads(),
            self._gauges.disk(),
            (*self._faults.problems, *self._gauges.growth()),
        )

    async def _until_the_end(self) -> _EndState:
        recovery_s = await self._trade()
        self._say("reading every book")
        depths = await self._final_reads()
        next_order_id, next_trade_id = await self._probe()
        standing = await look_at(self._cluster.admin, self._cluster_addresses(), _HASH_S)
        agree = standing.is_settled and not standing.differing_index
        return _EndState(recovery_s, depths, next_order_id, next_trade_id, agree)

    # --- trading under faults --------------------------------------------------------------

    async def _trade(self) -> float:
        """All of it at once; how many seconds the cluster took to be whole again after the last fault."""
        closing, quiet = asyncio.Event(), asyncio.Event()
        helpers = [
            asyncio.create_task(self._gauges.run(self._progress.look)),
            asyncio.create_task(self._market.run()),
            asyncio.create_task(self._tell_progress()),
        ]
        watching = asyncio.create_task(self._faults.watch(closing))
        traders = [asyncio.create_task(trader.run(closing)) for trader in self._traders]
        lanes = [asyncio.create_task(self._faults.run(lane, self._options.seed, quiet)) for lane in self._options.lanes]
        try:
            await _first_error([*helpers, watching, *traders, *lanes], self._options.minutes * 60)
            quiet.set()
            await asyncio.gather(*lanes)
            self._say("no more faults")
            return await self._recover(closing, [watching, *traders])
        finally:
            for task in (*helpers, watching, *traders, *lanes):
                task.cancel()
            await asyncio.gather(*helpers, watching, *traders, *lanes, return_exceptions=True)

    async def _recover(self, closing: asyncio.Event, last: Sequence[asyncio.Task[None]]) -> float:
        """All nodes voters again, and orders acknowledged; then the traders come to their end."""
        healed = time.monotonic()
        await self._cluster.until("all nodes are voters again", self._cluster.settle, self._options.recovery_s)
        acknowledged = self._progress.acknowledged

        async def trades() -> bool:
            return self._progress.acknowledged > acknowledged

        await self._cluster.until("orders are acknowledged again", trades, self._options.recovery_s)
        took_s = time.monotonic() - healed
        closing.set()
        await asyncio.gather(*last)
        return took_s

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            faults = sum(self._faults.done.values())
            self._say(f"{self._progress.acknowledged:,} batches acknowledged, {faults} faults")

    def _say(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self._started:7.1f} s  {text}")

    def _cluster_addresses(self) -> tuple[str, ...]:
        return tuple(place.address for place in self._cluster.inhabited)

    # --- the end state ---------------------------------------------------------------------

    async def _final_reads(self) -> dict[str, tuple[Levels, Levels]]:
        """Every book, and many of the orders that clients know; all of it becomes part of the history."""
        depths: dict[str, tuple[Levels, Levels]] = {}
        symbols = list(self._history.by_symbol)
        looks = [(trader.number, symbol, each) for trader in self._traders for symbol, each in trader.remembered()]
        Random(f"{self._options.seed}/looks").shuffle(looks)

        async def read(reader: ExchangeReader) -> None:
            while symbols:
                symbol = symbols.pop()
                result = (await depth(self._history, reader, symbol)).operation.result
                depths[symbol] = cast("tuple[Levels, Levels]", ((), ()) if isinstance(result, Refused) else result)

        async def read_orders(reader: ExchangeReader, number: int) -> None:
            for account, symbol, cl_ord_id in looks[:_MOST_LOOKS]:
                if account == number:
                    await look(self._history, reader, symbol, cl_ord_id)

        async with contextlib.AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(
                    ExchangeReader(self._cluster_addresses(), account=trader.number, timeout_s=_READ_S)
                )
                for trader in self._traders
            ]
            await asyncio.gather(*(read(reader) for reader in readers))
            await asyncio.gather(*(read_orders(reader, reader.account) for reader in readers))
        return depths

    async def _probe(self) -> tuple[int, int]:
        """The numbers that the exchange gives its next order and its next trade, on an instrument of its own."""
        async with ExchangeClient(self._cluster_addresses(), name="probe", timeout_s=_READ_S) as client:
            await client.add_instrument(_PROBE, TICK_SIZE, LOT_SIZE)
            reports = await client.new_order(_PROBE, SELL, "1", "1.00", cl_ord_id=2**62)
            reports += await client.new_order(_PROBE, BUY, "1", "1.00", cl_ord_id=2**62 + 1)
        orders = [report.order_id for report in reports if report.exec_type == chr(ExecType.NEW)]
        trades = [report.trade_id for report in reports if report.exec_type == chr(ExecType.TRADE)]
        return orders[0], trades[0]

    # --- judging ---------------------------------------------------------------------------

    def _judge(self) -> Linearizability:
        verdicts: dict[str, Verdict] = {}
        misfits: dict[str, str] = {}
        steps = 0
        for symbol, records in self._history.by_symbol.items():
            judgement = check(BookModel(), [record.operation for record in records])
            verdicts[symbol] = judgement.verdict
            steps += judgement.steps
            if judgement.explanation is not None:
                misfits[symbol] = judgement.explanation.text(words)
        undecided = tuple(symbol for symbol, verdict in verdicts.items() if verdict is Verdict.UNKNOWN)
        worst = Verdict.NOT_LINEARIZABLE if misfits else Verdict.UNKNOWN if undecided else Verdict.LINEARIZABLE
        return Linearizability(worst, len(verdicts), steps, undecided, misfits)

    def _operations(self, records: Sequence[Record]) -> Operations:
        writes = [record for record in records if isinstance(record.operation.call, Submit)]
        unknown = sum(record.operation.end is None for record in writes)
        lost = sum(trader.lost_sessions for trader in self._traders)
        return Operations(len(records), len(writes), len(records) - len(writes), unknown, lost)


async def _first_error(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Wait; raise what ended a task before its time."""
    done, _ = await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
