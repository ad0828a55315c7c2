"""Replication to one peer: requests leave in order, and one that waits too long for its answer ends them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final

import grpc

from matchengine.raft.messages import AppendEntries
from matchengine.transport.pending import BROKEN, Decode, Pending, raise_if_cancelled
from matchengine.transport.wire import WireError, encode_append_entries
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

#: Requests of one peer that may wait; the core keeps fewer in flight.
MAX_WAITING: Final = 128


class Appender:
    """Sends AppendEntries one by one until one was answered, then through a pipeline until that breaks.

    ``deadline_s`` is what one request may wait for its answer, its time in the queue included.
    """

    def __init__(
        self,
        stub: RaftTransportStub,
        header: pb.RPCHeader,
        decode: Decode,
        deadline_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._decode = decode
        self._stub = stub
        self._header = header
        self._deadline_s = deadline_s
        self._loop = loop
        self._unsent: deque[Pending] = deque()
        self._sent: deque[Pending] = deque()
        self._more = asyncio.Event()
        self._stream: Any = None
        self._watch: asyncio.TimerHandle | None = None
        self._task = loop.create_task(self._run())

    @property
    def idle(self) -> bool:
        """Whether nothing waits for an answer."""
        return not (self._unsent or self._sent)

    def send(self, pending: Pending) -> None:
        """Queue a request for AppendEntries."""
        if len(self._unsent) + len(self._sent) >= MAX_WAITING or self._task.done():
            self._loop.call_soon(pending.unanswered)
            return
        self._unsent.append(pending)
        self._more.set()
        if self._watch is None:
            self._watch = self._loop.call_at(pending.sent_at + self._deadline_s, self._check_oldest)

    async def close(self) -> None:
        """End the stream and report everything that waits as unanswered."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        if self._watch is not None:
            self._watch.cancel()
        self._give_up()

    async def _run(self) -> None:
        while True:
            if await self._probe():
                await self._pipeline()

    async def _probe(self) -> bool:
        """Send one request by itself; whether it was answered."""
        pending = await self._next()
        try:
            message = await self._stub.AppendEntries(self._encode(pending), timeout=self._deadline_s)
            self._answered(message)
        except BROKEN:
            raise_if_cancelled()
            self._give_up()
            return False
        return True

    async def _pipeline(self) -> None:
        """Send until the stream ends, however it does.

        What waited is reported only after the last read: a late answer must not pass for another request's.
        """
        stream = self._stream = self._stub.AppendEntriesPipeline()
        tasks = (self._loop.create_task(self._read(stream)), self._loop.create_task(self._write(stream)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stream = None
            stream.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._give_up()

    async def _write(self, stream: Any) -> None:
        with contextlib.suppress(*BROKEN):
            while True:
                await stream.write(self._encode(await self._next()))

    async def _read(self, stream: Any) -> None:
        with contextlib.suppress(*BROKEN):
            while (message := await stream.read()) is not grpc.aio.EOF:
                self._answered(message)

    async def _next(self) -> Pending:
        """Take the oldest request that was not sent."""
        while not self._unsent:
            self._more.clear()
            await self._more.wait()
        pending = self._unsent.popleft()
        self._sent.append(pending)
        return pending

    def _encode(self, pending: Pending) -> pb.AppendEntriesRequest:
        assert isinstance(pending.request, AppendEntries)
        return encode_append_entries(self._header, pending.request)

    def _answered(self, message: pb.AppendEntriesResponse) -> None:
        if not self._sent:
            raise WireError("an answer without a request")
        response = self._decode(self._sent[0].request, message)
        self._sent.popleft().answered(response)

    def _give_up(self) -> None:
        waiting = [*self._sent, *self._unsent]
        self._sent.clear()
        self._unsent.clear()
        for pending in waiting:
            pending.unanswered()

    def _check_oldest(self) -> None:
        """Break a stream whose oldest request has waited too long; a request by itself has gRPC's deadline."""
        self._watch = None
        if self.idle:
            return
        due = (self._sent or self._unsent)[0].sent_at + self._deadline_s
        if due <= self._loop.time():
            if self._stream is not None:
                self._stream.cancel()
            due = self._loop.time() + self._deadline_s
        self._watch = self._loop.call_at(due, self._check_oldest)
