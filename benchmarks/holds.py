"""How long each operation of the exchange holds the thread that it runs on, at 1,000,000 resting orders.

What an operation does in one piece is measured: a step of a batch, a slice of a snapshot.  Times are CPU times of this
process, so a busy machine disturbs them little; the longest and the median of all pieces are shown.
"""

from __future__ import annotations

import gc
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterable

from benchmarks.exchange_bench import IOC, amend, batches, cpu_seconds, engine_with_instrument, generated_flow, new
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import ANSWER_HEADER
from matchengine.exchange.types import CommandType, Side
from matchengine.kernel_build import describe

ORDERS = 1_000_000
DEEPEST = 1_000
QUERIES = 2_000
HIGHEST = 10**15


def one_level(_: random.Random) -> list[int]:
    return [10_000] * ORDERS


def a_level_each(chance: random.Random) -> list[int]:
    prices = list(range(10_000, 10_000 + ORDERS))
    chance.shuffle(prices)
    return prices


def random_prices(chance: random.Random) -> list[int]:
    return [chance.randint(1, 2_000) * chance.randint(1, HIGHEST // 2_000) for _ in range(ORDERS)]


SHAPES = {
    "at one level": one_level,
    "at 1,000,000 levels, in no order": a_level_each,
    "at random prices up to 10^15": random_prices,
}


class Pieces:
    """Times of the pieces of one operation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: list[float] = []

    def add(self, piece: Callable[[], object]) -> object:
        start = time.process_time_ns()
        result = piece()
        self.seconds.append((time.process_time_ns() - start) / 1e9)
        return result

    def show(self, units: int = 0) -> None:
        longest, median = 1e3 * max(self.seconds), 1e3 * statistics.median(self.seconds)
        each = f", {sum(self.seconds) / units * 1e9:,.0f} ns each" if units else ""
        pieces = f"{len(self.seconds):,} pieces" if len(self.seconds) > 1 else "one piece"
        print(f"  {self.name:<36} longest {longest:8.3f} ms, median {median:8.4f} ms ({pieces}{each})", flush=True)


def execute(engine: MatchingEngine, batch: bytes, pieces: Pieces) -> int:
    """Execute a batch step by step; the number of reports."""
    execution = pieces.add(lambda: engine.begin(batch, 0))
    while (chunks := pieces.add(execution.step)) is None:
        pass
    return ANSWER_HEADER.unpack_from(chunks[0])[3]


def run_batches(engine: MatchingEngine, name: str, records: list[bytes]) -> None:
    pieces = Pieces(name)
    for batch in batches(records):
        execute(engine, batch, pieces)
    pieces.show(len(records))


def query(name: str, calls: Iterable[Callable[[], object]]) -> None:
    pieces = Pieces(name)
    for call in calls:
        pieces.add(call)
    pieces.show()


def queries(engine: MatchingEngine, chance: random.Random) -> None:
    names = [chance.randint(1, ORDERS) for _ in range(QUERIES)]
    query(f"depth of {DEEPEST:,} levels", (lambda: engine.depth(1, DEEPEST) for _ in range(100)))
    query("quote of 1,000 lots", (lambda: engine.quote(1, Side.BUY, 1_000) for _ in range(100)))
    query("quote of everything", (lambda: engine.quote(1, Side.BUY, 2**62) for _ in range(3)))
    query("order by its client's name", (lambda n=n: engine.order(1, n) for n in names))
    query("order by its id", (lambda n=n: engine.order_by_id(n) for n in names))


def snapshots(engine: MatchingEngine) -> None:
    freezing, encoding, hashing = Pieces("freeze"), Pieces("encode a slice"), Pieces("hash a slice")
    chunks: list[bytes] = []
    slices = freezing.add(engine.snapshot)
    while (chunk := encoding.add(lambda: next(slices, None))) is not None:
        chunks.append(chunk)
    digest = hashlib.sha256()
    for chunk in chunks:
        hashing.add(lambda chunk=chunk: digest.update(chunk))
    for pieces in (freezing, encoding, hashing):
        pieces.show()
    restoring, copy = Pieces("restore a slice"), MatchingEngine()

    def given():
        """Between two chunks that are asked for lies what restoring one of them takes."""
        asked = time.process_time_ns()
        for chunk in chunks:
            yield chunk
            restoring.seconds.append((time.process_time_ns() - asked) / 1e9)
            asked = time.process_time_ns()

    copy.restore(given())
    restoring.show()
    if copy.state_hash() != engine.state_hash():
        raise SystemExit("the restored state is another one")


def measure(shape: str, prices: list[int], chance: random.Random) -> None:
    print(f"{ORDERS:,} orders {shape}:", flush=True)
    engine = engine_with_instrument()
    run_batches(engine, "new, batches of 1,000", [new(n, Side.SELL, px, 10) for n, px in enumerate(prices, 1)])
    queries(engine, chance)
    gone = chance.sample(range(1, ORDERS + 1), 100_000)
    run_batches(engine, "cancel at random, batches of 1,000", [amend(CommandType.CANCEL, name) for name in gone])
    back = [new(name, Side.SELL, prices[name - 1], 10) for name in gone]
    run_batches(engine, "new again, batches of 1,000", back)
    snapshots(engine)
    sweep = Pieces("sweep of all, a step")
    found = execute(engine, batches([new(ORDERS + 1, Side.BUY, 2**62, 10 * ORDERS + 1, IOC)])[0], sweep)
    sweep.show(ORDERS)
    print(f"  {'the whole sweep':<36} {sum(sweep.seconds) * 1e3:,.0f} ms, {found:,} reports", flush=True)


def main() -> None:
    print(f"kernel: {describe()}")
    gc.freeze()
    for shape, prices in SHAPES.items():
        chance = random.Random(7)
        measure(shape, prices(chance), chance)
    records = generated_flow(400_000)
    seconds = min(cpu_seconds(engine_with_instrument(), batches(records)) for _ in range(3))
    print(f"generated flow: {seconds / len(records) * 1e9:,.0f} ns a message")


if __name__ == "__main__":
    main()
