"""Clients that trade and read on a few instruments at a time, and note down every call with its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

from matchengine.chaos.history import (
    LOT_SIZE,
    TICK_SIZE,
    Command,
    Depth,
    History,
    Levels,
    Look,
    Record,
    Refused,
    Result,
    Submit,
    answer_of,
    depth_of,
    order_of,
)
from matchengine.client.exchange import ExchangeClient, ExchangeReader
from matchengine.errors import MatchEngineError, RefusedError
from matchengine.exchange.types import CommandType, ExecType, OrdType, ReplaceFlag, Side, TimeInForce
from matchengine.v1 import exchange_pb2 as pb

_PATIENCE_S: Final = 3.0
_READ_S: Final = 5.0
_OPEN_S: Final = 5.0
_WINDOW: Final = 8
_LAST_BATCHES: Final = 2
_LAST_MOMENT_S: Final = 0.01
_MIDDLE: Final = 10_000
_SPREAD: Final = 4
_MOST_OPEN: Final = 5
_LEVELS: Final = 1000


class Progress:
    """When writes were acknowledged."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.longest_gap_s = 0.0
        self.longest_gap_at_s = 0.0
        self._begun = self._last = time.monotonic()

    def note(self) -> None:
        """One more."""
        self.acknowledged += 1
        self.look()
        self._last = time.monotonic()

    def look(self) -> None:
        """A gap counts while it lasts."""
        gap_s = time.monotonic() - self._last
        if gap_s > self.longest_gap_s:
            self.longest_gap_s, self.longest_gap_at_s = gap_s, self._last - self._begun


class Market:
    """The instruments that are traded now: a new few every ``round_s``, so that no history gets long."""

    def __init__(self, addresses: Sequence[str], at_once: int, round_s: float) -> None:
        self.symbols: tuple[str, ...] = ()
        self.listed: list[str] = []
        self._addresses = addresses
        self._at_once = at_once
        self._round_s = round_s

    async def run(self) -> None:
        """List instruments and move trade on to them, until cancelled."""
        while True:
            with contextlib.suppress(MatchEngineError):
                async with ExchangeClient(self._addresses, name="market", timeout_s=_OPEN_S) as client:
                    while True:
                        await self._next_round(client)
                        await asyncio.sleep(self._round_s)
            await asyncio.sleep(0.1)

    async def _next_round(self, client: ExchangeClient) -> None:
        first = len(self.listed) // self._at_once * self._at_once
        symbols = tuple(f"I{first + number}" for number in range(self._at_once))
        for symbol in symbols:
            if symbol not in self.listed:
                # One whose outcome was unknown may exist already, which is as good.
                await client.add_instrument(symbol, TICK_SIZE, LOT_SIZE)
                self.listed.append(symbol)
        self.symbols = symbols


