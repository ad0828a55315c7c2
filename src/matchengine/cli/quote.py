"""``matchengine quote``."""

from __future__ import annotations

from typing import Literal

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json
from matchengine.cli.show import to_json
from matchengine.client.exchange import BUY, SELL, ExchangeReader
from matchengine.v1 import exchange_pb2 as pb


def quote(
    symbol: str,
    side: Literal["buy", "sell"],
    quantity: str,
    /,
    *,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Show what buying or selling a quantity would cost or bring now.

    Example: `matchengine quote ACME buy 100`

    Exit code 1 when the book holds less than the quantity.

    Parameters
    ----------
    symbol
        The instrument.
    side
        `buy` or `sell`.
    quantity
        A decimal number.

    """

    async def read() -> pb.QuoteResponse:
        async with ExchangeReader(addresses) as reader:
            return await reader.quote(symbol, BUY if side == "buy" else SELL, quantity)

    found = run(read())
    if json:
        print(to_json(found))
    else:
        verb = "costs" if side == "buy" else "brings"
        print(f"{side} {found.filled_quantity} {symbol}: {verb} {found.amount}")
    if not found.sufficient:
        complain(f"the book holds {found.filled_quantity} of {quantity} {symbol}")
    return Exit.OK if found.sufficient else Exit.FAILED
