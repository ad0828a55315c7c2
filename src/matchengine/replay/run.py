"""Sending a plan: to an engine in this process, or to nodes, with the leader killed on the way."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from typing import Final

import msgspec

from matchengine.client.exchange import ExchangeClient, ExchangeReader
from matchengine.cluster.local import LocalCluster
from matchengine.cluster.processes import ClusterError, NodeProcess
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.types import Reason
from matchengine.replay.answers import Answer
from matchengine.replay.leaders import Leaders
from matchengine.replay.lobster import book_differences
from matchengine.replay.plan import IN_FLIGHT_AT_KILL, Aim, Plan, Stretch
from matchengine.replay.workload import INSTRUMENT_NUMBER, BookRow, Workload
from matchengine.v1.exchange_pb2 import Level, SubmitResponse

_NO_PROGRESS_S: Final = 60.0
_REPORT_S: Final = 1.0
_DRAIN_S: Final = 0.003
_DRAIN_LIMIT_S: Final = 5.0


class Outcome(msgspec.Struct, frozen=True):
    """What a run gave.

    ``leader_engines`` are the engines of those that led, one after the other.
    ``seconds`` is from the first send to the last acknowledgement; ``fsync_us`` is None without a log.
    """

    answers: list[Answer]
    book_differences: int
    state_hashes: list[str]
    seconds: float
    failover_ms: list[float]
    in_flight_at_kill: list[int]
    leader_engines: list[str]
    fsync_us: float | None


def run_in_process(workload: Workload, plan: Plan) -> Outcome:
    """One engine, no log."""
    engine = MatchingEngine()
    engine.execute(workload.instrument_batch(), 0)
    stretches = [(stretch, [workload.batch(p.start, p.end) for p in stretch.pieces]) for stretch in plan.stretches]
    packed: list[bytes] = []
    differences = 0
    started = time.perf_counter()
    for stretch, batches in stretches:
        packed += [engine.execute(batch, 0) for batch in batches]
        if stretch.book is not None:
            bids, asks = engine.depth(INSTRUMENT_NUMBER, workload.levels)
            differences += book_differences(stretch.book, [a[:2] for a in asks], [b[:2] for b in bids])
    seconds = time.perf_counter() - started
    answers = [Answer(piece.start, each) for piece, each in zip(plan.pieces(), packed, strict=True)]
    return Outcome(answers, differences, [engine.state_hash().hex()], seconds, [], [], [], None)


class ClusterRun:
    """One run of a plan on a cluster of node processes."""

    def __init__(
        self, workload: Workload, plan: Plan, cluster: LocalCluster, client: ExchangeClient, reader: ExchangeReader
    ) -> None:
        self._workload = workload
        self._plan = plan
        self._cluster = cluster
        self._client = client
        self._reader = reader
        self._session = client.session
        self._pieces = plan.pieces()
        self._batches = [workload.batch(piece.start, piece.end) for piece in self._pieces]
        self._next = 0
        self._futures: list[asyncio.Future[SubmitResponse]] = []
        self._differences = 0
        self._killer = _Killer(cluster, client)
        self._leaders = Leaders(cluster, client)

    async def run(self) -> Outcome:
        """Create the instrument, send everything, wait for all nodes to agree on an index."""
        await self._add_instrument()
        self._base = self._session.acknowledged
        self._session.watch = self._look
        watchdog = asyncio.create_task(self._watchdog())
        sending = asyncio.create_task(self._send())
        try:
            await asyncio.wait((watchdog, sending), return_when=asyncio.FIRST_COMPLETED)
            (watchdog if watchdog.done() else sending).result()
            seconds = sending.result()
        finally:
            for task in (watchdog, sending):
                task.cancel()
            self._session.watch = None
        await self._killer.recovered()
        return await self._outcome(seconds)

    def _look(self) -> None:
        """Called after every batch written and every answer."""
        self._leaders.look()
        self._killer.look()

    async def _add_instrument(self) -> None:
        tick = "1" if not self._workload.price_decimals else f"0.{'1'.zfill(self._workload.price_decimals)}"
        created = await self._client.add_instrument(self._workload.symbol, tick, "1")
        if created.instrument != INSTRUMENT_NUMBER:
            raise ClusterError(f"the instrument could not be created: {created.reason or Reason.NONE.name}")

    async def _outcome(self, seconds: float) -> Outcome:
        answers = [Answer(p.start, f.result().packed) for p, f in zip(self._pieces, self._futures, strict=True)]
        statuses = await self._cluster.state_hashes()
        return Outcome(
            answers,
            self._differences,
            [status.state_hash.hex() for status in statuses],
            seconds,
            self._killer.failover_ms,
            self._killer.in_flight,
            self._leaders.engines,
            max(status.fsync_us for status in statuses),
        )

    # --- sending ---------------------------------------------------------------------------

    async def _send(self) -> float:
        started = time.perf_counter()
        for stretch in self._plan.stretches:
            if stretch.kill:
                await self._all_is_well()
                self._killer.arm(len(stretch.pieces))
            await self._send_stretch(stretch)
        await self._answered()
        return time.perf_counter() - started

    async def _send_stretch(self, stretch: Stretch) -> None:
        for number, _ in enumerate(stretch.pieces):
            # Whoever was made to lead may have lost its place again before it had a batch.
            handover = stretch.handover and (number == 0 or not self._leaders.differ)
            if handover:
                await self._all_is_well()
                await self._leaders.hand_over()
            self._futures.append(await self._client.submit(self._batches[self._next]))
            self._next += 1
            if handover:
                await self._answered()
        if stretch.book is not None:
            await self._answered()
            await self._compare(stretch.book)

    async def _all_is_well(self) -> None:
        """Wait until all nodes run and have caught up, and nothing is under way."""
        await self._killer.recovered()
        await self._answered()

    async def _answered(self) -> None:
        """Wait until everything sent so far is answered: answers come in order, so the last one will do."""
        if self._futures:
            await self._futures[-1]

    async def _compare(self, row: BookRow) -> None:
        depth = await self._reader.depth(self._workload.symbol, self._workload.levels)
        self._differences += book_differences(row, _levels(depth.asks), _levels(depth.bids))

    # --- watching --------------------------------------------------------------------------

    async def _watchdog(self) -> None:
        """Report progress on stderr; ClusterError when there is none for a minute, or a node is gone."""
        last, since = -1, time.monotonic()
        while True:
            await asyncio.sleep(_REPORT_S)
            self._cluster.check_running()
            done = self._acknowledged_messages()
            print(f"replay: {done:,} of {self._workload.messages:,} messages", file=sys.stderr, flush=True)
            if done != last:
                last, since = done, time.monotonic()
            elif time.monotonic() - since > _NO_PROGRESS_S:
                raise ClusterError(f"no progress for {_NO_PROGRESS_S:g} s{self._cluster.last_words()}")

    def _acknowledged_messages(self) -> int:
        count = self._session.acknowledged - self._base
        return self._pieces[count - 1].end if count > 0 else 0


def _levels(levels: Iterable[Level]) -> list[tuple[int, int]]:
    return [(level.price_ticks, level.quantity_lots) for level in levels]


class _Killer:
    """Kills the leader in the thick of it, starts it again, and times the failover.

    The leader is stopped first, for the milliseconds in which answers that had already left it come
    in: what is unanswered after that is known to be unacknowledged when SIGKILL follows.
    """

    def __init__(self, cluster: LocalCluster, client: ExchangeClient) -> None:
        self.failover_ms: list[float] = []
        self.in_flight: list[int] = []
        self._cluster = cluster
        self._session = client.session
        self._aim: Aim | None = None
        self._stopped_at: float | None = None
        self._streams = 0
        self._acknowledged = 0
        self._work: asyncio.Task[None] | None = None

    def arm(self, batches: int) -> None:
        """Kill the leader within the next ``batches`` batches; nothing is under way now."""
        self._aim = Aim(self._session.acknowledged, batches)
        self.look()

    def look(self) -> None:
        """Called after every batch written and every answer."""
        session = self._session
        if self._stopped_at is not None:
            self._time_failover(self._stopped_at)
        elif self._aim is not None and self._aim.reached(session.acknowledged, session.in_flight):
            self._aim = None
            self._stopped_at, self._streams = time.perf_counter(), session.streams
            victim = self._cluster.node_at(session.leader)
            victim.freeze()
            self._work = asyncio.create_task(self._kill(victim))

    async def recovered(self) -> None:
        """Wait until the last victim has caught up."""
        if self._work is not None:
            await self._work

    async def _kill(self, victim: NodeProcess) -> None:
        await self._drained()
        self.in_flight.append(self._session.in_flight)
        victim.kill()
        victim.start()
        await self._cluster.caught_up(victim)

    async def _drained(self) -> None:
        """Wait until no more answers come in and enough batches are unanswered."""
        session, acknowledged = self._session, -1
        try:
            async with asyncio.timeout(_DRAIN_LIMIT_S):
                while session.acknowledged != acknowledged or session.in_flight < IN_FLIGHT_AT_KILL:
                    acknowledged = session.acknowledged
                    await asyncio.sleep(_DRAIN_S)
        except TimeoutError:
            raise ClusterError(
                f"the leader was stopped to be killed, but {_DRAIN_LIMIT_S:g} s later {session.in_flight} batches are "
                f"unanswered and not {IN_FLIGHT_AT_KILL}{self._cluster.last_words()}"
            ) from None

    def _time_failover(self, stopped_at: float) -> None:
        """The failover ends with the first answer on a new stream."""
        if self._session.streams == self._streams:
            self._acknowledged = self._session.acknowledged
        elif self._session.acknowledged > self._acknowledged:
            self.failover_ms.append(round((time.perf_counter() - stopped_at) * 1000, 1))
            self._stopped_at = None
