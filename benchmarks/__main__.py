"""Measure what the README claims: ``python -m benchmarks [NAME ...]``.

By default all parts but ``soak``, which takes ten minutes and more, and without Go those that need it.  Every part
prints its own lines, with the machine and the date first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    engines,
    exchange_bench,
    failover,
    heartbeats,
    holds,
    memory,
    proxy,
    replays,
    rolling,
    side_by_side,
    simulation,
    soak,
    sweep,
    unary,
)

PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "exchange": lambda _: exchange_bench.main(),
    "holds": lambda _: holds.main(),
    "replays": lambda options: replays.main(options.data),
    "unary": lambda options: asyncio.run(unary.main(options.orders)),
    "failover": lambda options: asyncio.run(failover.main(options.kills)),
    "sweep": lambda options: asyncio.run(sweep.main(options.resting)),
    "heartbeats": lambda _: asyncio.run(heartbeats.main()),
    "memory": lambda options: asyncio.run(memory.main(options.data, options.passes)),
    "side_by_side": lambda options: side_by_side.main(options.rounds, options.kills),
    "engines": lambda options: asyncio.run(engines.main(options.data, options.seconds)),
    "proxy": lambda options: asyncio.run(proxy.main(options.data)),
    "rolling": lambda options: asyncio.run(rolling.main(options.data, options.rate)),
    "simulation": lambda _: simulation.main(),
    "soak": lambda options: asyncio.run(_soak(options)),
}
NEEDS_GO = {"side_by_side", "engines", "proxy", "rolling"}


async def _soak(options: argparse.Namespace) -> None:
    """Alone, and beside processes that take the processor from the nodes."""
    await soak.main(options.data, options.minutes, 0)
    await soak.main(options.data, options.busy_minutes, options.busy)


def _by_default() -> list[str]:
    left_out = {"soak"} if shutil.which("go") else {"soak"} | NEEDS_GO
    return [name for name in PARTS if name not in left_out]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MATCHENGINE_DATA", "../shared/data")))
    parser.add_argument("--orders", type=int, default=5000, help="orders of the unary part")
    parser.add_argument("--resting", type=int, default=1_000_000, help="resting orders of the sweep part")
    parser.add_argument("--kills", type=int, default=20, help="kills of the failover and side_by_side parts")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the side_by_side part")
    parser.add_argument("--passes", type=int, default=10, help="passes of the memory part")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run of the engines part")
    parser.add_argument("--rate", type=int, default=20_000, help="orders a second of the rolling part")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak part")
    parser.add_argument("--busy", type=int, default=4, help="busy processes beside the second run of the soak part")
    parser.add_argument("--busy-minutes", type=float, default=2.0, help="length of the second run of the soak part")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"NAME: {part!r} is none of {', '.join(PARTS)}")
    print(f"# {datetime.now(UTC):%Y-%m-%d}, {_machine()}, Python {platform.python_version()}", flush=True)
    for part in options.parts or _by_default():
        print(f"\n## {part}", flush=True)
        PARTS[part](options)
    return 0


def _machine() -> str:
    with open("/proc/cpuinfo", encoding="ascii") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores {models[0] if models else platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
