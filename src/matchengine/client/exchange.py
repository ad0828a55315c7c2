"""The client of the exchange: orders with decimal strings, or packed batches for the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import grpc

from matchengine.client.channels import Channels
from matchengine.client.contracts import ATTEMPT_S
from matchengine.client.leader import parse_addresses, read_any
from matchengine.client.pipeline import TIMEOUT_S, WINDOW, SessionClient
from matchengine.errors import RefusedError, UnknownOutcomeError
from matchengine.exchange.layout import MAX_BATCH_BYTES, MAX_COMMANDS
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1.exchange_pb2_grpc import MarketDataStub, OrderEntryStub

#: A packed batch (see docs/layout.md), or commands with decimal strings.
Batch: TypeAlias = bytes | Sequence[pb.Command]

BUY: Final = pb.SIDE_BUY
SELL: Final = pb.SIDE_SELL

T = TypeVar("T")


class OrderWire:
    """Batches over ``OrderEntry.Stream``; the answer has the batch's form."""

    def open(self, channel: grpc.aio.Channel) -> Any:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return OrderEntryStub(channel).Stream()

    def request(
        self, session_id: int, sequence: int, acknowledged: int, command: Batch, position: int
    ) -> pb.SubmitRequest:
        """See :class:`matchengine.client.pipeline.Wire`."""
        request = pb.SubmitRequest(
            session_id=session_id, sequence=sequence, acknowledged=acknowledged, slices=True, position=position
        )
        if isinstance(command, bytes):
            request.packed = command
        else:
            request.commands.extend(command)
        return request

    def size(self, response: pb.SubmitResponse) -> int:
        """Bytes, or reports."""
        return len(response.packed) or len(response.reports)

    def rest(self, response: pb.SubmitResponse, known: int) -> pb.SubmitResponse:
        """See :class:`matchengine.client.pipeline.Wire`."""
        response.packed = response.packed[known:]
        del response.reports[:known]
        return response

    def answer(self, response: pb.SubmitResponse) -> pb.SubmitResponse:
        """The response itself: taking it apart can wait until somebody looks."""
        return response

    def assembly(self) -> _Responses:
        """See :class:`matchengine.client.pipeline.Wire`."""
        return _Responses()


class _Responses:
    """See :class:`matchengine.client.pipeline.Assembly`."""

    def __init__(self) -> None:
        self._whole = pb.SubmitResponse()
        self._packed: list[bytes] = []

    def add(self, response: pb.SubmitResponse) -> None:
        """The next slice."""
        if response.packed:
            self._packed.append(response.packed)
            response.packed = b""
        self._whole.MergeFrom(response)

    def whole(self) -> pb.SubmitResponse:
        """The one response with all bytes or reports."""
        self._whole.packed = b"".join(self._packed)
        self._whole.position = 0
        self._whole.more = False
        return self._whole


