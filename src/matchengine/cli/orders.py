"""``matchengine submit`` and ``matchengine cancel``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from cyclopts import Parameter

from matchengine.cli.exits import Exit
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Account, Addresses, Json, OrderName
from matchengine.cli.show import show_reports
from matchengine.client.exchange import BUY, SELL, ExchangeClient
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
