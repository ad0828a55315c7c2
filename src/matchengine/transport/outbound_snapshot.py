"""Sending a snapshot to a peer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, TypeAlias

from matchengine.raft.messages import InstallSnapshot, Response
from matchengine.raft.types import SnapshotMeta
from matchengine.transport.pending import BROKEN, Decode, raise_if_cancelled
from matchengine.transport.wire import encode_install_snapshot, encode_snapshot_data
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

#: The size of a snapshot and its bytes, in chunks of any length; may block.
OpenSnapshot: TypeAlias = Callable[[SnapshotMeta], tuple[int, Iterator[bytes]]]

_CHUNK_BYTES: Final = 64 * 1024
#: A peer that takes no chunk for so long has gone.
_PROGRESS_S: Final = 10.0
#: The peer makes the bytes durable and restores its state machine before it answers.
_ANSWER_S: Final = 300.0


async def send_snapshot(
    stub: RaftTransportStub,
    header: pb.RPCHeader,
    decode: Decode,
    request: InstallSnapshot,
    open_snapshot: OpenSnapshot,
) -> Response:
    """Stream the snapshot to the peer; the answer, or an error of the store, of the call or TimeoutError."""
    size, chunks = await asyncio.to_thread(open_snapshot, request.snapshot)
    call = stub.InstallSnapshot()
    try:
        # A peer that refuses the snapshot answers before it has taken everything.
        with contextlib.suppress(*BROKEN):
            await _send(call, encode_install_snapshot(header, request, size), chunks)
        raise_if_cancelled()
        async with asyncio.timeout(_ANSWER_S):
            return decode(request, await call)
    finally:
        call.cancel()


async def _send(call: Any, first: pb.InstallSnapshotRequest, chunks: Iterator[bytes]) -> None:
    await _write(call, first)
    async for chunk in _read(chunks):
        for start in range(0, len(chunk), _CHUNK_BYTES):
            await _write(call, encode_snapshot_data(chunk[start : start + _CHUNK_BYTES]))
    await call.done_writing()


async def _write(call: Any, message: pb.InstallSnapshotRequest) -> None:
    async with asyncio.timeout(_PROGRESS_S):
        await call.write(message)


async def _read(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, each read on another thread."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
