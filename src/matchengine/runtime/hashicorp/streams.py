"""Snapshots on connections of their own: the kernel's buffers are the only ones, and their bounds the backpressure.

Rules of this file: methods that say so run on the worker thread and block; everything else belongs to the loop.
A state is taken over by either side only when its end came, with the count of bytes that were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Final

from matchengine.errors import EngineError, RefusedError
from matchengine.raft.types import SnapshotMeta
from matchengine.runtime.hashicorp.frames import HEAD, U64, Kind, check_length, decode_number, frame, kind_of

_CHUNK: Final = 256 * 1024


class BrokenOffError(EngineError):
    """The other half is gone; why, it may have said elsewhere."""


class Stream:
    """A blocking connection that carries one state."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Write one frame; raises BrokenOffError when the other half is gone."""
        try:
            self._connection.sendall(frame(kind, body))
        except OSError as error:
            raise BrokenOffError(f"bridge: the other half is gone: {error}") from error

    def receive(self) -> tuple[Kind, bytes]:
        """Read one frame."""
        length, kind = HEAD.unpack(self._exactly(HEAD.size))
        check_length(length)
        return kind_of(kind), self._exactly(length - 1)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = self._connection.recv(min(size, _CHUNK))
            except OSError as error:
                raise BrokenOffError(f"bridge: the other half is gone: {error}") from error
            if not part:
                raise BrokenOffError("bridge: a snapshot broke off before its end")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """End the connection, also under a thread that waits on it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class BridgeSnapshots:
    """A :class:`~matchengine.storage.contracts.SnapshotStore` whose files are kept by the other half.

    ``captured`` is called on the loop when the state is frozen.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, captured: Callable[[int], None]) -> None:
        self._loop = loop
        self._captured = captured
        self._capture = 0
        self._arrivals: SimpleQueue[Stream | None] = SimpleQueue()
        self._incoming: Stream | None = None
        self._open: set[Stream] = set()

    # --- the loop's side -------------------------------------------------------------------

    def expect(self, capture: int) -> None:
        """The state that is captured next is for this snapshot."""
        self._capture = capture
        self._arrivals = SimpleQueue()

    def arrived(self, capture: int, stream: Stream) -> None:
        """The other half wants the state; one that was given up is not sent."""
        if capture == self._capture:
            self._open.add(stream)
            self._arrivals.put(stream)
        else:
            stream.close()

    def released(self, capture: int) -> None:
        """The other half is through with a snapshot; perhaps it never asked for the state."""
        if capture == self._capture:
            self._arrivals.put(None)

    def give_up(self) -> None:
        """Nobody may wait any longer for the other half to fetch a state."""
        self._capture = 0
        self._arrivals.put(None)

    def restore_from(self, stream: Stream) -> None:
        """The state that is restored next comes on this connection."""
        self._incoming = stream
        self._open.add(stream)

    def restored(self) -> None:
        """The state machine has taken the state over."""
        stream, self._incoming = self._incoming, None
        if stream is not None:
            stream.send(Kind.DONE)
            self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """Close a connection that has served."""
        self._open.discard(stream)
        stream.close()

    def close(self) -> None:
        """End all connections."""
        self.give_up()
        for stream in list(self._open):
            self.forget(stream)

    # --- the worker's side -----------------------------------------------------------------

    def create(self, meta: SnapshotMeta) -> _StreamSink:
        """Say that the state is frozen and wait until the other half fetches it; RefusedError when it does not."""
        arrivals = self._arrivals  # the next snapshot may be expected as soon as this one is reported
        self._loop.call_soon_threadsafe(self._captured, self._capture)
        stream = arrivals.get()
        if stream is None:
            raise RefusedError("the snapshot was given up")
        return _StreamSink(self, stream, meta)

    def newest(self) -> SnapshotMeta | None:
        """The other half decides what is restored."""
        return None

    def open(self, _meta: SnapshotMeta) -> Iterator[bytes]:
        """The chunks of the state that is coming in; raises EngineError unless it comes whole."""
        assert self._incoming is not None
        size = 0
        while True:
            kind, body = self._incoming.receive()
            if kind is Kind.CHUNK:
                size += len(body)
                yield body
            elif kind is Kind.END and decode_number(body) == size:
                return
            else:
                raise EngineError(f"bridge: {kind.name} after {size} bytes of a snapshot")

    def done(self, stream: Stream) -> None:
        """Close a connection on the loop's thread, which owns the list of them."""
        self._loop.call_soon_threadsafe(self.forget, stream)


class _StreamSink:
    """Writes one state; belongs to the worker."""

    def __init__(self, snapshots: BridgeSnapshots, stream: Stream, meta: SnapshotMeta) -> None:
        self._snapshots = snapshots
        self._stream = stream
        self._meta = meta
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Send state bytes."""
        for start in range(0, len(chunk), _CHUNK):
            self._stream.send(Kind.CHUNK, chunk[start : start + _CHUNK])
        self._size += len(chunk)

    def commit(self) -> SnapshotMeta:
        """Send the end and wait until the other half has the state on disk."""
        self._stream.send(Kind.END, U64.pack(self._size))
        kind, body = self._stream.receive()
        self._snapshots.done(self._stream)
        if kind is not Kind.DONE:
            raise EngineError(f"snapshot: not written: {body.decode(errors='replace')}")
        return self._meta

    def abort(self) -> None:
        """Break off: the other half throws away what it has."""
        self._snapshots.done(self._stream)
