"""The Sessions service: opening, keeping and closing sessions through the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import grpc

from matchengine.service.checks import require_at_most, require_positive
from matchengine.service.errors import unary
from matchengine.sessions import (
    MAX_CLIENT_NAME_BYTES,
    SessionAnswer,
    SessionMachine,
    SessionStatus,
    close_envelope,
    decode_answer,
    keep_alive_envelope,
    open_envelope,
)
from matchengine.v1 import machine_pb2
from matchengine.v1.machine_pb2_grpc import SessionsServicer, add_SessionsServicer_to_server

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

SERVICE: Final = "matchengine.v1.Sessions"


def wire_status(status: SessionStatus) -> machine_pb2.SessionStatus:
    """The same number, as the type that the generated messages ask for."""
    return cast("machine_pb2.SessionStatus", status)


def require_sessions(node: Node) -> None:
    """Raise TypeError, before anything is served, for a node whose commands carry no session."""
    if not isinstance(node.machine, SessionMachine):
        raise TypeError(f"machine: {type(node.machine).__name__} is no SessionMachine")


class SessionsService(SessionsServicer):
    """See ``proto/matchengine/v1/machine.proto``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @unary
    async def Open(self, request: machine_pb2.OpenSessionRequest) -> machine_pb2.OpenSessionResponse:
        """Open a session; its id is the index of the entry that opened it."""
        require_at_most("client_name", len(request.client_name.encode()), MAX_CLIENT_NAME_BYTES, "bytes")
        answer = await self._ask(open_envelope(request.client_name))
        return machine_pb2.OpenSessionResponse(session_id=answer.value, status=wire_status(answer.status))

    @unary
    async def KeepAlive(self, request: machine_pb2.KeepAliveRequest) -> machine_pb2.KeepAliveResponse:
        """Show that the session's client is alive."""
        require_positive("session_id", request.session_id)
        answer = await self._ask(keep_alive_envelope(request.session_id))
        return machine_pb2.KeepAliveResponse(status=wire_status(answer.status))

    @unary
    async def Close(self, request: machine_pb2.CloseSessionRequest) -> machine_pb2.CloseSessionResponse:
        """End the session and forget its answers."""
        require_positive("session_id", request.session_id)
        answer = await self._ask(close_envelope(request.session_id))
        return machine_pb2.CloseSessionResponse(status=wire_status(answer.status))

    async def _ask(self, envelope: bytes) -> SessionAnswer:
        outcome = await self._node.propose(envelope)
        return decode_answer(outcome.result)


def add_sessions(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve sessions; raises TypeError unless ``node.machine`` is a SessionMachine."""
    require_sessions(node)
    add_SessionsServicer_to_server(SessionsService(node), server)
    return (SERVICE,)
