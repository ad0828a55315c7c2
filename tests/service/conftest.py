"""A node that applies at once, served over real loopback gRPC; async tests on one event loop.

gRPC's asyncio stack wants one loop per process, so all tests here share it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from matchengine.answers import from_chunks
from matchengine.errors import BusyError, MatchEngineError, NotLeaderError, StoppedError, UnknownOutcomeError
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.raft.types import Configuration, Entry, Role, Server, Suffrage
from matchengine.runtime.feature_levels import FeatureLevels
from matchengine.service import serve
from matchengine.sessions import SessionMachine
from matchengine.state_machine import finish

_RUNNER = pytest.StashKey[asyncio.Runner]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RUNNER] = asyncio.Runner()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_RUNNER].close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    pyfuncitem.config.stash[_RUNNER].run(asyncio.wait_for(_call(pyfuncitem.obj, arguments), 20))
    return True


async def _call(test: Callable[..., Any], arguments: dict[str, Any]) -> None:
    await test(**arguments)


class Counter:
    """Adds up: a command is a decimal number, the answer the sum; a query is ``sum``."""

    def __init__(self) -> None:
        self.sum = 0

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        return [self._add(entry.data) for entry in entries]

    def _add(self, command: bytes) -> bytes:
        if command.isdigit():
            self.sum += int(command)
        return str(self.sum).encode()

    def query(self, request: bytes) -> bytes:
        if request != b"sum":
            raise ValueError(f"{request!r} is not b'sum'")
        return str(self.sum).encode()

    def snapshot(self) -> Iterator[bytes]:
        raise AssertionError("no test asks for it")

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise AssertionError("no test asks for it")

    def state_hash(self) -> bytes:
        return b"hash of " + str(self.sum).encode()


class FakeNode:
    """The surface of a node that services see.  Proposals are applied at once, unless ``hold`` is set."""

    def __init__(self, inner: Any, machine: Any = None) -> None:
        self.looks = 0
        self.machine = machine if machine is not None else SessionMachine(inner)
        self.is_leader = True
        self.role = Role.LEADER
        self.leader_id = "node1"
        self.leader_address = "127.0.0.1:7001"
        self.machine_is_readable = True
        self.index = 10
        self.hold = False
        self.held: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._held_more = asyncio.Event()
        self.fail_after: int | None = None
        self.failure: MatchEngineError = UnknownOutcomeError("leadership lost while committing log")
        self.proposed: list[bytes] = []
        self.extensions: list[bytes] = []
        self.read_indexes = 0
        self.calls: list[tuple[str, Any]] = []
        self.next_error: MatchEngineError | None = None
        self.gate: asyncio.Event | None = None
        self.snapshot_index = 4
        self.last_contact_ms: int | None = 0
        self.is_shut_down = False
        self.served_at = ""
        self._watchers: list[Callable[[bool], None]] = []
        self.config = SimpleNamespace(id="node1")
        self.servers = (
            Server("node1", "127.0.0.1:7001"),
            Server("node2", "127.0.0.1:7002"),
            Server("node3", "127.0.0.1:7003", Suffrage.NONVOTER),
        )
        self.configuration_index = 8
        self.feature_levels = FeatureLevels(self, lambda: False)

    # --- proposals -------------------------------------------------------------------------

    def propose(self, data: bytes, extensions: bytes = b"") -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.proposed.append(data)
        self.extensions.append(extensions)
        if not self.is_leader:
            future.set_exception(NotLeaderError(self.leader_id, self.leader_address))
        elif self.fail_after is not None and len(self.proposed) > self.fail_after:
            future.set_exception(self.failure)
        elif self.hold:
            self.held.append((data, future))
            self._held_more.set()
        else:
            self._apply(data, future)
        return future

    async def wait_held(self, count: int) -> None:
        """Return once exactly ``count`` proposals are held; the test's time limit bounds it."""
        while len(self.held) != count:
            self._held_more.clear()
            await self._held_more.wait()

    def release(self, count: int | None = None) -> None:
        """Apply held proposals, oldest first."""
        due = self.held[:count]
        del self.held[:count]
        for data, future in due:
            self._apply(data, future)

    def _apply(self, data: bytes, future: asyncio.Future[Any]) -> None:
        self.index += 1
        entry = Entry(self.index, 1, data=data, appended_at=1_000_000 * self.index)
        if isinstance(self.machine, SessionMachine):
            result = from_chunks(finish(self.machine.begin(entry)))
        else:
            (result,) = self.machine.apply([entry])
        if not future.done():
            future.set_result(SimpleNamespace(index=self.index, result=result))

    # --- reads and operations --------------------------------------------------------------

    async def read_index(self) -> int:
        self.read_indexes += 1
        if not self.leader_address:
            raise NotLeaderError
        return self.index

    async def confirm_read_index(self) -> int:
        if not self.is_leader:
            raise NotLeaderError(self.leader_id, self.leader_address)
        return await self._operation("verify", None)

    async def examine(self, look: Callable[[], bytes]) -> tuple[int, bytes]:
        if not self.machine_is_readable:
            raise BusyError("the state machine is being replaced by a snapshot")
        self.looks += 1
        return self.index, look()

    async def barrier(self) -> int:
        return await self._operation("barrier", None)

    async def change_membership(self, change: Any) -> int:
        return await self._operation("change", change)

    async def transfer_leadership(self, target: str | None = None) -> None:
        await self._operation("transfer", target)

    async def snapshot(self) -> None:
        await self._operation("snapshot", None)

    async def shutdown(self, linger_s: float) -> None:
        await self._operation("shutdown", linger_s)
        self.is_shut_down = True

    async def _operation(self, name: str, argument: Any) -> int:
        self.calls.append((name, argument))
        if self.gate is not None:
            await self.gate.wait()
        if self.next_error is not None:
            raise self.next_error
        return self.index

    def session_idle_s(self) -> dict[int, float]:
        return {info.id: 2.5 for info in self.machine.listing()}

    # --- standing --------------------------------------------------------------------------

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        self._watchers.append(callback)

    def lead(self, leading: bool) -> None:
        """Start or cease to lead."""
        self.is_leader = leading
        self.role = Role.LEADER if leading else Role.FOLLOWER
        for watcher in self._watchers:
            watcher(leading)

    async def status(self) -> Any:
        return SimpleNamespace(
            id="node1",
            address="127.0.0.1:7001",
            role=self.role,
            term=3,
            leader_id=self.leader_id,
            leader_address=self.leader_address,
            applied=self.index,
            configuration=Configuration(self.servers),
            fsync_us=123.5,
            terms_seen=2,
            last_contact_ms=self.last_contact_ms,
            is_shut_down=self.is_shut_down,
            first_index=1,
            last_index=self.index + 2,
            last_term=3,
            commit_index=self.index + 1,
            snapshot_index=self.snapshot_index,
            snapshot_term=2,
            configuration_index=self.configuration_index,
        )


