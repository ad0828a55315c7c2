"""A network that calls real servers on loopback, whose handlers the tests script."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

import grpc
import msgspec
import pytest

from matchengine.raft.config import FAST
from matchengine.raft.types import Server
from matchengine.storage.memory import MemorySnapshots
from matchengine.transport.client import GrpcNetwork
from matchengine.transport.server import RaftTransportService, add_transport

PATIENCE_S = 60
#: No deadline passes on a busy machine; whoever wants one to pass brings a timing of its own.
PATIENT = msgspec.structs.replace(FAST, heartbeat_timeout_ms=2000 * PATIENCE_S, election_timeout_ms=2000 * PATIENCE_S)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in a loop of their own, with ``world`` made inside it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    return True


class Result:
    """An outcome that can be waited for; settled twice is an error."""

    def __init__(self) -> None:
        self.future = asyncio.get_running_loop().create_future()
        self.times = 0

    def answered(self, response) -> None:
        self.times += 1
        self.future.set_result(response)

    def unanswered(self, *, too_old: bool = False) -> None:
        self.times += 1
        self.future.set_result("too old" if too_old else "unanswered")

    def __await__(self):
        return self.future.__await__()


class World:
    """One network that calls, any number of servers that answer by script."""

    def __init__(self, timing=PATIENT) -> None:
        self.loop = asyncio.get_running_loop()
        self.snapshots = MemorySnapshots()
        self.outgoing: dict[int, tuple[int, list[bytes]]] = {}
        self.network = GrpcNetwork("n1", "127.0.0.1:1", timing, self.open_snapshot, self.loop)
        self.servers: list[grpc.aio.Server] = []

    def open_snapshot(self, meta):
        size, chunks = self.outgoing[meta.index]
        return size, iter(chunks)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc) -> None:
        await self.network.close()
        for server in self.servers:
            await server.stop(0)

    async def serve(self, handler: Callable, create_sink=None, server_id="n2") -> Server:
        """A member whose calls ``handler`` takes."""
        service = RaftTransportService(
            server_id, "127.0.0.1:2", handler, create_sink or self.snapshots.create, self.loop
        )
        return await self.serve_with(lambda server: add_transport(service, server), server_id)

    async def serve_with(self, add: Callable, server_id="n2") -> Server:
        server = grpc.aio.server(options=(("grpc.max_receive_message_length", 64 * 1024 * 1024),))
        add(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.servers.append(server)
        return Server(server_id, f"127.0.0.1:{port}")

    def send(self, to: Server, request) -> Result:
        result = Result()
        self.network.send(to, request, result)
        return result


@pytest.fixture
def world() -> type[World]:
    return World
