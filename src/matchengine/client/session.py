"""The client of any state machine: bytes in, bytes out."""

from __future__ import annotations

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

    def request(
        self, session_id: int, sequence: int, acknowledged: int, command: bytes, position: int
    ) -> pb.ApplyRequest:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return pb.ApplyRequest(
            session_id=session_id,
            sequence=sequence,
            acknowledged=acknowledged,
            command=command,
            slices=True,
            position=position,
        )

    def size(self, response: pb.ApplyResponse) -> int:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return len(response.answer)

    def rest(self, response: pb.ApplyResponse, known: int) -> pb.ApplyResponse:
        """See :class:`matchengine.client.pipeline.Wire`."""
        response.answer = response.answer[known:]
        return response

    def answer(self, response: pb.ApplyResponse) -> bytes:
        """The machine's answer."""
        return response.answer

    def assembly(self) -> _Bytes:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return _Bytes()


class _Bytes:
    """See :class:`matchengine.client.pipeline.Assembly`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, response: pb.ApplyResponse) -> None:
        """The next slice."""
        self._parts.append(response.answer)

    def whole(self) -> bytes:
        """The machine's answer."""
        return b"".join(self._parts)


class Client(SessionClient[bytes, bytes]):
    """A session with a cluster that replicates any state machine: bytes in, bytes out."""

    def __init__(
        self, addresses: str | Sequence[str], *, name: str = "", timeout_s: float = TIMEOUT_S, window: int = WINDOW
    ) -> None:
        super().__init__(MachineWire(), addresses, name=name, timeout_s=timeout_s, window=window)

    def check(self, command: bytes) -> None:
        """TypeError for what is not ``bytes``: with a sequence it would stand in the way of all that follow."""
        if not isinstance(command, bytes):
            raise TypeError(f"command: {type(command).__name__} is not bytes")

    async def query(self, request: bytes) -> bytes:
        """A linearizable read, from any node."""

        async def ask(channel: grpc.aio.Channel) -> pb.QueryResponse:
            response: pb.QueryResponse = await MachineStub(channel).Query(
                pb.QueryRequest(query=request), timeout=ATTEMPT_S
            )
            return response

        return (await read_any(self.addresses, self.channels, ask, self.timeout_s)).answer
