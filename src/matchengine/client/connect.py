"""Choosing one node of several: the first that answers, or the first whose health says that it serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from matchengine.client.channels import Channels
from matchengine.client.errors import NoLeaderError
from matchengine.client.leader import pause


async def connect(addresses: Sequence[str], channels: Channels, timeout_s: float, service: str = "") -> str:
    """The address of the first node that answers and, if a ``service`` is named, reports it as SERVING.

    One node, rather than a channel that balances over all: the token of an operation is good only at the
    node that gave it, and the leader may change between two calls.  Raises NoLeaderError after ``timeout_s``.
    """
    attempts = {asyncio.create_task(_reach(channels.get(address), service)): address for address in addresses}
    try:
        done, _ = await asyncio.wait(attempts, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for attempt in attempts:
            attempt.cancel()
    if not done:
        what = f"reports {service} as serving" if service else "answers"
        raise NoLeaderError(f"none of {', '.join(addresses)} {what} within {timeout_s:g} s")
    return attempts[done.pop()]


async def _reach(channel: grpc.aio.Channel, service: str) -> None:
    await channel.channel_ready()
    while service and not await _is_serving(channel, service):
        await pause()


async def _is_serving(channel: grpc.aio.Channel, service: str) -> bool:
    """Wait until the service serves; False when the node went away or does not say."""
    watch = HealthStub(channel).Watch(HealthCheckRequest(service=service), wait_for_ready=True)
    try:
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for answer in watch:
                if answer.status == HealthCheckResponse.SERVING:
                    return True
        return False
    finally:
        watch.cancel()
