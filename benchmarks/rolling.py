"""Three nodes are replaced one by one, ours by HashiCorp Raft's and these by ours again, while orders come in."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import msgspec

from benchmarks.flow import BATCH, batches_of_pass, load_normal
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import LocalCluster
from matchengine.cluster.processes import NodeProcess, free_addresses
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, INSTRUMENT, KIND_INSTRUMENT, VERSION
from matchengine.runtime.config import EngineName
from matchengine.v1.exchange_pb2 import SubmitResponse

#: More than is asked for is sent, so that what is measured, pauses included, is at least that.
_AHEAD = 1.05
#: From ours to HashiCorp Raft's, and back.
JOURNEY: tuple[EngineName, ...] = ("hashicorp", "hashicorp", "hashicorp", "matchengine", "matchengine", "matchengine")


class RollingResult(msgspec.Struct, frozen=True):
    """``gap_s`` is the longest time without an acknowledgement; ``right``: the books are those of one engine alone."""

    orders: int
    orders_per_second: float
    gap_s: float
    right: bool
    hashes_agree: bool


async def main(data: Path, rate: int) -> None:
    """Print how it went."""
    commands = load_normal(data)
    if commands is None:
        return
    result = await roll(commands, rate, progress=print)
    print(
        f"{len(JOURNEY)} nodes replaced under {result.orders_per_second:,.0f} orders/s ({result.orders:,} orders): "
        f"longest gap {result.gap_s:.2f} s, lost or doubled nothing: {result.right}, "
        f"state hashes equal: {result.hashes_agree}"
    )
    if result.orders_per_second < rate:
        print(f"that is below the {rate:,} orders/s that were asked for")
    if not result.right:
        raise SystemExit("rolling: the books are not those of one engine alone")


async def roll(commands: bytes, rate: int, *, progress=lambda _text: None, journey=JOURNEY) -> RollingResult:
    """Replace nodes along ``journey`` while at least ``rate`` orders a second come in."""
    with work_folder(None) as folder:
        cluster = LocalCluster(3, folder, profile="hashicorp")
        try:
            await cluster.start()
            later = free_addresses(len(journey))
            async with ExchangeClient([*cluster.addresses, *later]) as client:
                load = _Load(client, commands, rate)
                sending = asyncio.create_task(load.run())
                moving = asyncio.create_task(_replace_all(cluster, folder, journey, later, progress))
                try:
                    await asyncio.wait((sending, moving), return_when=asyncio.FIRST_COMPLETED)
                    if not moving.done():
                        await sending  # it ends by an error only
                    await moving
                    load.stop()
                    await sending
                finally:
                    for task in (sending, moving):
                        task.cancel()
                hashes = {status.state_hash for status in await cluster.state_hashes()}
                return load.result(hashes)
        finally:
            await cluster.stop()


async def _replace_all(cluster, folder, journey, addresses, progress) -> None:
    for number, (engine, address) in enumerate(zip(journey, addresses, strict=True), len(cluster.nodes) + 1):
        old = cluster.nodes[0]
        new = NodeProcess(f"node{number}", address, folder, bootstrap=False, engine=engine, profile="hashicorp")
        began = time.perf_counter()
        await cluster.replace(old, new)
        progress(f"{old.id} ({old.engine}) -> {new.id} ({engine}): {time.perf_counter() - began:.1f} s")


class _Load:
    """Batches at a steady rate, one after the other through the recording, and again on the next instrument."""

    def __init__(self, client: ExchangeClient, commands: bytes, rate: int) -> None:
        self._client = client
        self._commands = commands
        self._rate = rate * _AHEAD
        self._stopped = False
        self._script: list[bytes] = []
        self._sent = 0
        self._orders = 0
        self._acknowledged = 0
        self._last = 0.0
        self._gap = 0.0
        self._began = 0.0

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        self._began = self._last = time.perf_counter()
        last: asyncio.Future[SubmitResponse] | None = None
        for number in count(1):
            symbol = f"ROLL{number}"
            await self._client.add_instrument(symbol, "1", "1")
            self._script.append(_instrument(symbol))
            for batch in batches_of_pass(self._commands, number):
                if self._stopped:
                    break
                await asyncio.sleep(max(0.0, self._began + self._sent * BATCH / self._rate - time.perf_counter()))
                last = await self._client.submit(batch)
                last.add_done_callback(self._answered)
                self._script.append(batch)
                self._sent += 1
                self._orders += len(batch) // COMMAND.size
            if self._stopped:
                break
        if last is not None:
            await last

    def _answered(self, answer: asyncio.Future[SubmitResponse]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        now = time.perf_counter()
        self._gap = max(self._gap, now - self._last)
        self._last = now
        self._acknowledged += 1

    def result(self, hashes: set[bytes]) -> RollingResult:
        """Hold the cluster's books against those of one engine that gets the same batches once."""
        right = self._acknowledged == self._sent and hashes == {_expected(self._script)}
        rate = self._orders / (self._last - self._began)
        return RollingResult(self._orders, rate, self._gap, right, len(hashes) == 1)


def _instrument(symbol: str) -> bytes:
    """What ``add_instrument(symbol, "1", "1")`` sends."""
    body = INSTRUMENT.pack(0, 0, len(symbol), 0, 1, 1) + symbol.encode()
    return BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + body


def _expected(batches: list[bytes]) -> bytes:
    engine = MatchingEngine()
    for batch in batches:
        engine.execute(batch, 0)
    return engine.state_hash()
