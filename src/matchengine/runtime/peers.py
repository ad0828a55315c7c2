"""Asking the leader for a read index, over the Peer service of our own."""

from __future__ import annotations

import asyncio

import grpc

from matchengine.errors import NotLeaderError
from matchengine.transport.pending import BROKEN, raise_if_cancelled
from matchengine.v1.cluster_pb2 import ReadIndexRequest
from matchengine.v1.cluster_pb2_grpc import PeerStub


class LeaderReader:
    """One channel, to whoever led last."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._address = ""
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def read_index(self, address: str) -> int:
        """The leader's read index; NotLeaderError when it does not answer or leads no more."""
        stub = PeerStub(self._channel_to(address))
        try:
            response = await stub.ReadIndex(ReadIndexRequest(), timeout=self._timeout_s)
        except BROKEN as error:
            raise_if_cancelled()
            raise NotLeaderError from error
        return int(response.index)

    async def close(self) -> None:
        """Close the channel; calls on it end with NotLeaderError."""
        self._retire()
        if self._closing:
            await asyncio.wait(self._closing)

    def _channel_to(self, address: str) -> grpc.aio.Channel:
        if self._channel is None or address != self._address:
            self._retire()
            self._address = address
            self._channel = grpc.aio.insecure_channel(address)
        return self._channel

    def _retire(self) -> None:
        """Close the channel without waiting: a reader must not find a half-closed one."""
        if self._channel is not None:
            task = asyncio.create_task(self._channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._channel = None
