"""The OrderEntry service: batches of orders, packed or typed, and new instruments.

Packed batches pass through as they are: what costs time per order is left to the client and the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import grpc

from matchengine.answers import head, pieces, size_of, whole
from matchengine.errors import NotLeaderError
from matchengine.exchange.layout import ANSWER_HEADER, REPORT
from matchengine.service.admission import propose_command
from matchengine.service.batches import check_orders
from matchengine.service.checks import check_numbering
from matchengine.service.engine import engine_of
from matchengine.service.errors import InvalidArgumentError, unary
from matchengine.service.instruments import instrument_answer, pack_instrument
from matchengine.service.proposals import answer, answer_stream
from matchengine.service.sessions import wire_status
from matchengine.service.slices import require_fits, slices
from matchengine.service.translation import REPORTS_PER_SLICE, Translator, require_reports
from matchengine.sessions import SessionAnswer, SessionStatus, decode_answer
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1.exchange_pb2_grpc import OrderEntryServicer, add_OrderEntryServicer_to_server

if TYPE_CHECKING:
    from matchengine.node.engine import Outcome
    from matchengine.runtime.node import Node

SERVICE: Final = "matchengine.v1.OrderEntry"


class _Batches:
    """SubmitRequests as proposals."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._translator = Translator(node)
        self._caught_up = _CaughtUp(node)

    async def propose(self, request: pb.SubmitRequest) -> asyncio.Future[Outcome]:
        check_numbering(request.session_id, request.sequence, request.acknowledged)
        packed = request.packed
        if not packed:
            packed = await self._pack(request)
        elif request.commands:
            raise InvalidArgumentError("packed: given together with commands; a request has exactly one of the two")
        else:
            check_orders(packed)
        return await propose_command(self._node, request, packed)

    async def _pack(self, request: pb.SubmitRequest) -> bytes:
        if not request.commands:
            raise InvalidArgumentError("packed: empty, and so is commands; a request has exactly one of the two")
        await self._caught_up.wait()
        return self._translator.pack(request.commands)

    def slices(self, request: pb.SubmitRequest, outcome: Outcome) -> Iterator[pb.SubmitResponse]:
        reply = decode_answer(outcome.result)
        if reply.status is not SessionStatus.OK:
            yield _response(request, reply)
        elif request.packed:
            for data, position, more in slices(request, reply.payload):
                yield _response(request, reply, packed=data, position=position, more=more)
        else:
            yield from self._typed_slices(request, reply)

    def _typed_slices(self, request: pb.SubmitRequest, reply: SessionAnswer) -> Iterator[pb.SubmitResponse]:
        require_reports(request.sequence, reply.payload)
        for data, position, more in slices(
            request, reply.payload, header=ANSWER_HEADER.size, unit=REPORT.size, size=REPORTS_PER_SLICE
        ):
            response = _response(request, reply, position=position, more=more)
            self._translator.add_reports(response, data)
            yield response

    async def whole(self, request: pb.SubmitRequest, outcome: Outcome, limit: int) -> pb.SubmitResponse:
        reply = decode_answer(outcome.result)
        if reply.status is not SessionStatus.OK:
            return _response(request, reply)
        require_fits(request.sequence, size_of(reply.payload), limit)
        if request.packed:
            response = _response(request, reply, packed=whole(reply.payload))
        else:
            require_reports(request.sequence, reply.payload)
            response = _response(request, reply)
            for data in pieces(reply.payload, REPORTS_PER_SLICE * REPORT.size, ANSWER_HEADER.size):
                self._translator.add_reports(response, data)
                await asyncio.sleep(0)  # a sweep through a large book must not cost the leader its heartbeats
        require_fits(request.sequence, response.ByteSize(), limit)
        return response


def _response(
    request: pb.SubmitRequest, reply: SessionAnswer, *, packed: bytes = b"", position: int = 0, more: bool = False
) -> pb.SubmitResponse:
    response = pb.SubmitResponse(
        sequence=request.sequence,
        status=wire_status(reply.status),
        index=reply.value,
        packed=packed,
        position=position,
        more=more,
    )
    if reply.status is SessionStatus.OK:
        response.exchange_time = ANSWER_HEADER.unpack(head(reply.payload, ANSWER_HEADER.size))[4]
    return response


class _CaughtUp:
    """Whether this leader has applied all that was committed before it was elected.

    Typed commands are translated by the local table of instruments, which a new leader may not have
    whole yet.  One linearizable read per leadership is enough.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._leadership = 0
        self._known = -1
        node.on_leadership(self._changed)

    def _changed(self, _leading: bool) -> None:
        self._leadership += 1

    async def wait(self) -> None:
        """Return once it has; raises NotLeaderError on a node that does not lead."""
        if not self._node.is_leader:
            raise NotLeaderError(self._node.leader_id, self._node.leader_address)
        while self._known != self._leadership:
            leadership = self._leadership
            await self._node.read_index()
            self._known = leadership


class OrderEntryService(OrderEntryServicer):
    """See ``proto/matchengine/v1/exchange.proto``."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._batches = _Batches(node)

    @unary
    async def Submit(self, request: pb.SubmitRequest) -> pb.SubmitResponse:
        """Execute one batch, once."""
        return await answer(self._batches, request)

    async def Stream(
        self, _requests: object, context: grpc.aio.ServicerContext[pb.SubmitRequest, pb.SubmitResponse]
    ) -> None:
        """Execute batches in order, many under way."""
        await answer_stream(self._batches, context)

    @unary
    async def AddInstrument(self, request: pb.AddInstrumentRequest) -> pb.AddInstrumentResponse:
        """List an instrument; refusals of the exchange are in ``reason``."""
        check_numbering(request.session_id, request.sequence, request.acknowledged)
        packed = pack_instrument(request.symbol, request.tick_size, request.lot_size)
        reply = decode_answer((await (await propose_command(self._node, request, packed))).result)
        response = pb.AddInstrumentResponse(sequence=request.sequence, status=wire_status(reply.status))
        if reply.status is SessionStatus.OK:
            response.instrument, response.reason = instrument_answer(request.sequence, whole(reply.payload))
        return response


def add_order_entry(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve orders; raises TypeError unless ``node.machine`` holds an exchange."""
    engine_of(node)
    add_OrderEntryServicer_to_server(OrderEntryService(node), server)
    return (SERVICE,)
