"""The engine alone, in this process: messages per second, cost per command, memory per open order.

Times are this process's CPU time, so a busy machine disturbs them little.
"""

from __future__ import annotations

import gc
import os
import random
import time
import tracemalloc
from pathlib import Path

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, INSTRUMENT, KIND_INSTRUMENT, KIND_ORDERS, VERSION
from matchengine.exchange.types import CommandType, OrdType, ReplaceFlag, Side, TimeInForce
from matchengine.replay.flash import load_flash

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / os.environ.get("MATCHENGINE_DATA", "../shared/data")
BATCH = 1000
GTC = OrdType.LIMIT | TimeInForce.GTC << 4
IOC = OrdType.LIMIT | TimeInForce.IOC << 4


def engine_with_instrument():
    engine = MatchingEngine()
    definition = INSTRUMENT.pack(2, 0, 4, 0, 1, 1) + b"TEST"
    engine.execute(BATCH_HEADER.pack(VERSION, KIND_INSTRUMENT, 0, 1) + definition, 0)
    return engine


def new(name, side, price, quantity, how=GTC):
    return COMMAND.pack(CommandType.NEW, side, how, 0, 1, 1, 0, name, 0, price, quantity)


def amend(kind, orig, price=0, quantity=0, flags=0):
    return COMMAND.pack(kind, 0, 0, flags, 0, 1, 0, 0, orig, price, quantity)


def batches(records):
    """Packed batches of BATCH commands."""
    parts = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    return [BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(part)) + b"".join(part) for part in parts]


def cpu_seconds(engine, packed):
    gc.collect()
    start = time.process_time()
    for batch in packed:
        engine.execute(batch, 0)
    return time.process_time() - start


def generated_flow(count, seed=1):
    """Half new orders around a moving price, the rest cancels and amends of recent ones."""
    chance = random.Random(seed)
    records, middle = [], 10_000
    for name in range(1, count // 2 + 1):
        side = chance.choice((Side.BUY, Side.SELL))
        middle += chance.choice((-1, 0, 1))
        away = int(chance.expovariate(0.1))
        price = middle - away if side is Side.BUY else middle + away
        how = IOC if chance.random() < 0.15 else GTC
        records.append(new(name, side, price + chance.randint(-1, 1), chance.randint(1, 100), how))
        target = max(1, name - int(chance.expovariate(0.01)))
        if chance.random() < 0.8:
            records.append(amend(CommandType.CANCEL, target))
        else:
            flags = ReplaceFlag.QUANTITY_IS_LEAVES
            records.append(amend(CommandType.REPLACE, target, price, chance.randint(1, 100), flags))
    return records


def report(name, count, seconds):
    print(f"  {name:<44} {count / seconds:>12,.0f} /s {seconds / count * 1e9:>9,.0f} ns")


def throughput():
    print("messages (packed batches of 1,000 in, packed reports out):")
    records = generated_flow(400_000)
    report("generated flow", len(records), cpu_seconds(engine_with_instrument(), batches(records)))
    path = DATA / "flash" / "normal.bin.xz"
    if not path.is_file():
        print(f"  flash normal: skipped, no {path.name}")
        return
    workload = load_flash(path).workload
    packed = [workload.batch(at, min(at + BATCH, workload.messages)) for at in range(0, workload.messages, BATCH)]
    engine = MatchingEngine()
    engine.execute(workload.instrument_batch(), 0)
    report("flash normal", workload.messages, cpu_seconds(engine, packed))


def command_costs(count=50_000):
    print("commands, each alone, on a book of 50,000 orders at 1,000 prices:")
    chance = random.Random(2)
    names = list(range(1, count + 1))
    chance.shuffle(names)
    resting = batches([new(name, Side.SELL, 10_000 + name % 1000, 10) for name in range(1, count + 1)])

    def loaded():
        engine = engine_with_instrument()
        for batch in resting:
            engine.execute(batch, 0)
        return engine

    lose = ReplaceFlag.QUANTITY_IS_LEAVES | ReplaceFlag.LOSE_PLACE
    cases = {
        "new, rests": [new(count + name, Side.SELL, 10_000 + name % 1000, 10) for name in names],
        "new, trades once and is filled": [new(count + name, Side.BUY, 11_000, 10) for name in names],
        "new IOC, finds nothing": [new(count + name, Side.BUY, 9_000, 10, IOC) for name in names],
        "cancel": [amend(CommandType.CANCEL, name) for name in names],
        "reduce": [amend(CommandType.REDUCE, name, quantity=1) for name in names],
        "replace, keeps its place": [amend(CommandType.REPLACE, n, 10_000 + n % 1000, 9) for n in names],
        "replace, loses its place": [amend(CommandType.REPLACE, n, 10_001 + n % 1000, 10, lose) for n in names],
        "cancel of what is not open": [amend(CommandType.CANCEL, count + name) for name in names],
    }
    for name, records in cases.items():
        report(name, count, cpu_seconds(loaded(), batches(records)))


def memory(count=200_000):
    packed = batches([new(name, Side.SELL, 10_000 + name % 1000, 1 + name % 500) for name in range(1, count + 1)])
    engine = engine_with_instrument()
    gc.collect()
    tracemalloc.start()
    for batch in packed:
        engine.execute(batch, 0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"memory: {used / count:,.0f} bytes per open order ({count:,} orders at 1,000 prices)")
    start = time.process_time()
    engine.state_hash()
    print(f"state hash: {(time.process_time() - start) / count * 1e9:,.0f} ns per open order")
    start = time.process_time()
    size = sum(map(len, engine.snapshot()))
    seconds = time.process_time() - start
    print(f"snapshot: {seconds / count * 1e9:,.0f} ns and {size / count:,.0f} bytes per open order")


def main():
    throughput()
    command_costs()
    memory()


if __name__ == "__main__":
    main()
