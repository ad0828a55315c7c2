"""Snapshots: everything that decides the next fill is in them, and rubbish is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from exchange_tools import BUY, SELL, batch, cancel, instrument_batch, listed, new, reduce, replace, reports
from hypothesis import given, settings
from hypothesis import strategies as st

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.snapshot import _COUNTERS, _HEADER, ORDER

SOURCE = Path(__file__).resolve().parents[2] / "src"


def _small():
    engine = listed(MatchingEngine(), 2)
    engine.execute(batch(new(1, SELL, 5, 100), new(2, SELL, 5, 100), new(3, BUY, 4, 99), new(4, BUY, 2, 100)), 77)
    return engine


SMALL = b"".join(_small().snapshot())


def _restore(content):
    engine = MatchingEngine()
    engine.restore([content])
    return engine


def test_the_queue_order_survives_even_where_ids_tell_another():
    engine = listed(MatchingEngine())
    engine.execute(batch(new(1, SELL, 5, 100), new(2, SELL, 5, 100), new(3, SELL, 5, 100), replace(1, 6, 100)), 0)
    copy = _restore(b"".join(engine.snapshot()))
    answer = reports(copy.execute(batch(new(9, BUY, 15, 100)), 0))
    assert [report.cl_ord_id for report in answer[2::2]] == [2, 3, 1]


def test_counters_and_time_survive():
    copy = _restore(SMALL)
    assert copy.time == 77
    ack, taker, _ = reports(copy.execute(batch(new(9, BUY, 1, 100)), 0))
    assert (ack.order_id, taker.trade_id) == (5, 2)


@pytest.mark.parametrize("count", [4095, 4096, 4097, 8192])
def test_blocks_of_orders_may_be_full(count):
    engine = listed(MatchingEngine(), 2)
    for start in range(1, count + 1, 1000):
        names = range(start, min(start + 1000, count + 1))
        engine.execute(batch(*(new(name, SELL, 1, 1 + name % 7) for name in names)), 0)
    copy = _restore(b"".join(engine.snapshot()))
    assert copy.state_hash() == engine.state_hash()
    assert sum(level[2] for level in copy.depth(1, 9)[1]) == count


@pytest.mark.parametrize(
    ("old", "new_bytes"),
    [
        ((1, 1, 5), (1, 0, 5)),  # cl_ord_id 0
        ((2, 2, 5), (1, 2, 5)),  # an order id twice
        ((2, 2, 5), (2, 1, 5)),  # a cl_ord_id twice
        ((2, 2, 5), (9, 2, 5)),  # an order id not given yet
        ((2, 2, 5), (2, 2, 0)),  # leaves 0
        ((2, 2, 5), (2, 2, -5)),
    ],
)
def test_an_impossible_order_is_refused(old, new_bytes):
    engine = listed(MatchingEngine())
    engine.execute(batch(new(1, SELL, 5, 100), new(2, SELL, 5, 100)), 0)
    content = b"".join(engine.snapshot())
    before, after = (ORDER.pack(number, name, 1, 100, leaves, 0) for number, name, leaves in (old, new_bytes))
    assert content.count(before) == 1
    with pytest.raises(ValueError, match="snapshot: "):
        _restore(content.replace(before, after))


def test_orders_out_of_place_are_refused():
    engine = listed(MatchingEngine())
    engine.execute(batch(new(1, BUY, 5, 99), new(2, SELL, 5, 101)), 0)
    content = b"".join(engine.snapshot())
    bid, ask = ORDER.pack(1, 1, 1, -99, 5, 0), ORDER.pack(2, 2, 1, 101, 5, 0)
    assert bid + ask in content
    for crossing in (ask + bid, bid + ORDER.pack(2, 2, 1, 99, 5, 0), bid + ORDER.pack(2, 2, 1, 101, 5, 2**63 - 5)):
        with pytest.raises(ValueError, match="snapshot: "):
            _restore(content.replace(bid + ask, crossing))


def test_a_frozen_snapshot_does_not_move():
    engine = _small()
    chunks = engine.snapshot()
    engine.execute(batch(cancel(1), reduce(2, 1), new(8, SELL, 1, 105)), 99)
    engine.execute(instrument_batch(b"LATER"), 0)
    assert b"".join(chunks) == SMALL


def test_chunks_are_small():
    engine = listed(MatchingEngine())
    for start in range(1, 30_000, 1000):
        engine.execute(batch(*(new(name, SELL, 1, name) for name in range(start, start + 1000))), 0)
    sizes = [len(chunk) for chunk in engine.snapshot()]
    assert max(sizes) <= 2**20
    assert sum(sizes) > 2**20
    copy = MatchingEngine()
    copy.restore(engine.snapshot())
    assert copy.state_hash() == engine.state_hash()


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_a_snapshot_cut_short_is_refused(length):
    with pytest.raises(ValueError, match="snapshot: "):
        _restore(SMALL[:length])


DAMAGE = {
    "other magic": b"X" + SMALL[1:],
    "other format": _HEADER.pack(b"MEXCHNGE", 2, 77) + SMALL[_HEADER.size :],
    "negative time": _HEADER.pack(b"MEXCHNGE", 1, -1) + SMALL[_HEADER.size :],
    "goes on": SMALL + b"\0",
    "too many instruments": SMALL[: _HEADER.size] + _COUNTERS.pack(4, 1, 2**32 - 1) + b"\0" * 99,
    "last order id too low": SMALL[: _HEADER.size] + _COUNTERS.pack(2, 1, 2) + SMALL[_HEADER.size + _COUNTERS.size :],
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused_and_changes_nothing(content):
    engine = _small()
    with pytest.raises(ValueError, match="snapshot: "):
        engine.restore([content])
    assert engine.state_hash() == _small().state_hash()


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_byte_is_refused_or_gives_a_sound_exchange(at, change):
    content = bytearray(SMALL)
    content[at] ^= change
    try:
        engine = _restore(bytes(content))
    except ValueError:
        return
    assert b"".join(engine.snapshot()) == bytes(content)
    for number in range(1, len(engine.instruments) + 1):
        bids, asks = engine.depth(number, 10)
        assert not bids or not asks or bids[0][0] < asks[0][0]


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_rubbish_is_refused(chunks):
    with pytest.raises(ValueError, match="snapshot: "):
        MatchingEngine().restore(chunks)


def test_the_state_hash_does_not_depend_on_the_process():
    """Nothing may follow from the order of a set or the hash of a string."""
    program = (
        "from exchange_tools import *\n"
        "from matchengine.exchange.engine import MatchingEngine\n"
        "engine = listed(MatchingEngine(), 9)\n"
        "places = [{'instrument': 1 + n % 9, 'account': n % 4} for n in range(500)]\n"
        "orders = [new(n, 1 + n % 2, 1 + n % 7, 99 + n % 5, **places[n]) for n in range(1, 500)]\n"
        "answer = engine.execute(batch(*orders), 5)\n"
        "import hashlib\n"
        "print(engine.state_hash().hex(), hashlib.sha256(answer).hexdigest())\n"
    )
    path = os.pathsep.join((str(SOURCE), str(Path(__file__).parent)))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