class Trader:
    """One account with a session of its own; it restarts, forgetting what was under way, when it is told to."""

    def __init__(
        self,
        number: int,
        addresses: Sequence[str],
        market: Market,
        history: History,
        progress: Progress,
        chance: Random,
        rate: float,
    ) -> None:
        self.number = number
        self.lost_sessions = 0
        self._addresses = addresses
        self._market = market
        self._history = history
        self._progress = progress
        self._chance = chance
        self._rate = rate
        self._last_id = 0
        self._open: dict[str, dict[int, int]] = defaultdict(dict)
        self._restart = asyncio.Event()
        self._under_way: set[asyncio.Future[pb.SubmitResponse]] = set()

    def remembered(self) -> Iterator[tuple[str, int]]:
        """Instrument and id of the orders that may still be open."""
        for symbol, orders in self._open.items():
            for cl_ord_id in orders:
                yield symbol, cl_ord_id

    def restart(self) -> None:
        """End the session as a crash would: nobody waits for what is under way."""
        self._restart.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Trade until ``stop``; then wait for what is under way."""
        reader = ExchangeReader(self._addresses, account=self.number, timeout_s=_READ_S)
        async with reader:
            while not stop.is_set():
                name = f"trader-{self.number}"
                client = ExchangeClient(
                    self._addresses, account=self.number, name=name, timeout_s=_OPEN_S, window=_WINDOW
                )
                try:
                    async with client:
                        await self._trade(client, reader, stop)
                except MatchEngineError:
                    self.lost_sessions += 1
                    await asyncio.sleep(0.1)

    async def _trade(self, client: ExchangeClient, reader: ExchangeReader, stop: asyncio.Event) -> None:
        self._restart.clear()
        while not self._restart.is_set() and not stop.is_set():
            await asyncio.sleep(self._chance.expovariate(self._rate))
            if self._market.symbols:
                symbol = self._chance.choice(self._market.symbols)
                await self._act(client, reader, symbol)
        if self._restart.is_set():
            await self._crash(client)
        elif self._under_way:
            await asyncio.wait(self._under_way, timeout=4 * _PATIENCE_S)

    async def _crash(self, client: ExchangeClient) -> None:
        """Leave in the middle of things: what is sent last has an outcome that nobody hears of."""
        symbols = self._market.symbols
        for _ in range(_LAST_BATCHES if symbols else 0):
            symbol = self._chance.choice(symbols)
            await self._queue(client, symbol, Submit((self._command(symbol),)))
        await asyncio.sleep(self._chance.uniform(0, _LAST_MOMENT_S))

    async def _act(self, client: ExchangeClient, reader: ExchangeReader, symbol: str) -> None:
        if self._chance.random() < 0.2:
            await self._read(reader, symbol)
            return
        count = self._chance.choice((1, 1, 1, 1, 1, 1, 2, 3))
        await self._submit(client, symbol, Submit(tuple(self._command(symbol) for _ in range(count))))

    # --- writing ---------------------------------------------------------------------------

    def _command(self, symbol: str) -> Command:
        """New orders mostly; changes of open ones, and sometimes of some that are no more."""
        mine = self._open[symbol]
        if mine and (len(mine) > _MOST_OPEN or self._chance.random() < 0.4):
            return self._change(self._chance.choice(list(mine)), mine)
        self._last_id += 1
        kind = self._chance.random()
        market, ioc = kind < 0.06, kind < 0.15
        if not ioc:
            mine[self._last_id] = 1
        return Command(
            CommandType.NEW,
            self.number,
            self._last_id,
            side=self._chance.choice((Side.BUY, Side.SELL)),
            ord_type=OrdType.MARKET if market else OrdType.LIMIT,
            time_in_force=TimeInForce.IOC if ioc else TimeInForce.GTC,
            price=0 if market else self._price(),
            quantity=self._chance.randint(1, 9),
        )

    def _change(self, cl_ord_id: int, mine: dict[int, int]) -> Command:
        kind = self._chance.random()
        quantity = self._chance.randint(1, 9)
        if kind < 0.4:
            mine.pop(cl_ord_id, None)
            return Command(CommandType.CANCEL, self.number, orig_cl_ord_id=cl_ord_id)
        if kind < 0.6:
            return Command(CommandType.REDUCE, self.number, orig_cl_ord_id=cl_ord_id, quantity=quantity)
        new_id = 0
        if self._chance.random() < 0.5:
            self._last_id += 1
            new_id = self._last_id
            mine.pop(cl_ord_id, None)
            mine[new_id] = 1
        flags = self._chance.choice((0, 0, ReplaceFlag.QUANTITY_IS_LEAVES, ReplaceFlag.LOSE_PLACE))
        return Command(
            CommandType.REPLACE, self.number, new_id, cl_ord_id, flags=flags, price=self._price(), quantity=quantity
        )

    def _price(self) -> int:
        return _MIDDLE + self._chance.randint(-_SPREAD, _SPREAD)

    async def _submit(self, client: ExchangeClient, symbol: str, call: Submit) -> None:
        """Wait for the answer, but not for ever: one that comes later still ends the operation."""
        future = await self._queue(client, symbol, call)
        if future is None:
            return
        restart = asyncio.create_task(self._restart.wait())
        waits: set[asyncio.Future[Any]] = {future, restart}
        await asyncio.wait(waits, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        restart.cancel()
        if future.done() and not future.cancelled():
            future.result()

    async def _queue(
        self, client: ExchangeClient, symbol: str, call: Submit
    ) -> asyncio.Future[pb.SubmitResponse] | None:
        """Note the batch down and hand it to the session; None when there is no room."""
        commands = [command.message(symbol) for command in call.commands]
        # Waiting for room belongs to the call: the batch may be sent at any moment from here on.
        record = self._history.begin(symbol, self.number, call)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                future = await client.submit(commands)
        except TimeoutError:
            self._history.forget(record)  # it was never queued
            return None
        except MatchEngineError:
            self._history.forget(record)
            raise
        self._under_way.add(future)
        future.add_done_callback(lambda done: self._answered(record, done))
        return future

    def _answered(self, record: Record, future: asyncio.Future[pb.SubmitResponse]) -> None:
        self._under_way.discard(future)
        if future.cancelled() or future.exception() is not None:
            return
        answer = answer_of(future.result())
        record.end(answer.told, answer)
        self._progress.note()
        self._learn(record.symbol, answer.told)

    def _learn(self, symbol: str, told: Sequence[tuple[object, ...]]) -> None:
        """Forget most of the orders that are no more; asking for a few of them is worth a try."""
        mine = self._open[symbol]
        for exec_type, _, _, _, _, account, cl_ord_id, *_, leaves, _ in told:
            over = exec_type in (ExecType.TRADE, ExecType.CANCELED) and leaves == 0
            if over and account == self.number and self._chance.random() < 0.8 and isinstance(cl_ord_id, int):
                mine.pop(cl_ord_id, None)

    # --- reading ---------------------------------------------------------------------------

    async def _read(self, reader: ExchangeReader, symbol: str) -> None:
        mine = self._open[symbol]
        with contextlib.suppress(MatchEngineError):
            if mine and self._chance.random() < 0.5:
                await look(self._history, reader, symbol, self._chance.choice(list(mine)))
            else:
                await depth(self._history, reader, symbol, self._chance.choice((1, 3, _LEVELS)))


async def depth(history: History, reader: ExchangeReader, symbol: str, levels: int = _LEVELS) -> Record:
    """Read a book, and note it down; raises NoLeaderError when no node answers."""

    async def read() -> tuple[Levels, Levels]:
        return depth_of(await reader.depth(symbol, levels))

    return await _noted(history.begin(symbol, reader.account, Depth(levels)), history, read)


async def look(history: History, reader: ExchangeReader, symbol: str, cl_ord_id: int) -> Record:
    """Read an order of the reader's account, and note it down; as :func:`depth`."""

    async def read() -> tuple[int, int, int, int] | None:
        return order_of(await reader.order(cl_ord_id=cl_ord_id))

    return await _noted(history.begin(symbol, reader.account, Look(reader.account, cl_ord_id)), history, read)


async def _noted(record: Record, history: History, read: Callable[[], Awaitable[Result]]) -> Record:
    try:
        record.end(await read())
    except RefusedError as error:
        # As of an instrument that was never listed: an answer like any other, and never the right one.
        record.end(Refused(str(error)))
    except BaseException:
        history.forget(record)
        raise
    return record
