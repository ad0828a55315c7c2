"""``matchengine replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import Whole
from matchengine.cluster.local import ClusterEngine
from matchengine.kernel_build import require_fresh
from matchengine.replay.command import ReplayOptions, ReplayResult
from matchengine.replay.command import replay as run_replay
from matchengine.replay.errors import InputError


def replay(
    path: Path,
    /,
    *,
    format: Literal["flash", "lobster"],  # noqa: A002 - the option's name
    nodes: Whole,
    batch: Whole = 1000,
    kill_leader_at: str | None = None,
    expect_sha256: str | None = None,
    reports: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    work_dir: Path | None = None,
    window: Whole = 32,
    engine: ClusterEngine = "matchengine",
) -> int:
    """Replay a recording of order flow and judge the fills.

    Example: `matchengine replay normal.bin.xz --format flash --nodes 3 --kill-leader-at 0.3,0.7 --json`

    Exit code 0: nothing differs; 1: something does; 2: unusable input; 3: the nodes failed.

    Parameters
    ----------
    path
        A `.bin` or `.bin.xz` file (flash), or a folder of `.csv` or `.csv.xz` files (lobster).
    format
        What `path` is.
    nodes
        0: the engine in this process, without a log; 1: one durable node; 3: a cluster.
    batch
        Most messages per batch.
    kill_leader_at
        Fractions of the messages, separated by commas: when so many are acknowledged, the leader is
        killed with SIGKILL and started again.
    expect_sha256
        The right digest of the report stream (flash).
    reports
        Write the report stream (flash) or the fills (lobster) to this file.
    json
        Print one JSON object as the last line.
    work_dir
        Where the nodes' throw-away directories go; must be on a disk.
    window
        Most batches under way at once.
    engine
        What the nodes run on: ours, HashiCorp Raft, or both in one cluster.

    """
    require_fresh()
    try:
        options = ReplayOptions(
            path, format, nodes, batch, _fractions(kill_leader_at), expect_sha256, reports, work_dir, window, engine
        )
        result = run_replay(options, run)
    except InputError as error:
        complain(error)
        return Exit.USAGE
    print(msgspec.json.encode(result).decode() if json else _summary(result), flush=True)
    problems = result.problems(expect_sha256)
    for problem in problems:
        complain(problem)
    return Exit.FAILED if problems else Exit.OK


def _fractions(text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--kill-leader-at {text[:80]!r} is not a list of numbers separated by commas") from None


def _summary(result: ReplayResult) -> str:
    rate = f"{result.messages_per_second:,.0f} messages/s on {result.nodes} nodes, batches of {result.batch}"
    lines = [f"{result.messages:,} messages, {result.trades:,} trades in {result.seconds:.3f} s: {rate}"]
    if result.reports_sha256 is not None:
        lines.append(f"SHA-256 of the report stream: {result.reports_sha256}")
    else:
        lines.append(f"differences: {result.trade_differences} trades, {result.book_differences} cells of the book")
    for killed, (failover, in_flight) in enumerate(zip(result.failover_ms, result.in_flight_at_kill, strict=False), 1):
        lines.append(f"kill {killed}: {in_flight} batches in flight, {failover:g} ms to the next acknowledgement")
    if len(result.leader_engines) > 1:
        lines.append(f"led by nodes on: {', '.join(result.leader_engines)}")
    lines += [f"state hash: {state_hash}" for state_hash in result.state_hashes]
    return "\n".join(lines)
