"""``matchengine book``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Annotated, Final

from cyclopts import Parameter
from rich.live import Live

from matchengine.cli.exits import Exit
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json, whole
from matchengine.cli.show import console, ladder, to_json
from matchengine.client.exchange import ExchangeReader
from matchengine.v1 import exchange_pb2 as pb

_EVERY_S: Final = (0.1, 3600.0)


def book(
    symbol: str,
    /,
    *,
    levels: Annotated[int, whole(0, 1000)] = 10,
    addresses: Addresses = DEFAULT_ADDRESSES,
    watch: Annotated[bool, Parameter(negative="")] = False,
    every: float = 1.0,
    json: Json = False,
) -> int:
    """Show an order book as a ladder, once or until Ctrl-C.

    Example: `matchengine book ACME --levels 5 --watch`

    Parameters
    ----------
    symbol
        The instrument.
    levels
        Most levels a side; 0 means all, up to 1,000.
    watch
        Read the book again and again: a ladder that changes in place, or one line of JSON for each change.
    every
        Seconds between two reads with `--watch`, from 0.1 to 3600.

    """
    if not _EVERY_S[0] <= every <= _EVERY_S[1]:
        raise ValueError(f"--every {every:g} is not from {_EVERY_S[0]:g} to {_EVERY_S[1]:g}")

    async def read() -> None:
        async with ExchangeReader(addresses) as reader:
            depth = await reader.depth(symbol, levels)
            with _shown(json=json, in_place=watch) as show:
                show(symbol, depth)
                while watch:
                    await asyncio.sleep(every)
                    before, depth = depth, await reader.depth(symbol, levels)
                    if (before.bids, before.asks) != (depth.bids, depth.asks):
                        show(symbol, depth)

    run(read())
    return Exit.OK


@contextlib.contextmanager
def _shown(*, json: bool, in_place: bool) -> Iterator[Callable[[str, pb.DepthResponse], None]]:
    """How a book is shown: as a line of JSON, as a table, or as one that changes in place on a terminal."""
    out = console()
    if json:
        yield lambda _, depth: print(to_json(depth), flush=True)
    elif in_place and out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            yield lambda symbol, depth: live.update(ladder(symbol, depth.asks, depth.bids), refresh=True)
    else:
        yield lambda symbol, depth: out.print(ladder(symbol, depth.asks, depth.bids))
