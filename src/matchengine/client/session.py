"""The client of any state machine: bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import grpc

from matchengine.client.channels import Channels
from matchengine.client.leader import ATTEMPT_S, LeaderFinder, parse_addresses, read_any
from matchengine.client.pipeline import Session, within
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import MachineStub

TIMEOUT_S: Final = 10.0
WINDOW: Final = 32


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


class Client:
    """A session with a cluster.  Use it as an async context manager, or call :meth:`open` and :meth:`close`.

    ``addresses`` is ``"host:port,…"`` or a sequence; one that answers is enough.  ``window`` bounds
    the commands under way, ``timeout_s`` how long :meth:`apply` and :meth:`query` wait.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        name: str = "",
        timeout_s: float = TIMEOUT_S,
        window: int = WINDOW,
    ) -> None:
        self._addresses = parse_addresses(addresses)
        self._timeout_s = timeout_s
        self._channels = Channels()
        finder = LeaderFinder(self._addresses, self._channels)
        self._session = Session(MachineWire(), finder, self._channels, name=name, window=window)

    async def open(self) -> None:
        """Find the leader and open the session."""
        await self._session.open(self._timeout_s)

    async def close(self) -> None:
        """End the session and the connections."""
        await self._session.close()
        await self._channels.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self._channels.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def submit(self, command: bytes) -> asyncio.Future[bytes]:
        """Queue one command as soon as the window has room; the future gets the machine's answer."""
        return await self._session.submit(command)

    async def apply(self, command: bytes) -> bytes:
        """One command, its answer awaited.

        UnknownOutcomeError when there is none in time: the session keeps trying, so the command
        may still take effect, once.
        """
        return await within(self._timeout_s, self.submit(command))

    async def query(self, request: bytes) -> bytes:
        """A linearizable read, from any node."""

        async def ask(channel: grpc.aio.Channel) -> pb.QueryResponse:
            response: pb.QueryResponse = await MachineStub(channel).Query(
                pb.QueryRequest(query=request), timeout=ATTEMPT_S
            )
            return response

        return (await read_any(self._addresses, self._channels, ask, self._timeout_s)).answer
