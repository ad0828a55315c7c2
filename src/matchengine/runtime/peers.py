"""Asking the leader for a read index, over the Peer service of our own."""

from __future__ import annotations

import grpc

from matchengine.errors import NotLeaderError
from matchengine.v1.cluster_pb2 import ReadIndexRequest
from matchengine.v1.cluster_pb2_grpc import PeerStub


class LeaderReader:
    """One channel, to whoever led last."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._address = ""
        self._channel: grpc.aio.Channel | None = None

    async def read_index(self, address: str) -> int:
        """The leader's read index; NotLeaderError when it does not answer or leads no more."""
        stub = PeerStub(await self._channel_to(address))
        try:
            response = await stub.ReadIndex(ReadIndexRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise NotLeaderError from error
        return int(response.index)

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _channel_to(self, address: str) -> grpc.aio.Channel:
        if self._channel is None or address != self._address:
            await self.close()
            self._address = address
            self._channel = grpc.aio.insecure_channel(address)
        return self._channel
