"""What keeps bad batches and definitions out of the log, without a server."""

from __future__ import annotations

import pytest

from matchengine.exchange.layout import (
    BATCH_HEADER,
    COMMAND,
    INSTRUMENT,
    KIND_INSTRUMENT,
    KIND_ORDERS,
    MAX_BATCH_BYTES,
    MAX_COMMANDS,
    MAX_DECIMALS,
    VERSION,
)
from matchengine.exchange.types import MAX_INT64
from matchengine.service.batches import check_layout, check_orders
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.instruments import pack_instrument, parse_step

TOO_LARGE = BATCH_HEADER.size + (MAX_COMMANDS + 1) * COMMAND.size


def batch(count=1, *, version=VERSION, kind=KIND_ORDERS, reserved=0, body=None):
    return BATCH_HEADER.pack(version, kind, reserved, count) + (bytes(count * COMMAND.size) if body is None else body)


@pytest.mark.parametrize("good", [batch(0), batch(1), batch(MAX_COMMANDS)], ids=["empty", "one", "largest"])
def test_good_batches_pass(good):
    check_orders(good)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (b"", "packed: 0 bytes are fewer than the 8 of the header"),
        (b"\x01\x01\x00", "packed: 3 bytes are fewer than the 8 of the header"),
        (batch(version=VERSION + 1), f"packed: layout version {VERSION + 1} is above {VERSION}, the newest known here"),
        (batch(version=0), f"packed: layout version 0 is not {VERSION}"),
        (batch(kind=KIND_INSTRUMENT), "packed: kind 2 is not 1, a batch of orders"),
        (batch(kind=0), "packed: kind 0 is not 1, a batch of orders"),
        (batch(reserved=7), "packed: reserved 7 is not 0"),
        (batch(2, body=bytes(95)), "packed: 103 bytes are not a header of 8 and 2 commands of 48"),
        (batch(2**32 - 1, body=b""), "packed: 8 bytes are not a header of 8 and 4294967295 commands of 48"),
        (bytes(70_000), f"packed: 70000 bytes are above the limit of {MAX_BATCH_BYTES}; split the batch"),
        (
            batch(MAX_COMMANDS + 1),
            f"packed: {TOO_LARGE} bytes are above the limit of {MAX_BATCH_BYTES}; split the batch",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "batch",
)
def test_bad_batches_are_refused_by_name(bad, text):
    with pytest.raises(InvalidArgumentError) as caught:
        check_orders(bad)
    assert str(caught.value) == text


def test_a_newer_layout_is_kept_out_whatever_the_door():
    check_layout(b"")
    check_layout(batch())
    check_layout(b"\x00 what the machine rejects by itself")
    with pytest.raises(InvalidArgumentError, match=f"command: layout version 255 is above {VERSION}"):
        check_layout(b"\xff")


@pytest.mark.parametrize(
    ("text", "step"),
    [("1", (1, 0)), ("0.005", (5, 3)), ("0.010", (10, 3)), ("25", (25, 0)), ("2.5", (25, 1)), ("007", (7, 0))],
)
def test_steps(text, step):
    assert parse_step("tick_size", text) == step


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "tick_size: '' is not a decimal number such as 0.01"),
        (".5", "tick_size: '.5' is not a decimal number such as 0.01"),
        ("5.", "tick_size: '5.' is not a decimal number such as 0.01"),
        ("-1", "tick_size: '-1' is not a decimal number such as 0.01"),
        ("+1", "tick_size: '+1' is not a decimal number such as 0.01"),
        ("1e3", "tick_size: '1e3' is not a decimal number such as 0.01"),
        (" 1", "tick_size: ' 1' is not a decimal number such as 0.01"),
        ("1.2.3", "tick_size: '1.2.3' is not a decimal number such as 0.01"),
        ("\u0665", "tick_size: '\u0665' is not a decimal number such as 0.01"),
        ("0.00", "tick_size: 0.00 is not above 0"),
        ("0." + "0" * 18 + "1", f"tick_size: 19 decimals are above the limit of {MAX_DECIMALS}"),
        (str(MAX_INT64 + 1), f"tick_size: {MAX_INT64 + 1} is above {MAX_INT64} units of its last digit"),
        ("9" * 10_000, f"tick_size: {'9' * 40} is above {MAX_INT64} units of its last digit"),
    ],
)
def test_bad_steps_are_refused_by_name(text, error):
    with pytest.raises(InvalidArgumentError) as caught:
        parse_step("tick_size", text)
    assert str(caught.value) == error


def test_a_definition_is_packed():
    packed = pack_instrument("GOOG", "0.01", "5")
    assert BATCH_HEADER.unpack_from(packed) == (VERSION, KIND_INSTRUMENT, 0, 1)
    assert INSTRUMENT.unpack_from(packed, BATCH_HEADER.size) == (2, 0, 4, 0, 1, 5)
    assert packed.endswith(b"GOOG")


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        ("", "symbol: '' is not printable ASCII without spaces"),
        ("A B", "symbol: 'A B' is not printable ASCII without spaces"),
        ("A\n", "symbol: 'A\\n' is not printable ASCII without spaces"),
        ("Ä", "symbol: 'Ä' is not printable ASCII without spaces"),
        ("X" * 33, "symbol: 33 bytes are above the limit of 32"),
    ],
)
def test_bad_symbols_are_refused_by_name(symbol, text):
    with pytest.raises(InvalidArgumentError) as caught:
        pack_instrument(symbol, "1", "1")
    assert str(caught.value) == text
