"""The network of a node: two gRPC channels to every peer, one for what is large and one for what is urgent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

import grpc
import msgspec

from matchengine.node.contracts import Outcome
from matchengine.raft.config import Timing
from matchengine.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    Request,
    RequestPreVote,
    RequestVote,
    Response,
    TimeoutNow,
)
from matchengine.raft.pace import WIDEST
from matchengine.raft.types import Server, ServerId
from matchengine.transport.appends import Appender
from matchengine.transport.outbound_snapshot import OpenSnapshot, send_snapshot
from matchengine.transport.pending import BROKEN, Pending, raise_if_cancelled
from matchengine.transport.reachability import Reachability
from matchengine.transport.wire import (
    WireError,
    decode_response,
    encode_append_entries,
    encode_request_pre_vote,
    encode_request_vote,
    encode_timeout_now,
    make_header,
)
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

#: What HashiCorp's nodes say over its own transport to a request that they are too old for.
_UNEXPECTED_COMMAND: Final = "unexpected command"
#: Small calls to one peer that may be on their way.
_MAX_CALLS: Final = 64
#: A channel that nobody used for so long is closed when another is opened.
_IDLE_S: Final = 60.0

#: Longest pause between two attempts to connect.
_MAX_BACKOFF_MS: Final = 500

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # The most that a stock gRPC server accepts; the core keeps far below.
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.enable_retries", 0),
    # A name that has moved to another address is looked up again this often, not every 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", _MAX_BACKOFF_MS),
    # Go servers hang up on clients that ping more often than every five minutes; deadlines find dead peers sooner.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Channels of one process would share a connection otherwise, and its fate.
    ("grpc.use_local_subchannel_pool", 1),
)

_logger = logging.getLogger(__name__)


class _Deadlines(msgspec.Struct, frozen=True):
    """What calls may take, in seconds, what connecting may take at the least, and when a peer counts as silent."""

    heartbeat: float
    vote: float
    timeout_now: float
    append: float
    connect: float
    silence: float


def _deadlines(timing: Timing) -> _Deadlines:
    election = timing.election_timeout_ms / 1000
    connect = max(_MAX_BACKOFF_MS / 1000, election)
    # Answers that come late still count, and tell the core how late: its timeouts widen up to as much.
    late = max(1.0, WIDEST * election)
    return _Deadlines(2 * timing.heartbeat_timeout_ms / 1000, late, election, late, connect, 2 * election)


def _channel_options(connect_s: float) -> tuple[tuple[str, int], ...]:
    """Under this name gRPC keeps what an attempt to connect may take: a busy or distant peer needs more than 0.1 s."""
    return (*_CHANNEL_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(1000 * connect_s)))


class GrpcNetwork:
    """See :class:`~matchengine.node.contracts.Network`.

    ``server_id`` and ``address`` are announced to peers.  ``open_snapshot(meta)`` gives the size
    and the bytes of a snapshot; it and the iterator are used on other threads.
    """

    def __init__(
        self,
        server_id: ServerId,
        address: str,
        timing: Timing,
        open_snapshot: OpenSnapshot,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._header = make_header(server_id, address)
        self._deadlines = _deadlines(timing)
        self._open_snapshot = open_snapshot
        self._loop = loop
        self._peers: dict[ServerId, _Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, to: Server, request: Request, outcome: Outcome) -> None:
        """See :class:`~matchengine.node.contracts.Network`."""
        pending = Pending(request, outcome, self._loop.time())
        if self._closed:
            self._loop.call_soon(pending.unanswered)
        else:
            self._peer(to).send(pending)

    async def close(self) -> None:
        """Close every channel; what waits for an answer is reported as unanswered."""
        self._closed = True
        for server_id in list(self._peers):
            self._retire(server_id)
        if self._closing:
            await asyncio.wait(self._closing)

    def _peer(self, to: Server) -> _Peer:
        peer = self._peers.get(to.id)
        if peer is not None and peer.address == to.address:
            return peer
        if peer is not None:
            self._retire(to.id)
        self._retire_idle()
        peer = _Peer(to, self._header, self._deadlines, self._open_snapshot, self._loop)
        self._peers[to.id] = peer
        return peer

    def _retire_idle(self) -> None:
        """Members come and go; their channels must not pile up."""
        before = self._loop.time() - _IDLE_S
        for server_id in [key for key, peer in self._peers.items() if peer.is_idle_since(before)]:
            self._retire(server_id)

    def _retire(self, server_id: ServerId) -> None:
        task = self._loop.create_task(self._peers.pop(server_id).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Peer:
    """The channels to one server's address and the calls on them.

    Heartbeats and votes have a connection of their own: on that of appends and snapshots they would wait behind
    megabytes, and a leader that is busy bringing a follower up would be taken for dead.
    """

    def __init__(
        self,
        server: Server,
        header: pb.RPCHeader,
        deadlines: _Deadlines,
        open_snapshot: OpenSnapshot,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.id = server.id
        self.address = address = server.address
        self._header = header
        self._deadlines = deadlines
        self._open_snapshot = open_snapshot
        self._loop = loop
        options = _channel_options(deadlines.connect)
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(2)]
        self._stub, self._urgent = (RaftTransportStub(channel) for channel in self._channels)
        self._reachability = Reachability(server.id, address, deadlines.silence, loop.time)
        self._appender = Appender(self._stub, header, self._decode, deadlines.append, loop)
        self._calls: set[asyncio.Task[None]] = set()
        self._snapshot: asyncio.Task[None] | None = None
        self._complaint = ""
        self._used_at = loop.time()

    def is_idle_since(self, time: float) -> bool:
        """Whether nothing was sent after ``time`` and nothing waits for an answer."""
        return self._used_at < time and not self._calls and self._appender.idle

    def send(self, pending: Pending) -> None:
        """Send by the way that the kind of request takes."""
        self._used_at = pending.sent_at
        match pending.request:
            case AppendEntries(is_heartbeat=False):
                self._appender.send(pending)
            case InstallSnapshot() as request:
                self._send_snapshot(pending, request)
            case _:
                self._send_small(pending)

    async def close(self) -> None:
        """Cancel the calls, which reports them, and close the channels."""
        for task in self._calls:
            task.cancel()
        await self._appender.close()
        if self._calls:
            await asyncio.wait(self._calls)
        for channel in self._channels:
            await channel.close()

    def _send_small(self, pending: Pending) -> None:
        if len(self._calls) >= _MAX_CALLS:
            self._loop.call_soon(pending.unanswered)
        else:
            self._start(self._small(pending), pending)

    def _send_snapshot(self, pending: Pending, request: InstallSnapshot) -> None:
        """A snapshot takes the place of one that is still on its way: the core has given that up."""
        if self._snapshot is not None:
            self._snapshot.cancel()
        self._snapshot = self._start(self._install(pending, request), pending)

    def _start(self, work: Coroutine[Any, Any, None], pending: Pending) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._calls.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            pending.unanswered()

        # Not in the task itself: one that is cancelled before it begins never runs.
        task.add_done_callback(ended)
        return task

    async def _small(self, pending: Pending) -> None:
        try:
            message = await self._call(pending.request)
            response = self._decode(pending.request, message)
        except BROKEN as error:
            raise_if_cancelled()
            self._reachability.failed(_reason(error))
            pending.unanswered(too_old=_is_too_old(pending.request, error))
        else:
            self._reachability.answered()
            pending.answered(response)

    def _call(self, request: Request) -> Any:
        stub, header, deadlines = self._urgent, self._header, self._deadlines
        match request:
            case AppendEntries():
                return stub.AppendEntries(encode_append_entries(header, request), timeout=deadlines.heartbeat)
            case RequestVote():
                return stub.RequestVote(encode_request_vote(header, request), timeout=deadlines.vote)
            case RequestPreVote():
                return stub.RequestPreVote(encode_request_pre_vote(header, request), timeout=deadlines.vote)
            case TimeoutNow():
                return stub.TimeoutNow(encode_timeout_now(header, request), timeout=deadlines.timeout_now)
        raise AssertionError(f"{type(request).__name__} is no small request")

    async def _install(self, pending: Pending, request: InstallSnapshot) -> None:
        try:
            response = await send_snapshot(self._stub, self._header, self._decode, request, self._open_snapshot)
        except WireError:
            return  # it has been told
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the core tries again
            self._complain(f"sending a snapshot to {self.address} failed: {_reason(error) or repr(error)}")
        else:
            self._complaint = ""
            pending.answered(response)

    def _decode(self, request: Request, message: Any) -> Response:
        try:
            return decode_response(self.id, request, message)
        except WireError as error:
            self._complain(f"an answer from {self.address} counts for nothing: {error}")
            raise

    def _complain(self, text: str) -> None:
        """Log a failure once: the core tries again and again."""
        if text != self._complaint:
            self._complaint = text
            _logger.warning("%s", text)


def _reason(error: BaseException) -> str:
    """What the log says of a failed call."""
    return str(error.details()) if isinstance(error, grpc.aio.AioRpcError) else str(error)


def _is_too_old(request: Request, error: BaseException) -> bool:
    """Whether the peer does not know pre-votes; HashiCorp's transport has them since 1.6.

    Taken for silence, no server of ours could win where one of the others is down.  The most that it can do wrongly is
    to let a candidate stand that gets no vote.
    """
    if not isinstance(request, RequestPreVote) or not isinstance(error, grpc.aio.AioRpcError):
        return False
    return error.code() is grpc.StatusCode.UNIMPLEMENTED or _UNEXPECTED_COMMAND in (error.details() or "")