@pytest.fixture
def node() -> FakeNode:
    """A node that leads and replicates a :class:`Counter`."""
    return FakeNode(Counter())


@pytest.fixture
def exchange_node() -> FakeNode:
    """A node that leads and replicates an exchange."""
    return FakeNode(ExchangeStateMachine())


Serving = Callable[..., AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture
def serving() -> Serving:
    """``async with serving(node, *groups) as channel``: the groups and every node's own, on loopback."""

    @asynccontextmanager
    async def start(node: FakeNode, *groups: Any) -> AsyncIterator[grpc.aio.Channel]:
        server = grpc.aio.server()
        serve(*groups)(node, server)
        node.served_at = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            async with grpc.aio.insecure_channel(node.served_at) as channel:
                yield channel
        finally:
            await server.stop(None)

    return start


@pytest.fixture
def failing() -> Callable[..., Any]:
    """``await failing(call, code)``: the call must end with this status; returns (text, metadata)."""

    async def expect(call: Any, code: grpc.StatusCode) -> tuple[str, dict[str, str]]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is code, caught.value
        return caught.value.details() or "", dict(caught.value.trailing_metadata())

    return expect


@pytest.fixture(params=["unknown", "not leader", "no quorum", "busy", "stopped"])
def transport_failure(request: pytest.FixtureRequest) -> tuple[MatchEngineError, grpc.StatusCode, str]:
    """An error of a node with the code and the reason that a client must see."""
    return {
        "unknown": (UnknownOutcomeError("leadership lost"), grpc.StatusCode.UNKNOWN, "unknown-outcome"),
        "not leader": (NotLeaderError("n2", "10.0.0.2:7"), grpc.StatusCode.UNAVAILABLE, "not-leader"),
        "no quorum": (NotLeaderError(), grpc.StatusCode.UNAVAILABLE, "no-quorum"),
        "busy": (BusyError("too many uncommitted bytes"), grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"),
        "stopped": (StoppedError("the node has stopped"), grpc.StatusCode.UNAVAILABLE, "stopped"),
    }[request.param]
