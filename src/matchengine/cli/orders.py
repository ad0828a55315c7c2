"""``matchengine submit``, ``cancel``, ``reduce``, ``replace`` and ``order``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from cyclopts import Parameter

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Account, Addresses, Json, OptionalOrderName, OrderName
from matchengine.cli.show import open_order_line, show_reports, to_json
from matchengine.client.exchange import BUY, SELL, ExchangeClient, ExchangeReader
from matchengine.errors import RefusedError
from matchengine.v1 import exchange_pb2 as pb


def submit(
    symbol: str,
    side: Literal["buy", "sell"],
    quantity: str,
    /,
    price: str | None = None,
    *,
    id: Annotated[OrderName | None, Parameter(name="--id")] = None,  # noqa: A002 - the option's name
    ioc: Annotated[bool, Parameter(negative="")] = False,
    account: Account = 1,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Send one order and print its execution reports.

    Example: `matchengine submit ACME buy 100 10.25`

    Exit code 1 when the exchange rejects it.

    Parameters
    ----------
    symbol
        The instrument.
    side
        `buy` or `sell`.
    quantity
        A decimal number.
    price
        The limit, a decimal number; without it the order is a market order.
    id
        The order's client id, unique among the account's open orders; made from the clock if it is left out.
    ioc
        Immediate or cancel: what does not trade at once is dropped.

    """

    async def send() -> list[pb.Report]:
        name, way = time.time_ns() if id is None else id, BUY if side == "buy" else SELL
        async with ExchangeClient(addresses, account=account, name="submit") as client:
            if price is None:
                return await client.market_order(symbol, way, quantity, cl_ord_id=name)
            return await client.new_order(symbol, way, quantity, price, cl_ord_id=name, ioc=ioc)

    return Exit.OK if show_reports(run(send()), as_json=json) else Exit.FAILED


def cancel(
    id: OrderName,  # noqa: A002 - the argument's name
    /,
    *,
    account: Account = 1,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Cancel an open order.

    Example: `matchengine cancel 17`

    Exit code 1 when the exchange knows no such open order.

    Parameters
    ----------
    id
        The order's client id.

    """

    async def send() -> list[pb.Report]:
        async with ExchangeClient(addresses, account=account, name="cancel") as client:
            return await client.cancel(id)

    return Exit.OK if show_reports(run(send()), as_json=json) else Exit.FAILED


def reduce(
    id: OrderName,  # noqa: A002 - the argument's name
    quantity: str,
    /,
    *,
    account: Account = 1,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Take a quantity off an open order, which keeps its place in the queue.

    Example: `matchengine reduce 17 40`

    Exit code 1 when the order is not open, or when the exchange rejects the change.

    Parameters
    ----------
    id
        The order's client id.
    quantity
        What to take off, a decimal number; all that is left, or more, cancels the order.

    """

    async def send() -> list[pb.Report]:
        symbol = await _symbol_of(addresses, account, id)
        async with ExchangeClient(addresses, account=account, name="reduce") as client:
            return await client.reduce(symbol, id, quantity)

    return Exit.OK if show_reports(run(send()), as_json=json) else Exit.FAILED


def replace(
    id: OrderName,  # noqa: A002 - the argument's name
    quantity: str,
    price: str,
    /,
    *,
    new_id: OptionalOrderName = 0,
    account: Account = 1,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Set quantity and price of an open order; a new price or a larger quantity costs its place in the queue.

    Example: `matchengine replace 17 100 10.30`

    Exit code 1 when the order is not open, or when the exchange rejects the change.

    Parameters
    ----------
    id
        The order's client id.
    quantity
        The new total, of which the executed part is subtracted; a decimal number.
    price
        The new limit, a decimal number.
    new_id
        A new client id for the order; 0 keeps the old one.

    """

    async def send() -> list[pb.Report]:
        symbol = await _symbol_of(addresses, account, id)
        async with ExchangeClient(addresses, account=account, name="replace") as client:
            return await client.replace(symbol, id, quantity, price, new_cl_ord_id=new_id)

    return Exit.OK if show_reports(run(send()), as_json=json) else Exit.FAILED


def order(
    id: OptionalOrderName = 0,  # noqa: A002 - the argument's name
    /,
    *,
    order_id: OptionalOrderName = 0,
    account: Account = 1,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Show an open order, by its client id or by the exchange's id.

    Example: `matchengine order 17`

    Exit code 1 when there is no such open order: it is filled or cancelled, or never was.

    Parameters
    ----------
    id
        The order's client id.
    order_id
        The exchange's id, instead.

    """
    if bool(id) is bool(order_id):
        raise ValueError("ID: give either the order's client id or --order-id, the exchange's")
    found = run(_find(addresses, account, cl_ord_id=id, order_id=order_id))
    if json:
        print(to_json(found))
    elif found.found:
        print(open_order_line(found))
    else:
        complain(f"{_named(account, id, order_id)} is not open")
    return Exit.OK if found.found else Exit.FAILED


async def _find(addresses: str, account: int, *, cl_ord_id: int = 0, order_id: int = 0) -> pb.OrderResponse:
    async with ExchangeReader(addresses, account=account) as reader:
        return await reader.order(order_id=order_id, cl_ord_id=cl_ord_id)


async def _symbol_of(addresses: str, account: int, cl_ord_id: int) -> str:
    """The symbol of an open order: its decimals give a change's quantity and price their meaning."""
    found = await _find(addresses, account, cl_ord_id=cl_ord_id)
    if not found.found:
        raise RefusedError(f"{_named(account, cl_ord_id, 0)} is not open")
    return found.symbol


def _named(account: int, cl_ord_id: int, order_id: int) -> str:
    return f"order {order_id} of the exchange" if order_id else f"order {cl_ord_id} of account {account}"
