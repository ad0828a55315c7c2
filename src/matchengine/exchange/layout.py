"""The packed layout of commands and reports, version 1: what crosses the engine's one door.

All numbers are little-endian.  A batch is one log entry's payload::

    batch   = u8 version | u8 kind | u16 reserved (0) | u32 count | body
    kind 1  : body = count command records (orders)
    kind 2  : body = one instrument definition (count = 1)

    answer  = u8 version | u8 kind | u16 reserved (0) | u32 count | i64 exchange time (ns) | body

A kind-1 answer's body is ``count`` reports, of all commands in execution order; ``command``
numbers the command within the batch, from 0.  A kind-2 answer's body is one
:data:`INSTRUMENT_ANSWER`.  A batch whose header or length is wrong is answered as kind 1 with one
report: REJECTED, MALFORMED_BATCH.

The leader may not propose a version above :data:`VERSION`; a replica that finds one stops
(:class:`NewerLayoutError`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

VERSION: Final = 1

KIND_ORDERS: Final = 1
KIND_INSTRUMENT: Final = 2

#: version, kind, reserved, count
BATCH_HEADER: Final = Struct("<BBHI")
#: version, kind, reserved, count, exchange time
ANSWER_HEADER: Final = Struct("<BBHIq")

#: type, side, ord_type | time_in_force << 4, flags, instrument, account, invalid,
#: cl_ord_id, orig_cl_ord_id, price, quantity
#:
#: ``cl_ord_id`` names a NEW order; CANCEL, REDUCE and REPLACE name their target in
#: ``orig_cl_ord_id``, and a REPLACE with a non-zero ``cl_ord_id`` renames it.  ``quantity`` of a REDUCE
#: is what to take off.  ``invalid`` is 0, or the :class:`~matchengine.exchange.types.Reason` for
#: which a gateway could not translate a decimal string: the engine rejects with it, so that the
#: answer is part of the replicated history like any other.
COMMAND: Final = Struct("<BBBBIIIQQqq")
#: exec_type, ord_status, side, reason, command, instrument, account,
#: order_id, cl_ord_id, orig_cl_ord_id, trade_id, price, last_px, last_qty, leaves_qty, cum_qty
#:
#: A trade makes two reports with one ``trade_id``: the taker's, then the maker's.
REPORT: Final = Struct("<BBBBIIIQQQQqqqqq")

#: The same bytes as :data:`COMMAND`, read as words: type | side << 8 | how << 16 | flags << 24,
#: instrument, account, invalid, cl_ord_id, orig_cl_ord_id, price, quantity.
COMMAND_WORDS: Final = Struct("<IIIIQQqq")
#: The same bytes as :data:`REPORT`, written as words: exec_type | ord_status << 8 | side << 16 | reason << 24,
#: command, instrument, account, then as there.
REPORT_WORDS: Final = Struct("<IIIIQQQQqqqqq")

#: Largest batch that fits a log entry beside its session envelope.
MAX_BATCH_BYTES: Final = 60 * 1024 - 64
MAX_COMMANDS: Final = (MAX_BATCH_BYTES - BATCH_HEADER.size) // COMMAND.size

#: price decimals, quantity decimals, symbol length, reserved, tick size, lot size: the sizes in units of
#: 10^-decimals; the symbol (ASCII) follows.
INSTRUMENT: Final = Struct("<BBBBqq")
MAX_SYMBOL_BYTES: Final = 32
MAX_DECIMALS: Final = 18

#: Instruments are numbered from 1 up to this.
MAX_INSTRUMENTS: Final = 4096

#: Body of a kind-2 answer: instrument number (from 1; 0 = rejected), reason.
INSTRUMENT_ANSWER: Final = Struct("<II")


class NewerLayoutError(Exception):
    """A batch has a layout version above :data:`VERSION`: guessing its meaning would part the replicas."""
