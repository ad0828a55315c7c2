"""The RaftTransport service: peers' calls become requests for the core, and its responses their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from matchengine.node.contracts import InboundCall
from matchengine.raft.messages import Request
from matchengine.transport.inbound import Call, CreateSink, SnapshotCall
from matchengine.transport.strict import strict
from matchengine.transport.wire import (
    WireError,
    decode_append_entries,
    decode_header,
    decode_install_snapshot,
    decode_request_pre_vote,
    decode_request_vote,
    decode_timeout_now,
    encode_response,
    make_header,
)
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportServicer, add_RaftTransportServicer_to_server

#: Takes a peer's request; the call gets its answer later.
Handler: TypeAlias = Callable[[InboundCall, Request], None]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

#: Requests of one pipeline that may wait for their answers; beyond that it is not read.
_MAX_OUTSTANDING: Final = 64
#: A peer that is refused asks again and again; the log gets a line so often.
_COMPLAINT_EVERY_S: Final = 10.0
_MALFORMED: Final = "the request is malformed"

_logger = logging.getLogger(__name__)


class RaftTransportService(RaftTransportServicer):
    """Hands requests to ``handler`` on the loop's thread, in the order in which each peer sent them.

    ``server_id`` and ``address`` are announced in responses; ``create_sink`` opens the store for
    snapshots that come in and is called on another thread.  Failures of the core end a call with
    status UNKNOWN and their text, as HashiCorp's nodes expect it.
    """

    def __init__(
        self,
        server_id: str,
        address: str,
        handler: Handler,
        create_sink: CreateSink,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._header = make_header(server_id, address)
        self._handler = handler
        self._create_sink = create_sink
        self._loop = loop
        self._complained_at = -_COMPLAINT_EVERY_S

    async def AppendEntries(self, request: pb.AppendEntriesRequest, context: Context) -> Message:
        return await self._unary(request, context, decode_append_entries)

    async def RequestVote(self, request: pb.RequestVoteRequest, context: Context) -> Message:
        return await self._unary(request, context, decode_request_vote)

    async def RequestPreVote(self, request: pb.RequestPreVoteRequest, context: Context) -> Message:
        return await self._unary(request, context, decode_request_pre_vote)

    async def TimeoutNow(self, request: pb.TimeoutNowRequest, context: Context) -> Message:
        return await self._unary(request, context, decode_timeout_now)

    async def AppendEntriesPipeline(
        self, request_iterator: AsyncIterator[pb.AppendEntriesRequest], context: Context
    ) -> None:
        calls: asyncio.Queue[Call | None] = asyncio.Queue(_MAX_OUTSTANDING)
        reader = self._loop.create_task(self._read_pipeline(context, calls))
        try:
            while (call := await calls.get()) is not None:
                await context.write(await self._answer(call, context))
        finally:
            reader.cancel()
            while not calls.empty():
                if (call := calls.get_nowait()) is not None:
                    call.outcome.cancel()

    async def InstallSnapshot(
        self, request_iterator: AsyncIterator[pb.InstallSnapshotRequest], context: Context
    ) -> Message:
        first = await _read_first(context)
        try:
            call = SnapshotCall(*decode_header(first), first.data, context, self._create_sink)
            request = decode_install_snapshot(first)
        except WireError as error:
            await _fail(context, str(error))
        try:
            self._handler(call, request)
            await call.outcome
            await call.drain()
            return await self._answer(call, context)
        finally:
            call.abandon()

    async def _unary(self, message: Any, context: Context, decode: Callable[[Any], Request]) -> Message:
        return await self._answer(self._take(message, decode), context)

    async def _read_pipeline(self, context: Context, calls: asyncio.Queue[Call | None]) -> None:
        """Put a call for every request, in order, and None at the end; a refused request is the last."""
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                await calls.put(self._take(message, decode_append_entries))
        except DecodeError:
            await calls.put(_refused(_MALFORMED))
        finally:
            await calls.put(None)

    def _take(self, message: Any, decode: Callable[[Any], Request]) -> Call:
        """Hand a request to the handler; one that must not reach it has already failed."""
        try:
            call = Call(*decode_header(message))
            request = decode(message)
        except WireError as error:
            return _refused(str(error))
        self._handler(call, request)
        return call

    async def _answer(self, call: Call, context: Context) -> Message:
        """The response to send, once there is one; a failure ends the call here."""
        outcome = await call.outcome
        if isinstance(outcome, str):
            self._complain(call, outcome)
            await _fail(context, outcome)
        return encode_response(self._header, outcome)

    def _complain(self, call: Call, text: str) -> None:
        now = self._loop.time()
        if now - self._complained_at >= _COMPLAINT_EVERY_S:
            self._complained_at = now
            _logger.warning("a request of %s was refused: %s", call.sender or "an unnamed peer", text)


def _refused(text: str) -> Call:
    """A call that has failed already."""
    call = Call("", "")
    call.fail(text)
    return call


async def _read_first(context: Context) -> Any:
    """The first message of a stream; without one the call ends here."""
    try:
        first = await context.read()
    except DecodeError:
        await _fail(context, _MALFORMED)
    if first is grpc.aio.EOF:
        await _fail(context, "EOF")
    return first


async def _fail(context: Context, text: str) -> NoReturn:
    await context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises")


def add_transport(service: RaftTransportService, server: grpc.aio.Server) -> None:
    """Serve the Raft transport."""
    add_RaftTransportServicer_to_server(service, strict(server, _refuse_malformed))


async def _refuse_malformed(context: Context) -> NoReturn:
    await _fail(context, _MALFORMED)