class ExchangeReader:
    """Linearizable reads, spread over all nodes; no session is needed.  An async context manager."""

    def __init__(self, addresses: str | Sequence[str], *, account: int = 1, timeout_s: float = TIMEOUT_S) -> None:
        self.account = account
        self._addresses = parse_addresses(addresses)
        self._timeout_s = timeout_s
        self._channels = Channels()
        self._turn = 0

    async def close(self) -> None:
        """End the connections."""
        await self._channels.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def depth(self, symbol: str, levels: int = 0) -> pb.DepthResponse:
        """The book's best ``levels`` levels a side; 0 means all, up to 1,000."""
        request = pb.DepthRequest(symbol=symbol, levels=levels)
        return await self._read(lambda stub: stub.Depth(request, timeout=ATTEMPT_S))

    async def order(self, *, order_id: int = 0, cl_ord_id: int = 0) -> pb.OrderResponse:
        """An open order, by the exchange's id or by this account's own."""
        request = pb.OrderRequest(order_id=order_id, account=self.account, cl_ord_id=cl_ord_id)
        return await self._read(lambda stub: stub.Order(request, timeout=ATTEMPT_S))

    async def quote(self, symbol: str, side: pb.Side, quantity: str) -> pb.QuoteResponse:
        """The price of buying or selling ``quantity`` now."""
        request = pb.QuoteRequest(symbol=symbol, side=side, quantity=quantity)
        return await self._read(lambda stub: stub.Quote(request, timeout=ATTEMPT_S))

    async def instruments(self) -> pb.InstrumentsResponse:
        """All instruments."""
        return await self._read(lambda stub: stub.Instruments(pb.InstrumentsRequest(), timeout=ATTEMPT_S))

    async def _read(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Ask the nodes in turn, so that reads spread over all of them."""
        self._turn = (self._turn + 1) % len(self._addresses)
        order = self._addresses[self._turn :] + self._addresses[: self._turn]
        return await read_any(order, self._channels, lambda channel: call(MarketDataStub(channel)), self._timeout_s)


class ExchangeClient(SessionClient[Batch, pb.SubmitResponse]):
    """A session with an exchange.

    :meth:`submit` and :meth:`apply` take one batch that fits a log entry; the other methods take
    decimal strings and split what is too large.  Business rejects are reports, never exceptions.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        account: int = 1,
        name: str = "",
        timeout_s: float = TIMEOUT_S,
        window: int = WINDOW,
    ) -> None:
        super().__init__(OrderWire(), addresses, name=name, timeout_s=timeout_s, window=window)
        self.account = account

    def check(self, command: Batch) -> None:
        """RefusedError for a batch that is too large or empty, TypeError for what is no batch."""
        _check_batch(command)

    # --- orders ----------------------------------------------------------------------------

    async def send(self, commands: Sequence[pb.Command]) -> list[pb.Report]:
        """Any number of commands, in order; all their reports, numbered by command through all batches."""
        reports: list[pb.Report] = []
        for start in range(0, len(commands), MAX_COMMANDS):
            async for response in self.slices(commands[start : start + MAX_COMMANDS]):
                for report in response.reports:
                    report.command += start
                    reports.append(report)
        return reports

    async def new_order(
        self, symbol: str, side: pb.Side, quantity: str, price: str, *, cl_ord_id: int, ioc: bool = False
    ) -> list[pb.Report]:
        """A limit order; ``ioc`` drops what does not trade at once."""
        order = pb.NewOrder(
            cl_ord_id=cl_ord_id,
            symbol=symbol,
            side=side,
            ord_type=pb.ORD_TYPE_LIMIT,
            time_in_force=pb.TIME_IN_FORCE_IOC if ioc else pb.TIME_IN_FORCE_GTC,
            price=price,
            quantity=quantity,
        )
        return await self.send([pb.Command(account=self.account, new_order=order)])

    async def market_order(self, symbol: str, side: pb.Side, quantity: str, *, cl_ord_id: int) -> list[pb.Report]:
        """A market order; its remainder is cancelled."""
        order = pb.NewOrder(
            cl_ord_id=cl_ord_id,
            symbol=symbol,
            side=side,
            ord_type=pb.ORD_TYPE_MARKET,
            time_in_force=pb.TIME_IN_FORCE_IOC,
            quantity=quantity,
        )
        return await self.send([pb.Command(account=self.account, new_order=order)])

    async def cancel(self, cl_ord_id: int) -> list[pb.Report]:
        """Cancel an open order."""
        return await self.send([pb.Command(account=self.account, cancel=pb.CancelOrder(orig_cl_ord_id=cl_ord_id))])

    async def reduce(self, symbol: str, cl_ord_id: int, quantity: str) -> list[pb.Report]:
        """Take ``quantity`` off an open order; it keeps its place."""
        change = pb.ReduceOrder(orig_cl_ord_id=cl_ord_id, quantity=quantity)
        return await self.send([pb.Command(account=self.account, symbol=symbol, reduce=change)])

    async def replace(
        self,
        symbol: str,
        cl_ord_id: int,
        quantity: str,
        price: str,
        *,
        new_cl_ord_id: int = 0,
        quantity_is_leaves: bool = False,
        lose_place: bool = False,
    ) -> list[pb.Report]:
        """Change price and quantity of an open order; see ``ReplaceOrder`` in the protocol for the flags."""
        change = pb.ReplaceOrder(
            orig_cl_ord_id=cl_ord_id,
            cl_ord_id=new_cl_ord_id,
            price=price,
            quantity=quantity,
            quantity_is_leaves=quantity_is_leaves,
            lose_place=lose_place,
        )
        return await self.send([pb.Command(account=self.account, symbol=symbol, replace=change)])

    # --- instruments -----------------------------------------------------------------------

    async def add_instrument(self, symbol: str, tick_size: str, lot_size: str) -> pb.AddInstrumentResponse:
        """Create an instrument; a refusal of the exchange is named in ``reason``."""

        async def call(
            channel: grpc.aio.Channel, session_id: int, sequence: int, acknowledged: int
        ) -> pb.AddInstrumentResponse:
            request = pb.AddInstrumentRequest(
                session_id=session_id,
                sequence=sequence,
                acknowledged=acknowledged,
                symbol=symbol,
                tick_size=tick_size,
                lot_size=lot_size,
            )
            response: pb.AddInstrumentResponse = await OrderEntryStub(channel).AddInstrument(request, timeout=ATTEMPT_S)
            return response

        try:
            async with asyncio.timeout(self.timeout_s):
                return await self.session.alone(call)
        except TimeoutError:
            raise UnknownOutcomeError(f"no answer within {self.timeout_s:g} s; {symbol} may still be created") from None


def _check_batch(command: bytes | Sequence[object]) -> None:
    """Once it has a sequence, what cannot be sent would stand in the way of all that follow."""
    if isinstance(command, bytes):
        if len(command) > MAX_BATCH_BYTES:
            raise RefusedError(f"packed: {len(command)} bytes are above {MAX_BATCH_BYTES}; split the batch")
        return
    if not 1 <= len(command) <= MAX_COMMANDS:
        raise RefusedError(f"commands: {len(command)} are not from 1 to {MAX_COMMANDS}; split the batch")
    for each in command:
        if not isinstance(each, pb.Command):
            raise TypeError(f"batch: {type(command).__name__} of {type(each).__name__} is neither bytes nor commands")
