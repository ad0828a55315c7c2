"""Asking the leader for a read index: over the Peer service of our own, or else with a barrier over RaftAdmin."""

from __future__ import annotations

import asyncio

import grpc

from matchengine.errors import NotLeaderError
from matchengine.transport.pending import BROKEN, raise_if_cancelled
from matchengine.v1.cluster_pb2 import ReadIndexRequest
from matchengine.v1.cluster_pb2_grpc import PeerStub
from matchengine.wire import raft_admin_pb2
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub


class LeaderReader:
    """One channel, to whoever led last."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._address = ""
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def read_index(self, address: str) -> int:
        """The leader's read index; NotLeaderError when it does not answer or leads no more."""
        try:
            return await self._ask(self._channel_to(address))
        except BROKEN as error:
            raise_if_cancelled()
            raise NotLeaderError from error

    async def _ask(self, channel: grpc.aio.Channel) -> int:
        try:
            response = await PeerStub(channel).ReadIndex(ReadIndexRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            return await self._barrier(RaftAdminStub(channel))
        return int(response.index)

    async def _barrier(self, stub: RaftAdminStub) -> int:
        """A leader of HashiCorp Raft gives no read index, but an entry behind all that is committed serves as well."""
        operation = await stub.Barrier(raft_admin_pb2.BarrierRequest(), timeout=self._timeout_s)
        try:
            outcome = await stub.Await(operation, timeout=self._timeout_s)
        finally:
            await stub.Forget(operation, timeout=self._timeout_s)  # it keeps what nobody forgets
        if outcome.error:
            raise NotLeaderError
        return int(outcome.index)

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
