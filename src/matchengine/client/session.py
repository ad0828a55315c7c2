"""The client of any state machine: bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from matchengine.client.contracts import ATTEMPT_S
from matchengine.client.leader import read_any
from matchengine.client.pipeline import TIMEOUT_S, WINDOW, SessionClient
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import MachineStub


class MachineWire:
    """Commands as opaque bytes, over ``Machine.ApplyStream``."""

    def open(self, channel: grpc.aio.Channel) -> Any:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return MachineStub(channel).ApplyStream()

    def request(self, session_id: int, sequence: int, acknowledged: int, command: bytes) -> pb.ApplyRequest:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return pb.ApplyRequest(
            session_id=session_id,
            sequence=sequence,
            acknowledged=acknowledged,
            command=command,
        )

    def answer(self, response: pb.ApplyResponse) -> bytes:
        """The machine's answer."""
        return response.answer


class Client(SessionClient[bytes, bytes]):
    """A session with a cluster that replicates any state machine: bytes in, bytes out."""

    def __init__(
        self, addresses: str | Sequence[str], *, name: str = "", timeout_s: float = TIMEOUT_S, window: int = WINDOW
    ) -> None:
        super().__init__(MachineWire(), addresses, name=name, timeout_s=timeout_s, window=window)

    async def submit(self, command: bytes) -> asyncio.Future[bytes]:
        """Queue one command as soon as the window has room; TypeError for what is not ``bytes``."""
        _require_bytes(command)
        return await super().submit(command)

    async def query(self, request: bytes) -> bytes:
        """A linearizable read, from any node."""

        async def ask(channel: grpc.aio.Channel) -> pb.QueryResponse:
            response: pb.QueryResponse = await MachineStub(channel).Query(
                pb.QueryRequest(query=request), timeout=ATTEMPT_S
            )
            return response

        return (await read_any(self.addresses, self.channels, ask, self.timeout_s)).answer


def _require_bytes(command: object) -> None:
    """Once it has a sequence, what cannot be sent would stand in the way of all that follow."""
    if not isinstance(command, bytes):
        raise TypeError(f"command: {type(command).__name__} is not bytes")
