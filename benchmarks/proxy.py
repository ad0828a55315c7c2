"""What it costs that a node on HashiCorp Raft has one address: calls through the Go process, and without it.

One node, so that both ways share everything but the hop.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from itertools import islice
from pathlib import Path

import grpc

from benchmarks.cluster import percentile
from benchmarks.flow import BATCH, batches_of_pass, load_normal
from matchengine.client.channels import Channels
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import LocalCluster
from matchengine.v1.cluster_pb2 import StatusRequest
from matchengine.v1.cluster_pb2_grpc import ClusterStub
from matchengine.v1.exchange_pb2 import SubmitRequest
from matchengine.v1.exchange_pb2_grpc import OrderEntryStub
from matchengine.v1.machine_pb2 import SESSION_STATUS_OK, OpenSessionRequest
from matchengine.v1.machine_pb2_grpc import SessionsStub

_CALLS = 1_000
_BATCHES = 600
_WINDOW = 32
_ROUNDS = 4


async def main(data: Path) -> None:
    """Print the medians over some rounds, which alternate between both ways."""
    commands = load_normal(data)
    if commands is None:
        return
    with work_folder(None) as folder:
        cluster = LocalCluster(1, folder, "hashicorp")
        try:
            await cluster.start()
            node = cluster.nodes[0]
            ways = {"through the Go process": node.address, "straight": f"unix:{folder / node.id / 'run' / 'services'}"}
            await _compare(cluster, ways, commands)
        finally:
            await cluster.stop()


async def _compare(cluster: LocalCluster, ways: dict[str, str], commands: bytes) -> None:
    calls: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    channels = Channels()
    number = 0
    async with ExchangeClient(cluster.addresses) as client:
        for _ in range(_ROUNDS):
            for way, address in ways.items():
                number += 1
                await client.add_instrument(f"PASS{number}", "1", "1")
                channel = channels.get(address)
                calls[way] += await _unary(channel)
                rates[way].append(await _stream(channel, list(islice(batches_of_pass(commands, number), _BATCHES))))
    await channels.close()
    for way in ways:
        print(
            f"{way}: a status p50 {percentile(calls[way], 0.5):.0f} us, p99 {percentile(calls[way], 0.99):.0f} us; "
            f"a stream {statistics.median(rates[way]):,.0f} messages/s"
        )


async def _unary(channel: grpc.aio.Channel) -> list[float]:
    """Microseconds of each call."""
    status = ClusterStub(channel).Status
    took = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await status(StatusRequest())
        took.append((time.perf_counter() - began) * 1e6)
    return took


async def _stream(channel: grpc.aio.Channel, batches: list[bytes]) -> float:
    """Messages per second, with a window of batches under way."""
    session = (await SessionsStub(channel).Open(OpenSessionRequest(client_name="bench"))).session_id
    stream = OrderEntryStub(channel).Stream()
    under_way: deque[int] = deque()
    began = time.perf_counter()
    for sequence, batch in enumerate(batches, 1):
        while len(under_way) >= _WINDOW:
            await _answer(stream, under_way.popleft())
        request = SubmitRequest(
            session_id=session, sequence=sequence, acknowledged=sequence - 1 - len(under_way), packed=batch
        )
        await stream.write(request)
        under_way.append(sequence)
    while under_way:
        await _answer(stream, under_way.popleft())
    elapsed = time.perf_counter() - began
    stream.cancel()
    return len(batches) * BATCH / elapsed


async def _answer(stream: grpc.aio.StreamStreamCall, sequence: int) -> None:
    answer = await stream.read()
    if answer.sequence != sequence or answer.status != SESSION_STATUS_OK:
        raise SystemExit(f"batch {sequence}: {answer.sequence} {answer.status}")
