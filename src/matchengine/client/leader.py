"""Finding the leader among some addresses, and reading from whichever node answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc

from matchengine.client.calls import Calls, may_retry
from matchengine.client.channels import Channels
from matchengine.client.errors import NoLeaderError
from matchengine.client.search import LeaderSearch, pause_s
from matchengine.errors import RefusedError
from matchengine.runtime.config import check_address

T = TypeVar("T")

#: How users of github.com/Jille/grpc-multi-resolver write a list of addresses.
MULTI: Final = "multi:///"
#: Of gRPC's own ways to write one address, those that mean just that address.
_SCHEMES: Final = (MULTI, "dns:///", "passthrough:///")


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """``"host:port,host:port"``, with or without ``multi:///`` before it, or a sequence; without repetitions.

    ``dns:///`` and ``passthrough:///``, which other gRPC programs take, may stand there as well.

    Raises ValueError when there is none, or one of another form.
    """
    given = _without_scheme(addresses).split(",") if isinstance(addresses, str) else addresses
    cleaned = tuple(dict.fromkeys(address.strip() for address in given if address.strip()))
    if not cleaned:
        raise ValueError("addresses: there is none; a client needs at least one host:port")
    for address in cleaned:
        check_address("addresses", address)
    return cleaned


def _without_scheme(target: str) -> str:
    scheme = next((scheme for scheme in _SCHEMES if target.startswith(scheme)), "")
    return target.removeprefix(scheme)


async def pause() -> None:
    """A short rest with jitter between attempts, so that clients do not move in step."""
    await asyncio.sleep(pause_s(random.random()))


class LeaderFinder:
    """Finds the leader of a cluster of which one good address is known."""

    def __init__(self, addresses: Sequence[str], channels: Channels) -> None:
        self.addresses = tuple(addresses)
        self._channels = channels
        self._hints: dict[str, None] = {}

    async def find(self, timeout_s: float) -> str:
        """The address of a node that leads now; raises NoLeaderError after ``timeout_s``."""
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        calls = Calls(self._channels)
        search = LeaderSearch(self.addresses, calls, self._hints)
        search.begin(lambda address: None if found.done() else found.set_result(address))
        try:
            async with asyncio.timeout(timeout_s):
                return await found
        except TimeoutError:
            raise no_leader(self.addresses, timeout_s) from None
        finally:
            search.stop()
            calls.cancel()


def no_leader(addresses: Sequence[str], timeout_s: float) -> NoLeaderError:
    """What to say when none was found."""
    return NoLeaderError(f"no leader was found through {', '.join(addresses)} within {timeout_s:g} s")


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


def _is_from_node(error: grpc.aio.AioRpcError) -> bool:
    """Whether a node gave the status itself, with its reason."""
    return any(key == "matchengine-reason" for key, _ in error.trailing_metadata() or ())
