"""Requests that become log entries: one by one, or in a stream that keeps many under way.

A stream proposes each request as soon as it has been read and answers strictly in the order of the
requests, large ones in slices.  The first failure ends it, after all earlier answers were written, with that failure's
status.  Later requests of the stream may have been proposed already; their sequences leave a gap behind
the failed one, so the session table refuses them, and a client that retries in order loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from matchengine.errors import MatchEngineError
from matchengine.service.errors import InvalidArgumentError, abort
from matchengine.service.slices import MAX_UNARY_BYTES, MAX_WHOLE_BYTES, Sliceable

if TYPE_CHECKING:
    from matchengine.node.engine import Outcome

#: Requests of one stream that may be unanswered; beyond either bound nothing more is read.
MAX_OUTSTANDING: Final = 64
MAX_OUTSTANDING_BYTES: Final = 16 * 1024 * 1024


class Sized(Sliceable, Protocol):
    """A protobuf message, as far as streams care."""

    def ByteSize(self) -> int:
        """Length of the serialised message."""
        ...


Q = TypeVar("Q", bound=Sized)
R = TypeVar("R")
Q_contra = TypeVar("Q_contra", bound=Sized, contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Proposer(Protocol[Q_contra, R_co]):
    """Turns requests into proposals, and their outcomes into responses."""

    async def propose(self, request: Q_contra) -> asyncio.Future[Outcome]:
        """Check and propose; raises MatchEngineError when nothing was proposed."""
        ...

    def slices(self, request: Q_contra, outcome: Outcome) -> Iterator[R_co]:
        """The responses to ``request``, whose entry was applied; making one takes a few milliseconds at most."""
        ...

    async def whole(self, request: Q_contra, outcome: Outcome, limit: int) -> R_co:
        """The one response to ``request``; raises TooLargeError when it would be above ``limit`` bytes."""
        ...


async def answer(proposer: Proposer[Q, R], request: Q) -> R:
    """One request, one response."""
    return await proposer.whole(request, await (await proposer.propose(request)), MAX_UNARY_BYTES)


async def answer_stream(proposer: Proposer[Q, R], context: grpc.aio.ServicerContext[Q, R]) -> None:
    """All requests of a stream, as described at the head of this module."""
    try:
        await _Stream(proposer, context).run()
    except MatchEngineError as error:
        await abort(context, error)


class _Pending(Generic[Q]):
    """A request under way."""

    __slots__ = ("future", "request", "size")

    def __init__(self, request: Q, size: int, future: asyncio.Future[Outcome]) -> None:
        self.request = request
        self.size = size
        self.future = future


class _End:
    """Nothing follows: the client has finished, or ``error`` stopped the reading."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class _Stream(Generic[Q, R]):
    def __init__(self, proposer: Proposer[Q, R], context: grpc.aio.ServicerContext[Q, R]) -> None:
        self._proposer = proposer
        self._context = context
        self._queue: asyncio.Queue[_Pending[Q] | _End] = asyncio.Queue()
        self._outstanding = 0
        self._outstanding_bytes = 0
        self._freed = asyncio.Event()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            await self._write()
        finally:
            reader.cancel()
            self._abandon()  # before the wait, during which the call may be cancelled
            await asyncio.wait([reader])

    async def _read(self) -> None:
        error: Exception | None = None
        try:
            request: object = await self._context.read()
            while request is not grpc.aio.EOF:
                await self._begin(cast("Q", request))
                request = await self._context.read()
        except DecodeError:
            error = InvalidArgumentError("request: the bytes are no message of this method; nothing was executed")
        except Exception as failure:  # noqa: BLE001 - whatever it is, the writer raises it once its turn has come
            error = failure
        self._queue.put_nowait(_End(error))

    async def _begin(self, request: Q) -> None:
        size = request.ByteSize()
        while self._outstanding >= MAX_OUTSTANDING or (
            self._outstanding and self._outstanding_bytes + size > MAX_OUTSTANDING_BYTES
        ):
            self._freed.clear()
            await self._freed.wait()
        future = await self._proposer.propose(request)
        self._outstanding += 1
        self._outstanding_bytes += size
        self._queue.put_nowait(_Pending(request, size, future))

    async def _write(self) -> None:
        while isinstance(item := await self._queue.get(), _Pending):
            await self._answer(item.request, await item.future)
            self._outstanding -= 1
            self._outstanding_bytes -= item.size
            self._freed.set()
        if item.error is not None:
            raise item.error

    async def _answer(self, request: Q, outcome: Outcome) -> None:
        if request.slices:
            for response in self._proposer.slices(request, outcome):
                await self._context.write(response)  # which waits for a slow reader, and lets all others go on
        else:
            await self._context.write(await self._proposer.whole(request, outcome, MAX_WHOLE_BYTES))

    def _abandon(self) -> None:
        """Nobody waits for what is left; cancelling spares the loop warnings about errors never looked at."""
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, _Pending):
                item.future.cancel()
