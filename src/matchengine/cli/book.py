"""``matchengine book``."""

from __future__ import annotations

from typing import Annotated

from matchengine.cli.exits import Exit
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json, whole
from matchengine.cli.show import console, ladder, to_json
from matchengine.client.exchange import ExchangeReader
from matchengine.v1 import exchange_pb2 as pb


def book(
    symbol: str,
    /,
    *,
    levels: Annotated[int, whole(0, 1000)] = 10,
    addresses: Addresses = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Show an order book as a ladder.

    Example: `matchengine book ACME --levels 5`

    Parameters
    ----------
    symbol
        The instrument.
    levels
        Most levels a side; 0 means all, up to 1,000.

    """

    async def read() -> pb.DepthResponse:
        async with ExchangeReader(addresses) as reader:
            return await reader.depth(symbol, levels)

    depth = run(read())
    if json:
        print(to_json(depth))
    else:
        console().print(ladder(symbol, depth.asks, depth.bids))
    return Exit.OK
