"""What the clients of a simulated cluster do: a state machine, commands for it, and reads of it."""

from __future__ import annotations

from typing import Any, Final, Protocol

from matchengine.exchange.layout import (
    BATCH_HEADER,
    COMMAND,
    INSTRUMENT,
    KIND_INSTRUMENT,
    KIND_ORDERS,
    VERSION,
)
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.exchange.types import CommandType, OrdType, ReplaceFlag, Side, TimeInForce
from matchengine.state_machine import StateMachine
from matchengine.testing.simulator.chance import Chance


class Workload(Protocol):
    """A state machine and its users.

    No two commands may be equal, or the simulator could not tell one that was executed twice.  Equal states must
    give equal snapshots, byte for byte.
    """

    @property
    def queries(self) -> int:
        """How many different reads there are."""
        ...

    def machine(self) -> StateMachine:
        """A new machine in its first state."""
        ...

    def command(self, chance: Chance, client: int, number: int) -> bytes:
        """The command with this number, from 1, of the client with this number, from 1."""
        ...

    def read(self, machine: Any, query: int) -> object:
        """The answer of ``machine`` to the query with this number, from 0; it must not change the machine."""
        ...


_SYMBOLS: Final = (b"ACME", b"WIDGET")
_MID: Final = 1_000
_WIDTH: Final = 6
#: More commands than one sector of a disk holds.
_LARGEST: Final = 24
_GTC: Final = OrdType.LIMIT | TimeInForce.GTC << 4
_IOC: Final = OrdType.LIMIT | TimeInForce.IOC << 4
_MARKET: Final = OrdType.MARKET | TimeInForce.IOC << 4


class ExchangeWorkload:
    """Accounts that trade two instruments around one price: orders, cancels, replaces, reduces, sweeps."""

    @property
    def queries(self) -> int:
        """The depth of each book."""
        return len(_SYMBOLS)

    def machine(self) -> ExchangeStateMachine:
        """An exchange without instruments: the first client lists them."""
        return ExchangeStateMachine()

    def command(self, chance: Chance, client: int, number: int) -> bytes:
        """A batch of commands, mostly few; every one names an order of its own."""
        if client == 1 and number <= len(_SYMBOLS):
            symbol = _SYMBOLS[number - 1]
            body = INSTRUMENT.pack(2, 0, len(symbol), 0, 1, 1) + symbol
            return BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + body
        count = 1 + chance.skewed(0, _LARGEST)
        records = [_order(chance, client, number * _LARGEST)]
        records += [_record(chance, client, number * _LARGEST + place) for place in range(1, count)]
        return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, count) + b"".join(records)

    def read(self, machine: ExchangeStateMachine, query: int) -> object:
        """(bids, asks) of one book; None while it is not listed."""
        try:
            return machine.engine.depth(query + 1, 5)
        except KeyError:
            return None


def _record(chance: Chance, client: int, cl_ord_id: int) -> bytes:
    """A command of any kind; what amends names an order of this client's recent ones, open or not."""
    what = chance.random()
    if what < 0.5:
        return _order(chance, client, cl_ord_id)
    target = max(_LARGEST, (cl_ord_id // _LARGEST - chance.skewed(0, 40)) * _LARGEST)
    quantity = chance.randrange(1, 20)
    if what < 0.8:
        return COMMAND.pack(CommandType.CANCEL, 0, 0, 0, 0, client, 0, 0, target, 0, 0)
    if what < 0.9:
        return COMMAND.pack(CommandType.REDUCE, 0, 0, 0, 0, client, 0, 0, target, 0, quantity)
    price = _MID + chance.randrange(-_WIDTH, _WIDTH + 1)
    flags = ReplaceFlag.QUANTITY_IS_LEAVES if chance.happens(0.5) else 0
    return COMMAND.pack(CommandType.REPLACE, 0, 0, flags, 0, client, 0, 0, target, price, quantity)


def _order(chance: Chance, client: int, cl_ord_id: int) -> bytes:
    side = Side.BUY if chance.happens(0.5) else Side.SELL
    instrument = chance.randrange(1, len(_SYMBOLS) + 1)
    kind = chance.random()
    how = _MARKET if kind < 0.05 else _IOC if kind < 0.15 else _GTC
    away = chance.randrange(-2, _WIDTH)
    price = 0 if how == _MARKET else _MID - away if side is Side.BUY else _MID + away
    quantity = chance.randrange(1, 20)
    return COMMAND.pack(CommandType.NEW, side, how, 0, instrument, client, 0, cl_ord_id, 0, price, quantity)
