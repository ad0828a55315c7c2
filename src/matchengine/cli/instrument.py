"""``matchengine instrument add`` and ``matchengine instrument list``."""

from __future__ import annotations

from cyclopts import App
from rich.table import Table

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json
from matchengine.cli.show import console, to_json
from matchengine.client.exchange import ExchangeClient, ExchangeReader
from matchengine.v1 import exchange_pb2 as pb

app = App(name="instrument", help="Create and list instruments.", result_action="return_value")


@app.command
def add(
    symbol: str, /, *, tick: str = "0.01", lot: str = "1", addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False
) -> int:
    """Create an instrument.

    Example: `matchengine instrument add ACME --tick 0.01 --lot 1`

    Parameters
    ----------
    symbol
        Its name: up to 32 printable ASCII characters.
    tick
        The smallest price step; its digits give the decimals of prices.
    lot
        The smallest quantity step; its digits give the decimals of quantities.

    """

    async def create() -> pb.AddInstrumentResponse:
        async with ExchangeClient(addresses, name="instrument") as client:
            return await client.add_instrument(symbol, tick, lot)

    created = run(create())
    if json:
        print(to_json(created))
    elif created.instrument:
        print(f"{symbol} is instrument {created.instrument}")
    if not created.instrument:
        complain(f"{symbol} was not created: {created.reason}")
    return Exit.OK if created.instrument else Exit.FAILED


@app.command(name="list")
def list_(*, addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False) -> int:
    """List all instruments.

    Example: `matchengine instrument list`
    """

    async def read() -> pb.InstrumentsResponse:
        async with ExchangeReader(addresses) as reader:
            return await reader.instruments()

    found = run(read())
    if json:
        print(to_json(found))
        return Exit.OK
    table = Table("number", "symbol", "tick", "lot")
    for each in found.instruments:
        table.add_row(str(each.instrument), each.symbol, each.tick_size, each.lot_size)
    console().print(table)
    return Exit.OK
