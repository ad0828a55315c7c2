"""Both engines side by side on the same flow: rate, latency, CPU and memory by batch size, and the failover."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from pathlib import Path

from benchmarks.cluster import percentile
from benchmarks.flow import load_normal
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import ClusterEngine, LocalCluster
from matchengine.cluster.processes import process_stat
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, VERSION

BATCHES = (1, 64, 1024)
ENGINES: tuple[ClusterEngine, ...] = ("matchengine", "hashicorp")
_WINDOW = 32
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


async def main(data: Path, seconds: float) -> None:
    """Print a line per engine and batch size, and one per engine for the failover."""
    commands = load_normal(data)
    if commands is None:
        return
    for engine in ENGINES:
        for batch in BATCHES:
            print(f"{engine}, batches of {batch}: {await _run(engine, commands, batch, seconds)}", flush=True)


async def _run(engine: ClusterEngine, commands: bytes, batch: int, seconds: float) -> str:
    with work_folder(None) as folder:
        cluster = LocalCluster(3, folder, engine)
        try:
            await cluster.start()
            async with ExchangeClient(cluster.addresses, window=_WINDOW) as client:
                await client.add_instrument("BENCH", "1", "1")
                before = _cpu_s(cluster)
                messages, elapsed, latencies = await _send(client, commands, batch, seconds)
                cpu_us = (_cpu_s(cluster) - before) / messages * 1e6
                memory = _resident(cluster) / 2**20
                failover = await _failover(cluster, client, commands)
        finally:
            await cluster.stop()
    p50, p99 = (percentile(latencies, fraction) * 1000 for fraction in (0.5, 0.99))
    return (
        f"{messages / elapsed:,.0f} messages/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {cpu_us:.1f} us of CPU per message "
        f"and {memory:,.0f} MiB on three nodes, failover {failover * 1000:.0f} ms"
    )


async def _send(client: ExchangeClient, commands: bytes, batch: int, seconds: float) -> tuple[int, float, list[float]]:
    """Keep the window full for ``seconds``; messages, elapsed time, and the latency of every batch."""
    latencies: list[float] = []
    under_way: deque[asyncio.Future[object]] = deque()
    began, start = time.perf_counter(), 0
    while time.perf_counter() - began < seconds and start < len(commands):
        packed, start = _batch(commands, start, batch), start + batch * COMMAND.size
        sent = time.perf_counter()
        future = await client.submit(packed)
        future.add_done_callback(lambda _, sent=sent: latencies.append(time.perf_counter() - sent))
        under_way.append(future)
        while len(under_way) >= _WINDOW:
            await under_way.popleft()
    await asyncio.gather(*under_way)
    return min(start, len(commands)) // COMMAND.size, time.perf_counter() - began, latencies


def _batch(commands: bytes, start: int, batch: int) -> bytes:
    body = commands[start : start + batch * COMMAND.size]
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(body) // COMMAND.size) + body


async def _failover(cluster: LocalCluster, client: ExchangeClient, commands: bytes) -> float:
    """Kill the leader, and wait for the next acknowledgement."""
    victim = cluster.node_at(client.session.leader)
    began = time.perf_counter()
    victim.kill()
    await (await client.submit(_batch(commands, 0, 1)))
    return time.perf_counter() - began


def _total(cluster: LocalCluster, *fields: int) -> int:
    """The sum of these fields of stat over the nodes' processes and those that they have started."""
    return sum(process_stat(pid, field) for node in cluster.nodes for pid in node.family() for field in fields)


def _cpu_s(cluster: LocalCluster) -> float:
    return _total(cluster, 11, 12) / _CLOCK_TICKS


def _resident(cluster: LocalCluster) -> int:
    return _total(cluster, 21) * _PAGE
