"""The Sessions service: opening, keeping, closing and listing sessions through the log."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import grpc

from matchengine.errors import NotLeaderError
from matchengine.levels import SESSION_RULES
from matchengine.service.admission import opening_refusal, session_standing
from matchengine.service.checks import require_at_most, require_positive
from matchengine.service.errors import InvalidArgumentError, NotFoundError, unary
from matchengine.service.levels import require_level
from matchengine.sessions import (
    MAX_CLIENT_NAME_BYTES,
    MAX_SESSION_ID,
    SessionAnswer,
    SessionInfo,
    SessionLimits,
    SessionMachine,
    SessionStatus,
    close_envelope,
    decode_answer,
    end_named_envelope,
    end_session_envelope,
    keep_alive_envelope,
    open_envelope,
)
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import SessionsServicer, add_SessionsServicer_to_server

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

SERVICE: Final = "matchengine.v1.Sessions"
#: Sessions of one page.
MAX_LISTED: Final = 1000
#: Random numbers that are tried for one session: a second one is needed less than once in the life of a cluster.
_DRAWS: Final = 4


def wire_status(status: SessionStatus) -> pb.SessionStatus:
    """The same number, as the type that the generated messages ask for."""
    return cast("pb.SessionStatus", status)


def require_sessions(node: Node) -> None:
    """Raise TypeError, before anything is served, for a node whose commands carry no session."""
    if not isinstance(node.machine, SessionMachine):
        raise TypeError(f"machine: {type(node.machine).__name__} is no SessionMachine")


def draw_session_id() -> int:
    """A number from 1 to 2**64 - 1 that cannot be guessed: who knows it can write in the session."""
    return 1 + secrets.randbelow(MAX_SESSION_ID)


class SessionsService(SessionsServicer):
    """See ``proto/matchengine/v1/machine.proto``; ``draw_id`` gives the ids of new sessions."""

    def __init__(self, node: Node, draw_id: Callable[[], int] = draw_session_id) -> None:
        self._node = node
        self._machine = cast("SessionMachine", node.machine)
        self._draw_id = draw_id

    @unary
    async def Open(self, request: pb.OpenSessionRequest) -> pb.OpenSessionResponse:
        """Open a session under a number that cannot be guessed."""
        name = request.client_name
        _check_name(name)
        answer = SessionAnswer(await opening_refusal(self._node, name), 0, b"")
        if answer.status is SessionStatus.OK:
            answer = await self._open(name)
        detail = _why_not(answer.status, name, self._machine.limits)
        return pb.OpenSessionResponse(session_id=answer.value, status=wire_status(answer.status), detail=detail)

    async def _open(self, name: str) -> SessionAnswer:
        for _ in range(_DRAWS):
            answer = await self._ask(open_envelope(name, self._draw_id()))
            if answer.status is not SessionStatus.ID_TAKEN:
                break
        return answer

    @unary
    async def KeepAlive(self, request: pb.KeepAliveRequest) -> pb.KeepAliveResponse:
        """Show that the session's client is alive."""
        require_positive("session_id", request.session_id)
        status = await session_standing(self._node, request.session_id)
        if status is SessionStatus.OK:
            status = (await self._ask(keep_alive_envelope(request.session_id))).status
        return pb.KeepAliveResponse(status=wire_status(status))

    @unary
    async def Close(self, request: pb.CloseSessionRequest) -> pb.CloseSessionResponse:
        """End sessions and forget their answers."""
        by_name = request.HasField("client_name")
        if bool(request.session_id) + bool(request.number) + by_name != 1:
            raise InvalidArgumentError("session_id, number, client_name: a request has exactly one of the three")
        if request.session_id:
            return await self._close(request.session_id)
        self._require_rules()
        if by_name:
            _check_name(request.client_name)
            answer = await self._ask(end_named_envelope(request.client_name))
        else:
            answer = await self._ask(end_session_envelope(request.number))
            if not answer.value:
                raise NotFoundError(f"number: no session {request.number} is open")
        return pb.CloseSessionResponse(status=wire_status(answer.status), closed=answer.value)

    async def _close(self, session_id: int) -> pb.CloseSessionResponse:
        status = await session_standing(self._node, session_id)
        if status is SessionStatus.OK:
            status = (await self._ask(close_envelope(session_id))).status
        return pb.CloseSessionResponse(status=wire_status(status))

    def _require_rules(self) -> None:
        self._require_leader()
        require_level(self._node, "closing sessions by number or name", library=SESSION_RULES)

    @unary
    async def List(self, request: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        """One page of the open sessions."""
        require_at_most("limit", request.limit, MAX_LISTED, "sessions", "; ask again with `after`")
        self._require_leader()
        await self._node.read_index()
        by_name = request.HasField("client_name")
        found = sorted(
            (
                info
                for info in self._machine.listing()
                if info.number > request.after and (not by_name or info.name == request.client_name)
            ),
            key=lambda info: info.number,
        )
        idle = self._node.session_idle_s()
        page = found[: request.limit or MAX_LISTED]
        return pb.ListSessionsResponse(
            sessions=(_shown(info, idle.get(info.id)) for info in page), more=len(found) > len(page)
        )

    def _require_leader(self) -> None:
        if not self._node.is_leader:
            raise NotLeaderError(self._node.leader_id, self._node.leader_address)

    async def _ask(self, envelope: bytes) -> SessionAnswer:
        outcome = await self._node.propose(envelope)
        return decode_answer(outcome.result)


def _check_name(name: str) -> None:
    require_at_most("client_name", len(name.encode()), MAX_CLIENT_NAME_BYTES, "bytes")


def _why_not(status: SessionStatus, name: str, limits: SessionLimits) -> str:
    """What a client is told that gets no session; empty for one that gets it."""
    if status is SessionStatus.TOO_MANY_OF_NAME:
        return (
            f"{limits.sessions_per_name} sessions are open under the client name {name!r}, and that is the limit for "
            f"one name; close them (`matchengine session close --name NAME`) or use another name"
        )
    if status is SessionStatus.TOO_MANY_SESSIONS:
        return (
            f"{limits.sessions} sessions are open, and that is the limit of a cluster; close those that are not needed "
            f"(`matchengine session list`)"
        )
    return ""


def _shown(info: SessionInfo, idle_s: float | None) -> pb.SessionInfo:
    """What an operator sees: never the id, with which one could write in the session."""
    return pb.SessionInfo(
        number=info.number,
        client_name=info.name,
        idle_seconds=idle_s,
        answers=info.answers,
        answer_bytes=info.answer_bytes,
    )


def add_sessions(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve sessions; raises TypeError unless ``node.machine`` is a SessionMachine."""
    require_sessions(node)
    add_SessionsServicer_to_server(SessionsService(node), server)
    return (SERVICE,)
