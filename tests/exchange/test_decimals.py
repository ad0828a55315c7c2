"""Decimal strings: exact, or rejected by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchengine.exchange.decimals import (
    MAX_TEXT,
    format_amount,
    format_price,
    format_quantity,
    format_units,
    parse_price,
    parse_quantity,
)
from matchengine.exchange.instruments import Instrument
from matchengine.exchange.types import MAX_INT64, Reason

#: A tick of 0.05, a lot of 100.
STOCK = Instrument(1, "ABC", 2, 0, 5, 100)
#: A tick of 1, a lot of 0.00000001.
COIN = Instrument(2, "COIN", 0, 8, 1, 1)

PRICES = [
    ("101.25", 2025, Reason.NONE),
    ("101", 2020, Reason.NONE),
    ("0.05", 1, Reason.NONE),
    ("00.050000", 1, Reason.NONE),
    ("101.251", 0, Reason.PRICE_TOO_PRECISE),
    ("101.26", 0, Reason.PRICE_OFF_TICK),
    ("0", 0, Reason.PRICE_ZERO),
    ("-0.00", 0, Reason.PRICE_ZERO),
    ("-5", 0, Reason.PRICE_NEGATIVE),
    ("461168601842738790.35", MAX_INT64, Reason.NONE),
    ("461168601842738790.40", 0, Reason.PRICE_OVERFLOW),
    ("9" * MAX_TEXT, 0, Reason.PRICE_OVERFLOW),
    ("9" * (MAX_TEXT + 1), 0, Reason.PRICE_MALFORMED),
]
MALFORMED = [
    "",
    "-",
    ".",
    "5.",
    ".5",
    "+5",
    " 5",
    "5 ",
    "1e3",
    "1_000",
    "1,5",
    "--5",
    "0x5",
    "\u0665",
    "NaN",
    "1.2.3",
    "5\n",
]


@pytest.mark.parametrize(("text", "ticks", "reason"), PRICES)
def test_prices(text, ticks, reason):
    assert parse_price(STOCK, text) == (ticks, reason)


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_numbers(text):
    assert parse_price(STOCK, text) == (0, Reason.PRICE_MALFORMED)
    assert parse_quantity(STOCK, text) == (0, Reason.QUANTITY_MALFORMED)


@pytest.mark.parametrize(
    ("text", "lots", "reason"),
    [
        ("300", 3, Reason.NONE),
        ("350", 0, Reason.QUANTITY_OFF_LOT),
        ("0.5", 0, Reason.QUANTITY_TOO_PRECISE),
        ("0", 0, Reason.QUANTITY_ZERO),
        ("-100", 0, Reason.QUANTITY_NEGATIVE),
        ("1" + "0" * 21, 0, Reason.QUANTITY_OVERFLOW),
    ],
)
def test_quantities(text, lots, reason):
    assert parse_quantity(STOCK, text) == (lots, reason)


def test_formats_show_all_decimals():
    assert format_price(STOCK, 1) == "0.05"
    assert format_price(STOCK, 2020) == "101.00"
    assert format_quantity(STOCK, 3) == "300"
    assert format_quantity(COIN, 1) == "0.00000001"
    assert format_amount(STOCK, 2025 * 3) == "30375.00"
    assert format_units(-5, 2) == "-0.05"


@given(st.integers(1, MAX_INT64), st.integers(0, 18), st.integers(1, MAX_INT64))
def test_what_is_formatted_is_parsed_back(steps, decimals, step):
    instrument = Instrument(1, "X", decimals, decimals, step, step)
    text = format_price(instrument, steps)
    assert parse_price(instrument, text) == (steps, Reason.NONE)
    assert parse_quantity(instrument, format_quantity(instrument, steps)) == (steps, Reason.NONE)


@given(st.text(max_size=80))
def test_any_text_has_an_answer(text):
    value, reason = parse_price(STOCK, text)
    assert (value > 0) is (reason is Reason.NONE)
