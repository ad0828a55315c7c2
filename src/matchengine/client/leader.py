"""Finding the leader among some addresses, and reading from whichever node answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc

from matchengine.client.channels import Channels
from matchengine.client.errors import NoLeaderError
from matchengine.errors import RefusedError
from matchengine.runtime.config import check_address
from matchengine.v1.cluster_pb2 import StatusRequest, StatusResponse
from matchengine.v1.cluster_pb2_grpc import ClusterStub

#: A node that does not answer within this time is passed over.
ATTEMPT_S: Final = 1.0
_PAUSE_S: Final = (0.010, 0.030)
_MAX_HINTS: Final = 16
_MAX_ASKED: Final = 64

T = TypeVar("T")


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """``"host:port,host:port"`` or a sequence, without repetitions; raises ValueError for none or another form."""
    given = addresses.split(",") if isinstance(addresses, str) else addresses
    cleaned = tuple(dict.fromkeys(address.strip() for address in given if address.strip()))
    if not cleaned:
        raise ValueError("addresses: there is none; a client needs at least one host:port")
    for address in cleaned:
        check_address("addresses", address)
    return cleaned


async def pause() -> None:
    """A short rest with jitter between attempts, so that clients do not move in step."""
    await asyncio.sleep(random.uniform(*_PAUSE_S))


class LeaderFinder:
    """Asks all known nodes who leads, each at its own pace, until one says that it does.

    A node's hint adds the leader's address to those asked, so one good address is enough.
    """

    def __init__(self, addresses: Sequence[str], channels: Channels) -> None:
        self.addresses = tuple(addresses)
        self._channels = channels
        self._hints: dict[str, None] = {}

    async def find(self, timeout_s: float) -> str:
        """The address of a node that leads now; raises NoLeaderError after ``timeout_s``."""
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        polls: dict[str, asyncio.Task[None]] = {}

        def ask(address: str) -> None:
            if address and address not in polls and len(polls) < _MAX_ASKED:
                polls[address] = asyncio.create_task(self._poll(address, ask, found))

        for address in (*self.addresses, *self._hints):
            ask(address)
        try:
            async with asyncio.timeout(timeout_s):
                return await found
        except TimeoutError:
            known = ", ".join(self.addresses)
            raise NoLeaderError(f"no leader was found through {known} within {timeout_s:g} s") from None
        finally:
            for poll in polls.values():
                poll.cancel()

    def hint(self, address: str) -> None:
        """Remember an address that a node named as the leader's."""
        if address and address not in self.addresses:
            self._hints.pop(address, None)
            self._hints[address] = None
            while len(self._hints) > _MAX_HINTS:
                self._hints.pop(next(iter(self._hints)))

    async def _poll(self, address: str, ask: Callable[[str], None], found: asyncio.Future[str]) -> None:
        stub = ClusterStub(self._channels.get(address))
        while not found.done():
            with contextlib.suppress(grpc.aio.AioRpcError):
                status: StatusResponse = await stub.Status(StatusRequest(), timeout=ATTEMPT_S)
                if status.role == "leader" and not found.done():
                    found.set_result(address)
                    return
                self.hint(status.leader_address)
                ask(status.leader_address)
            await pause()


async def read_any(
    addresses: Sequence[str],
    channels: Channels,
    call: Callable[[grpc.aio.Channel], Awaitable[T]],
    timeout_s: float,
) -> T:
    """The first good answer of ``call``, tried on one node after the other until ``timeout_s`` is over.

    RefusedError for an answer that no other node would give differently, NoLeaderError at the deadline.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    attempt = 0
    told: grpc.aio.AioRpcError | None = None
    while True:
        address = addresses[attempt % len(addresses)]
        attempt += 1
        try:
            return await call(channels.get(address))
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise RefusedError(str(error.details())) from error
            # Of several nodes' troubles the one of a node that runs says more than that another is down.
            told = error if told is None or _is_from_node(error) or not _is_from_node(told) else told
            if asyncio.get_running_loop().time() >= deadline:
                raise NoLeaderError(f"no node could answer within {timeout_s:g} s: {told.details()}") from error
        if attempt % len(addresses) == 0:
            await pause()


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


def _is_from_node(error: grpc.aio.AioRpcError) -> bool:
    """Whether a node gave the status itself, with its reason."""
    return any(key == "matchengine-reason" for key, _ in error.trailing_metadata() or ())


def leader_hint(error: grpc.aio.AioRpcError) -> str:
    """The leader's address that the status carries, or ``""``."""
    for key, value in error.trailing_metadata() or ():
        if key == "matchengine-leader":
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""
