"""How long a follower takes to answer heartbeats while it is busy with its disk.

This process plays the leader of one follower process with an exchange whose snapshot has 100 MB.  Heartbeats go out
every 10 ms while the follower loads such a snapshot, while it writes one, and while one disk write takes a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

import grpc

from benchmarks.cluster import percentile
from matchengine.cluster.folders import work_folder
from matchengine.cluster.processes import free_addresses
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, INSTRUMENT, KIND_INSTRUMENT, KIND_ORDERS, VERSION
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.exchange.types import CommandType, OrdType, Side, TimeInForce
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.types import Configuration, Server
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node
from matchengine.runtime.process import calm_the_collector
from matchengine.storage.files import OsFileSystem
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

_STATE_BYTES = 100_000_000
_BATCH = 1000
_TERM = 5
_SNAPSHOT_INDEX = 1000
_ENTRIES_UNTIL_SNAPSHOT = 50
_SLOW = b"\0slow disk"
_LEADER = "leader"
_INTERVAL_S = 0.01


def _large_state() -> list[bytes]:
    """Snapshot chunks of an exchange with so many resting orders, at 20,000 prices."""
    engine = MatchingEngine()
    engine.execute(BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + INSTRUMENT.pack(2, 0, 5, 0, 1, 1) + b"BENCH", 0)
    number, size = 0, 0
    while size < _STATE_BYTES:
        for _ in range(100):
            engine.execute(_orders(number), 0)
            number += _BATCH
        size = sum(map(len, engine.snapshot())) if number % 500_000 == 0 else 0
    return list(engine.snapshot())


def _orders(first: int) -> bytes:
    terms = OrdType.LIMIT | TimeInForce.GTC << 4
    records = [
        COMMAND.pack(CommandType.NEW, Side.BUY, terms, 0, 1, n % 50, 0, n + 1, 0, 1 + n * 7919 % 20_000, 5)
        for n in range(first, first + _BATCH)
    ]
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, _BATCH) + b"".join(records)


# --- the follower ---------------------------------------------------------------------------


def _slow_down() -> None:
    """Let a sync that follows the magic bytes take a second more."""
    sync, write = OsFileSystem.fdatasync, OsFileSystem.pwrite
    due: list[bool] = []

    def slow_write(self: OsFileSystem, fd: int, data: bytes, offset: int) -> int:
        if _SLOW in bytes(data):
            due.append(True)
        return write(self, fd, data, offset)

    def slow_sync(self: OsFileSystem, fd: int) -> None:
        if due:
            due.clear()
            time.sleep(1)
        sync(self, fd)

    OsFileSystem.pwrite = slow_write  # type: ignore[method-assign]
    OsFileSystem.fdatasync = slow_sync  # type: ignore[method-assign]


async def _serve(address: str, folder: str) -> None:
    _slow_down()
    policy = SnapshotPolicy(entries=_ENTRIES_UNTIL_SNAPSHOT)
    await (
        node := Node(NodeConfig("follower", address, Path(folder), snapshots=policy), ExchangeStateMachine())
    ).start()
    calm_the_collector()
    await node.wait_stopped()


# --- the leader -----------------------------------------------------------------------------


class _Leader:
    """Plays the leader over the wire."""

    def __init__(self, channel: grpc.aio.Channel, follower: str, state: list[bytes]) -> None:
        self._state = state
        self._stub = RaftTransportStub(channel)
        self._header = pb.RPCHeader(protocol_version=3, id=_LEADER.encode(), addr=b"127.0.0.1:1")
        servers = (Server(_LEADER, "127.0.0.1:1"), Server("follower", follower))
        self._configuration = encode_configuration(Configuration(servers))
        self.took_ms: list[float] = []

    async def heartbeat(self) -> None:
        request = pb.AppendEntriesRequest(rpc_header=self._header, term=_TERM, leader=b"127.0.0.1:1")
        began = time.perf_counter()
        await self._stub.AppendEntries(request, timeout=10)
        self.took_ms.append((time.perf_counter() - began) * 1000)

    async def beat(self) -> None:
        while True:
            await self.heartbeat()
            await asyncio.sleep(_INTERVAL_S)

    async def append(self, prev: int, data: Sequence[bytes]) -> None:
        entries = [pb.Log(index=prev + i, term=_TERM, data=each) for i, each in enumerate(data, 1)]
        request = pb.AppendEntriesRequest(
            rpc_header=self._header,
            term=_TERM,
            leader=b"127.0.0.1:1",
            prev_log_entry=prev,
            prev_log_term=_TERM,
            entries=entries,
            leader_commit_index=prev + len(entries),
        )
        if not (await self._stub.AppendEntries(request, timeout=60)).success:
            raise SystemExit("the follower refused entries")

    async def install(self) -> None:
        if not (await self._stub.InstallSnapshot(self._snapshot(), timeout=120)).success:
            raise SystemExit("the follower refused the snapshot")

    async def _snapshot(self) -> AsyncIterator[pb.InstallSnapshotRequest]:
        yield pb.InstallSnapshotRequest(
            rpc_header=self._header,
            snapshot_version=1,
            term=_TERM,
            leader=b"127.0.0.1:1",
            last_log_index=_SNAPSHOT_INDEX,
            last_log_term=_TERM,
            configuration=self._configuration,
            configuration_index=1,
            size=sum(map(len, self._state)),
        )
        for chunk in self._state:
            yield pb.InstallSnapshotRequest(data=chunk)


async def _measure(leader: _Leader, what: str, work: Awaitable[None]) -> None:
    leader.took_ms.clear()
    beating = asyncio.create_task(leader.beat())
    began = time.perf_counter()
    await work
    seconds = time.perf_counter() - began
    beating.cancel()
    took = leader.took_ms
    print(
        f"{what}: {seconds:.2f} s, {len(took)} heartbeats, p50 {percentile(took, 0.5):.1f} ms, "
        f"worst {max(took):.1f} ms",
        flush=True,
    )


async def _write_snapshot(leader: _Leader, folder: Path) -> None:
    """Make the follower take a snapshot, and wait until it is there."""
    await leader.append(_SNAPSHOT_INDEX, [b""] * _ENTRIES_UNTIL_SNAPSHOT)
    while await asyncio.to_thread(_count_snapshots, folder) < 2:  # noqa: ASYNC110 - another process writes them
        await asyncio.sleep(_INTERVAL_S)


def _count_snapshots(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.snap"))


async def _reachable(leader: _Leader) -> None:
    for _ in range(200):
        try:
            await leader.heartbeat()
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.1)
        else:
            return
    raise SystemExit("the follower did not start")


async def main() -> None:
    """Print the worst answer for each kind of work."""
    state = _large_state()
    with work_folder(None) as folder:
        (address,) = free_addresses(1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.heartbeats", address, str(folder / "data")
        )
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                leader = _Leader(channel, address, state)
                await _reachable(leader)
                print(f"snapshot of {sum(map(len, state)) / 1e6:.0f} MB", flush=True)
                await _measure(leader, "loading a snapshot", leader.install())
                await _measure(leader, "writing a snapshot", _write_snapshot(leader, folder))
                slow = leader.append(_SNAPSHOT_INDEX + _ENTRIES_UNTIL_SNAPSHOT, [_SLOW])
                await _measure(leader, "a disk write of one second", slow)
        finally:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
