"""Calls over gRPC whose answers come as callbacks, and timers: what the client's logic asks of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc

from matchengine.client.channels import Channels
from matchengine.client.contracts import ATTEMPT_S, Failure, NodeStatus, Opened
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.cluster_pb2 import StatusRequest, StatusResponse
from matchengine.v1.cluster_pb2_grpc import ClusterStub
from matchengine.v1.machine_pb2_grpc import SessionsStub


class Calls:
    """See :class:`matchengine.client.contracts.Nodes`; after :meth:`cancel` nothing calls back any more."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    def cancel(self) -> None:
        """Forget everything that is under way."""
        for task in self._tasks:
            task.cancel()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # --- Nodes -----------------------------------------------------------------------------

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """See :class:`matchengine.client.contracts.Nodes`."""

        def strike() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay_s, strike)
        self._timers.add(timer)

    def jitter(self) -> float:
        """See :class:`matchengine.client.contracts.Nodes`."""
        return random.random()

    def ask_status(self, address: str, done: Callable[[NodeStatus | None], None]) -> None:
        """See :class:`matchengine.client.contracts.Nodes`."""
        self.spawn(self._ask_status(address, done))

    async def _ask_status(self, address: str, done: Callable[[NodeStatus | None], None]) -> None:
        stub = ClusterStub(self.channels.get(address))
        status = None
        with contextlib.suppress(grpc.aio.AioRpcError):
            response: StatusResponse = await stub.Status(StatusRequest(), timeout=ATTEMPT_S)
            status = NodeStatus(response.role == "leader", response.leader_address)
        done(status)

    # --- tasks -----------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that :meth:`cancel` ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Forget everything that is under way, and see it end."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class SessionCalls(Calls):
    """With the calls of one session, opened under ``name``."""

    def __init__(self, channels: Channels, name: str) -> None:
        super().__init__(channels)
        self._name = name

    def open_session(self, address: str, done: Callable[[Opened | Failure], None]) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        self.spawn(self._open_session(address, done))

    async def _open_session(self, address: str, done: Callable[[Opened | Failure], None]) -> None:
        stub = SessionsStub(self.channels.get(address))
        result: Opened | Failure
        try:
            response = await stub.Open(pb.OpenSessionRequest(client_name=self._name), timeout=ATTEMPT_S)
            result = Opened(response.session_id, response.status, response.detail)
        except grpc.aio.AioRpcError as error:
            result = failure(error)
        done(result)

    def keep_alive(self, address: str, session_id: int, done: Callable[[int | Failure], None]) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        self.spawn(self._keep_alive(address, session_id, done))

    async def _keep_alive(self, address: str, session_id: int, done: Callable[[int | Failure], None]) -> None:
        stub = SessionsStub(self.channels.get(address))
        result: int | Failure
        try:
            result = (await stub.KeepAlive(pb.KeepAliveRequest(session_id=session_id), timeout=ATTEMPT_S)).status
        except grpc.aio.AioRpcError as error:
            result = failure(error)
        done(result)


_RETRY: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        # gRPC's own word for a write that met the end of its stream.
        grpc.StatusCode.INTERNAL,
    }
)


def may_retry(error: grpc.RpcError) -> bool:
    """Whether the status speaks of the transport or the moment, rather than of the request."""
    return error.code() in _RETRY


def failure(error: grpc.aio.AioRpcError) -> Failure:
    """What the error says, with the leader's address if it carries one."""
    return Failure(str(error.details()), may_retry(error), _leader_hint(error))


def _leader_hint(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "matchengine-leader":
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""
