"""The bridge's sockets: a private folder, a listener, and the connection that lives as long as the node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from matchengine.errors import EngineError
from matchengine.runtime.hashicorp.frames import (
    HEAD,
    VERSION,
    FrameReader,
    Hello,
    Kind,
    check_length,
    decode_json,
    frame,
)
from matchengine.runtime.hashicorp.streams import BrokenOffError

_HELLO_LIMIT: Final = 4096


class SocketFolder:
    """A folder that only this user can enter; its sockets have short paths, however long its own is.

    A socket's path has at most 107 bytes, so it goes through the folder's descriptor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        for name in ("bridge", "services"):
            (path / name).unlink(missing_ok=True)
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def socket_path(self, name: str) -> str:
        """Where to bind ``name``."""
        return f"/proc/self/fd/{self._handle}/{name}"

    def listen(self, name: str) -> socket.socket:
        """A listening socket with mode 0600."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket_path(name))
        (self.path / name).chmod(0o600)
        listener.listen()
        listener.setblocking(False)
        return listener

    def close(self) -> None:
        """Remove the sockets and the folder."""
        os.close(self._handle)
        for name in ("bridge", "services"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


async def greet(connection: socket.socket, node_id: str) -> Hello:
    """Read the hello and answer it; raises EngineError for another version or another node."""
    loop = asyncio.get_running_loop()
    length, kind = HEAD.unpack(await _exactly(loop, connection, HEAD.size))
    check_length(length)
    if kind != Kind.HELLO or length > _HELLO_LIMIT:
        raise EngineError(f"bridge: kind {kind} with {length} bytes is no hello")
    hello = decode_json(await _exactly(loop, connection, length - 1), Hello)
    if hello.version != VERSION or hello.node != node_id:
        text = (
            f"bridge: version {hello.version} of node {hello.node!r} came to version {VERSION} of node {node_id!r}; "
            "build both halves from one release"
        )
        await loop.sock_sendall(connection, frame(Kind.FAILURE, text.encode()))
        raise EngineError(text)
    welcome = Hello(VERSION, node_id, hello.purpose, hello.id)
    await loop.sock_sendall(connection, frame(Kind.WELCOME, msgspec.json.encode(welcome)))
    return hello


async def _exactly(loop: asyncio.AbstractEventLoop, connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(connection, size - len(data))
        if not part:
            raise BrokenOffError("bridge: a connection ended before its hello")
        data += part
    return data


class Control(asyncio.Protocol):
    """Hands frames to ``take`` and says once, by ``lost``, that the other half is gone.

    What is sent in one turn of the loop leaves in one write.
    """

    def __init__(self, take: Callable[[Kind, bytes], None], lost: Callable[[Exception | None], None]) -> None:
        self._take = take
        self._lost = lost
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        try:
            for kind, body in self._reader.feed(data):
                self._take(kind, body)
        except Exception as error:  # noqa: BLE001 - frames that make no sense end the bridge, whatever is wrong
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        self._lost(exc)

    def send(self, data: bytes) -> None:
        """Send frames, soon; nothing when the other half is gone."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Send what waits, now."""
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        """End the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._lost(error)
