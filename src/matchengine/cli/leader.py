"""Administration calls that the leader answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.leader import LeaderFinder, parse_addresses
from matchengine.client.pipeline import TIMEOUT_S
from matchengine.errors import MatchEngineError

T = TypeVar("T")


async def at_leader(addresses: str, call: Callable[[Admin, str], Awaitable[T]]) -> T:
    """What ``call`` gives for the leader's address; MatchEngineError when none is found or it does not answer."""
    channels = Channels()
    try:
        leader = await LeaderFinder(parse_addresses(addresses), channels).find(TIMEOUT_S)
        return await call(Admin(channels), leader)
    except grpc.aio.AioRpcError as error:
        raise MatchEngineError(str(error.details())) from error
    finally:
        await channels.close()
