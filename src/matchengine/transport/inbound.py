"""The receiving side of a peer's call: its answer, and the snapshot that comes with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from matchengine.raft.messages import Response
from matchengine.raft.types import SnapshotMeta
from matchengine.storage.contracts import SnapshotSink
from matchengine.transport.wire import WireError

T = TypeVar("T")

#: Starts writing a snapshot; see :class:`~matchengine.storage.contracts.SnapshotStore`.
CreateSink: TypeAlias = Callable[[SnapshotMeta], SnapshotSink]

#: What is collected before it is handed to the disk.
_WRITE_BYTES: Final = 1024 * 1024
#: A sender that is silent for so long has broken off.
_SILENCE_S: Final = 30.0
#: How long the rest of a refused snapshot is read before the answer is sent all the same.
_DRAIN_S: Final = 30.0

_logger = logging.getLogger(__name__)


class Call:
    """An :class:`~matchengine.node.contracts.InboundCall`; what comes after its end is swallowed."""

    def __init__(self, sender: str, sender_address: str) -> None:
        self._sender = sender
        self._sender_address = sender_address
        #: The response, or the text of a failure; cancelled when the peer has gone.
        self.outcome: asyncio.Future[Response | str] = asyncio.get_running_loop().create_future()

    @property
    def sender(self) -> str:
        """See :class:`~matchengine.node.contracts.InboundCall`."""
        return self._sender

    @property
    def sender_address(self) -> str:
        """See :class:`~matchengine.node.contracts.InboundCall`."""
        return self._sender_address

    def answer(self, response: Response) -> None:
        """See :class:`~matchengine.node.contracts.InboundCall`."""
        if not self.outcome.done():
            self.outcome.set_result(response)

    def fail(self, error: str) -> None:
        """See :class:`~matchengine.node.contracts.InboundCall`."""
        if not self.outcome.done():
            self.outcome.set_result(error)

    def receive_snapshot(self, meta: SnapshotMeta, done: Callable[[str], None]) -> None:
        """See :class:`~matchengine.node.contracts.InboundCall`; only an InstallSnapshot brings one along."""
        asyncio.get_running_loop().call_soon(done, "the call brings no snapshot")


class SnapshotCall(Call):
    """A call whose stream is a snapshot.  ``first`` is the data that came with its first message."""

    def __init__(
        self,
        sender: str,
        sender_address: str,
        first: bytes,
        context: grpc.aio.ServicerContext[Any, Any],
        create_sink: CreateSink,
    ) -> None:
        super().__init__(sender, sender_address)
        self._first = first
        self._context = context
        self._create_sink = create_sink
        self._receiving: asyncio.Task[str] | None = None
        self._ended = False

    def receive_snapshot(self, meta: SnapshotMeta, done: Callable[[str], None]) -> None:
        """See :class:`~matchengine.node.contracts.InboundCall`."""
        loop = asyncio.get_running_loop()
        if self._receiving is not None or self.outcome.done():
            loop.call_soon(done, "the call has ended")
            return
        self._receiving = loop.create_task(self._receive(meta))
        self._receiving.add_done_callback(lambda task: done(_error_of(task)))

    def abandon(self) -> None:
        """The call has ended: a transfer that still runs is thrown away."""
        self.outcome.cancel()
        if self._receiving is not None:
            self._receiving.cancel()

    async def drain(self) -> None:
        """Read what nobody received, since some senders look for the answer only when they have sent everything."""
        if self._receiving is not None and not self._receiving.done():
            return  # answered before the transfer's end, as when the node stops: two must not read one stream
        try:
            async with asyncio.timeout(_DRAIN_S):
                while not self._ended:
                    await self._read()
        except TimeoutError:
            _logger.info("a refused snapshot of %s did not end within %s s", self.sender, _DRAIN_S)
        except WireError:
            return  # the refusal is what counts

    async def _receive(self, meta: SnapshotMeta) -> str:
        writer = _SinkThread(self._create_sink)
        try:
            await writer.run(writer.open, meta)
            if await self._copy(writer, meta.size) < meta.size:
                raise WireError("short read")
            await writer.run(writer.commit)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the peer and the core are told
            return str(error) or type(error).__name__
        finally:
            writer.close()
        return ""

    async def _copy(self, writer: _SinkThread, size: int) -> int:
        """Bytes written; returns when the stream has ended, and raises when more than ``size`` bytes come."""
        total, buffer = 0, bytearray()
        data = self._first or await self._next()
        while data:
            total += len(data)
            if total > size:
                raise WireError(f"size: more bytes come than the {size} that were announced")
            buffer += data
            if len(buffer) >= _WRITE_BYTES:
                await writer.run(writer.write, bytes(buffer))
                buffer.clear()
            data = await self._next()
        if buffer:
            await writer.run(writer.write, bytes(buffer))
        return total

    async def _next(self) -> bytes:
        """The next data, or ``b""`` at the end of the stream."""
        try:
            async with asyncio.timeout(_SILENCE_S):
                while not self._ended:
                    if data := await self._read():
                        return data
        except TimeoutError:
            raise WireError(f"no data came for {_SILENCE_S:g} s") from None
        return b""

    async def _read(self) -> bytes:
        try:
            message = await self._context.read()
        except DecodeError:
            self._ended = True
            raise WireError("the request is malformed") from None
        if message is grpc.aio.EOF:
            self._ended = True
            return b""
        return bytes(message.data)


def _error_of(task: asyncio.Task[str]) -> str:
    return "the call has ended" if task.cancelled() else task.result()


class _SinkThread:
    """A sink on a thread of its own, so that an abort comes after the write that it interrupts."""

    def __init__(self, create_sink: CreateSink) -> None:
        self._create_sink = create_sink
        self._sink: SnapshotSink | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="matchengine-snapshot")

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """``work(*args)`` on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def close(self) -> None:
        """Throw away what was not committed, and end the thread."""
        self._executor.submit(self._abort)
        self._executor.shutdown(wait=False)

    def open(self, meta: SnapshotMeta) -> None:
        """Create the sink."""
        self._sink = self._create_sink(meta)

    def write(self, chunk: bytes) -> None:
        """Append to the sink."""
        assert self._sink is not None
        self._sink.write(chunk)

    def commit(self) -> None:
        """Make the snapshot visible."""
        assert self._sink is not None
        self._sink.commit()
        self._sink = None

    def _abort(self) -> None:
        if self._sink is not None:
            try:
                self._sink.abort()
            except Exception:
                _logger.exception("a broken snapshot could not be removed")
