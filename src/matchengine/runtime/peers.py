"""What a node asks others beyond Raft: the leader for a read index, and any node for its feature levels.

A read index comes over the Peer service of our own, or else with a barrier over RaftAdmin.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import msgspec

from matchengine.errors import NotLeaderError
from matchengine.levels import Levels
from matchengine.transport.pending import BROKEN, raise_if_cancelled
from matchengine.v1.cluster_pb2 import ReadIndexRequest, StatusRequest
from matchengine.v1.cluster_pb2_grpc import ClusterStub, PeerStub
from matchengine.wire import raft_admin_pb2
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

#: By itself gRPC rests up to two minutes between attempts to connect, and half a minute between look-ups of a name:
#: a leader that was gone, or has moved, would be asked for nothing so long.
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)


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
            self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return self._channel

    def _retire(self) -> None:
        """Close the channel without waiting: a reader must not find a half-closed one."""
        if self._channel is not None:
            task = asyncio.create_task(self._channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._channel = None


class Announcement(msgspec.Struct, frozen=True):
    """What a node says of itself; ``id`` is empty where it does not say."""

    id: str
    newest: Levels


async def ask_levels(address: str, timeout_s: float) -> Announcement | None:
    """The newest feature levels of the node at ``address``; None when it does not answer in time.

    A node of an older program, or of HashiCorp Raft, announces none: that is level 0.0.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            status = await ClusterStub(channel).Status(StatusRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return Announcement("", Levels()) if error.code() is grpc.StatusCode.UNIMPLEMENTED else None
    newest = status.newest_levels
    return Announcement(status.id, Levels(newest.library, newest.machine))
