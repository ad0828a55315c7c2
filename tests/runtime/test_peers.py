"""Asking the leader for a read index while leaders change."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from matchengine.errors import NotLeaderError
from matchengine.runtime.peers import LeaderReader
from matchengine.v1.cluster_pb2 import ReadIndexRequest, ReadIndexResponse
from matchengine.v1.cluster_pb2_grpc import PeerServicer, add_PeerServicer_to_server


class Leader(PeerServicer):
    """Answers with ``index`` once ``gate`` is open."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.server = grpc.aio.server()
        add_PeerServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    async def ReadIndex(self, _request: ReadIndexRequest, _context: Any) -> ReadIndexResponse:
        self.asked.set()
        await self.gate.wait()
        return ReadIndexResponse(index=self.index)


def test_a_read_that_waits_for_a_former_leader_fails_and_the_next_one_works():
    async def scenario() -> None:
        old, new = Leader(1), Leader(2)
        for leader in (old, new):
            await leader.server.start()
        reader = LeaderReader(30)
        waiting = asyncio.ensure_future(reader.read_index(old.address))
        await old.asked.wait()
        new.gate.set()
        assert await asyncio.gather(*(reader.read_index(new.address) for _ in range(3))) == [2, 2, 2]
        with pytest.raises(NotLeaderError):
            await waiting
        await reader.close()
        for leader in (old, new):
            await leader.server.stop(0)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_reader_that_is_cancelled_is_cancelled():
    async def scenario() -> None:
        leader = Leader(1)
        await leader.server.start()
        reader = LeaderReader(30)
        waiting = asyncio.ensure_future(reader.read_index(leader.address))
        await leader.asked.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await reader.close()
        await leader.server.stop(0)

    asyncio.run(asyncio.wait_for(scenario(), 30))
