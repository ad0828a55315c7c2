"""What is refused before it costs an entry of the log: only what stays true, whatever is on its way to this node.

The applied table may be behind the log, and this node may have been deposed without knowing it.  That a session has
ended stays true for ever.  That it is full stays true until its client acknowledges more than it does here.  That one
was never opened, or that there is no room for another, is confirmed as a linearizable read is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from matchengine.node.engine import Outcome
from matchengine.sessions import SessionMachine, SessionStatus, command_envelope, encode_answer

if TYPE_CHECKING:
    from matchengine.runtime.node import Node


class Numbered(Protocol):
    """A request that carries one command of a session."""

    session_id: int
    sequence: int
    acknowledged: int


async def propose_command(node: Node, request: Numbered, command: bytes) -> asyncio.Future[Outcome]:
    """Propose one command of a session; a refusal that stands already is the outcome of an entry that there is not."""
    session_id, sequence, acknowledged = request.session_id, request.sequence, request.acknowledged
    machine = cast("SessionMachine", node.machine)
    status = machine.refusal(session_id, sequence, acknowledged)
    if status is not SessionStatus.OK and _is_heard(node):
        if status is SessionStatus.UNKNOWN_SESSION:
            status = await session_standing(node, session_id)
        if status is not SessionStatus.OK:
            return _refused(status)
    return node.propose(command_envelope(session_id, sequence, acknowledged, command))


async def session_standing(node: Node, session_id: int) -> SessionStatus:
    """OK unless it is certain that the session is not open, else what is known of its end."""
    if not _is_heard(node):
        return SessionStatus.OK
    machine = cast("SessionMachine", node.machine)
    status = machine.standing(session_id)
    if status is SessionStatus.UNKNOWN_SESSION:
        await node.read_index()
        status = machine.standing(session_id)
    return status


async def opening_refusal(node: Node, client_name: str) -> SessionStatus:
    """OK unless it is certain that no session of this name can be opened now, else why."""
    if not _is_heard(node):
        return SessionStatus.OK
    machine = cast("SessionMachine", node.machine)
    status = machine.room(client_name)
    if status is not SessionStatus.OK:
        await node.read_index()
        status = machine.room(client_name)
    return status


def _is_heard(node: Node) -> bool:
    """Whether the node's word counts: what others would refuse is told by the attempt to propose."""
    return node.is_leader and node.machine_is_readable


def _refused(status: SessionStatus) -> asyncio.Future[Outcome]:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    future.set_result(Outcome(0, encode_answer(status)))
    return future
