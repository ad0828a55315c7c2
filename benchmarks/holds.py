"""How long each operation of the exchange holds the thread that it runs on, at 1,000,000 resting orders.

What an operation does in one piece is measured: a step of a batch, a slice of a snapshot.  Times are CPU times of this
process, so a busy machine disturbs them little; the longest and the median of all pieces are shown.
"""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.exchange_bench import IOC, ROOT, amend, batches, engine_with_instrument, generated_flow, new
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, INSTRUMENT, KIND_INSTRUMENT, VERSION
from matchengine.exchange.types import CommandType, Side
from matchengine.kernel_build import describe

ORDERS = 1_000_000
FLOW = 400_000
LEVELS = 8192
#: The last commit with the matcher of lists, dictionaries and heaps.
BEFORE = "2d6f9aa"
DEFINITION = BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + INSTRUMENT.pack(2, 0, 4, 0, 1, 1) + b"TEST"
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
    query("quote of everything, or its refusal", (lambda: engine.short_quote(1, Side.BUY, 2**62) for _ in range(20)))
    deep_quote(engine)
    query("order by its client's name", (lambda n=n: engine.order(1, n) for n in names))
    query("order by its id", (lambda n=n: engine.order_by_id(n) for n in names))


def deep_quote(engine: MatchingEngine) -> None:
    """What :meth:`MatchingEngine.quote` does on a thread, slice by slice."""
    pieces, kernel = Pieces("quote of everything, a slice"), engine._kernel
    level, missing = kernel.best(3), 2**62
    while level:
        _, missing, level = pieces.add(lambda at=level, left=missing: kernel.take(at, LEVELS, left))
    pieces.show()


def snapshots(engine: MatchingEngine) -> None:
    freezing, encoding, hashing = Pieces("freeze, an array"), Pieces("encode a slice"), Pieces("hash a slice")
    frozen = freezing.add(engine._kernel.freeze)
    while freezing.add(frozen.copy_next):
        pass
    chunks: list[bytes] = []
    slices = engine.snapshot()
    while (chunk := encoding.add(lambda: next(slices, None))) is not None:
        chunks.append(chunk)
    digest = hashlib.sha256()
    for chunk in chunks:
        hashing.add(lambda chunk=chunk: digest.update(chunk))
    for pieces in (freezing, encoding, hashing):
        pieces.show()
    restoring, copy = Pieces("restore a chunk (four slices)"), MatchingEngine()

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


#: Of a process that measures its own source: CPU seconds for the batches that come in on standard input.
PROGRAM = """
import pickle, sys, time
from matchengine.exchange.engine import MatchingEngine
definition, batches = pickle.load(sys.stdin.buffer)
engine = MatchingEngine()
engine.execute(definition, 0)
start = time.process_time()
for batch in batches:
    engine.execute(batch, 0)
print(time.process_time() - start)
"""


def cost_beside_the_old_matcher() -> None:
    """Three rounds of both, alternating, each in a process of its own."""
    records = generated_flow(FLOW)
    given = pickle.dumps((DEFINITION, batches(records)))
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", BEFORE, "src"], cwd=ROOT, capture_output=True, check=False).stdout
        if not archive:
            print(f"generated flow: not measured beside commit {BEFORE}, which is not there")
            return
        subprocess.run(["tar", "x"], cwd=folder, input=archive, check=True)
        found: dict[str, list[float]] = {"before": [], "now": []}
        for _ in range(3):
            for name, root in (("before", Path(folder)), ("now", ROOT)):
                found[name].append(cpu_of(root / "src", given) / FLOW * 1e9)
    before, now = statistics.median(found["before"]), statistics.median(found["now"])
    print(f"generated flow, batches of 1,000: {now:,.0f} ns a message, {before:,.0f} before: {before / now:.1f} times")


def cpu_of(source: Path, given: bytes) -> float:
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, input=given, capture_output=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    print(f"kernel: {describe()}")
    gc.freeze()
    for shape, prices in SHAPES.items():
        chance = random.Random(7)
        measure(shape, prices(chance), chance)
    cost_beside_the_old_matcher()


if __name__ == "__main__":
    main()
