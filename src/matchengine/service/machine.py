"""The Machine service: commands and queries of any state machine, as opaque bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

from matchengine.answers import size_of, whole
from matchengine.raft.types import MAX_ENTRY_BYTES
from matchengine.service.admission import propose_command
from matchengine.service.checks import check_numbering, require_at_most
from matchengine.service.errors import InvalidArgumentError, UnsupportedError, unary
from matchengine.service.proposals import answer, answer_stream
from matchengine.service.reads import reach_read_index
from matchengine.service.sessions import require_sessions, wire_status
from matchengine.service.slices import require_fits, slices
from matchengine.sessions import ENVELOPE, SessionMachine, decode_answer
from matchengine.state_machine import Queryable
from matchengine.v1 import machine_pb2
from matchengine.v1.machine_pb2_grpc import MachineServicer, add_MachineServicer_to_server

if TYPE_CHECKING:
    from matchengine.node.engine import Outcome
    from matchengine.runtime.node import Node, Services

SERVICE: Final = "matchengine.v1.Machine"
MAX_COMMAND_BYTES: Final = MAX_ENTRY_BYTES - ENVELOPE.size
#: More than a response takes beside its answer.
_RESPONSE_BYTES: Final = 64

#: Raises InvalidArgumentError for a command that must not get into the log.  A machine that stops at
#: commands of a newer layout needs one, or any client could stop the whole cluster.
CommandCheck: TypeAlias = Callable[[bytes], None]


def accept_any(_command: bytes) -> None:
    """The check of a machine that answers every command, whatever its bytes."""


class _Commands:
    """ApplyRequests as proposals."""

    def __init__(self, node: Node, check: CommandCheck) -> None:
        self._node = node
        self._check = check

    async def propose(self, request: machine_pb2.ApplyRequest) -> asyncio.Future[Outcome]:
        check_numbering(request.session_id, request.sequence, request.acknowledged)
        command = request.command
        require_at_most("command", len(command), MAX_COMMAND_BYTES, "bytes")
        self._check(command)
        return await propose_command(self._node, request, command)

    def slices(self, request: machine_pb2.ApplyRequest, outcome: Outcome) -> Iterator[machine_pb2.ApplyResponse]:
        reply = decode_answer(outcome.result)
        status = wire_status(reply.status)
        for data, position, more in slices(request, reply.payload):
            yield machine_pb2.ApplyResponse(
                sequence=request.sequence, status=status, index=reply.value, answer=data, position=position, more=more
            )

    async def whole(self, request: machine_pb2.ApplyRequest, outcome: Outcome, limit: int) -> machine_pb2.ApplyResponse:
        reply = decode_answer(outcome.result)
        require_fits(request.sequence, size_of(reply.payload) + _RESPONSE_BYTES, limit)
        return machine_pb2.ApplyResponse(
            sequence=request.sequence, status=wire_status(reply.status), index=reply.value, answer=whole(reply.payload)
        )


class MachineService(MachineServicer):
    """See ``proto/matchengine/v1/machine.proto``."""

    def __init__(self, node: Node, check: CommandCheck) -> None:
        self._node = node
        self._commands = _Commands(node, check)

    @unary
    async def Apply(self, request: machine_pb2.ApplyRequest) -> machine_pb2.ApplyResponse:
        """Execute one command, once."""
        return await answer(self._commands, request)

    async def ApplyStream(
        self,
        _requests: object,
        context: grpc.aio.ServicerContext[machine_pb2.ApplyRequest, machine_pb2.ApplyResponse],
    ) -> None:
        """Execute commands in order, many under way."""
        await answer_stream(self._commands, context)

    @unary
    async def Query(self, request: machine_pb2.QueryRequest) -> machine_pb2.QueryResponse:
        """Read the machine at a linearizable point; UNIMPLEMENTED for one that is not Queryable."""
        machine = self._node.machine
        inner = machine.inner if isinstance(machine, SessionMachine) else machine
        if not isinstance(inner, Queryable):
            raise UnsupportedError(f"query: {type(inner).__name__} answers no queries")
        index = await reach_read_index(self._node)
        try:
            return machine_pb2.QueryResponse(answer=inner.query(request.query), index=index)
        except ValueError as error:
            raise InvalidArgumentError(f"query: {error}") from error


def machine_group(check: CommandCheck = accept_any) -> Services:
    """A group that serves the Machine service and lets only commands that pass ``check`` into the log.

    The group raises TypeError unless ``node.machine`` is a SessionMachine.
    """

    def add_machine(node: Node, server: grpc.aio.Server) -> Sequence[str]:
        require_sessions(node)
        add_MachineServicer_to_server(MachineService(node, check), server)
        return (SERVICE,)

    return add_machine
