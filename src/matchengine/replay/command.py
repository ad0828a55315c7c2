"""One replay from beginning to end: load, run, judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from matchengine.client.exchange import ExchangeClient, ExchangeReader
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import ClusterEngine, LocalCluster
from matchengine.exchange.layout import MAX_COMMANDS
from matchengine.replay.errors import InputError
from matchengine.replay.flash import judge_flash, load_flash
from matchengine.replay.lobster import load_lobster, lobster_trades, trade_differences, write_trades
from matchengine.replay.plan import Plan, make_plan
from matchengine.replay.reports_file import open_reports
from matchengine.replay.run import ClusterRun, Outcome, run_in_process
from matchengine.replay.workload import Workload

Format = Literal["flash", "lobster"]
NODES: Final = (0, 1, 3)
MIN_WINDOW: Final = 16
MAX_WINDOW: Final = 512
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ReplayOptions(msgspec.Struct, frozen=True):
    """What to replay and how; raises InputError for values that make no sense, alone or together."""

    path: Path
    format: Format
    nodes: int
    batch: int = 1000
    kill_leader_at: tuple[float, ...] = ()
    expect_sha256: str | None = None
    reports: Path | None = None
    work_dir: Path | None = None
    window: int = 32
    engine: ClusterEngine = "matchengine"

    def __post_init__(self) -> None:
        if self.nodes not in NODES:
            raise InputError(f"--nodes {self.nodes}: a replay runs on 1 node or 3, or without a cluster (0)")
        if not 1 <= self.batch <= MAX_COMMANDS:
            raise InputError(f"--batch {self.batch} is not from 1 to {MAX_COMMANDS}, the most that fits a log entry")
        if not MIN_WINDOW <= self.window <= MAX_WINDOW:
            raise InputError(f"--window {self.window} is not from {MIN_WINDOW} to {MAX_WINDOW}")
        if self.engine != "matchengine" and self.nodes == 0:
            raise InputError(f"--engine {self.engine} needs nodes: --nodes 0 has no log")
        if self.engine == "mixed" and self.nodes < 3:
            raise InputError(f"--engine mixed needs --nodes 3, not {self.nodes}")
        self._check_kills()
        self._check_expected()
        self._check_reports()

    def _check_kills(self) -> None:
        if self.kill_leader_at and self.nodes < 3:
            raise InputError(f"--kill-leader-at needs --nodes 3: with {self.nodes} nobody takes over")
        for fraction in self.kill_leader_at:
            if not 0 < fraction < 1:
                raise InputError(f"--kill-leader-at {fraction:g} is not between 0 and 1")
        if len(set(self.kill_leader_at)) != len(self.kill_leader_at):
            raise InputError("--kill-leader-at names a fraction twice")

    def _check_expected(self) -> None:
        if self.expect_sha256 is None:
            return
        if self.format != "flash":
            raise InputError("--expect-sha256 is for the flash format; a lobster folder holds its own answers")
        if not _SHA256.fullmatch(self.expect_sha256.lower()):
            raise InputError(f"--expect-sha256 {self.expect_sha256[:80]!r} is not 64 hexadecimal digits")

    def _check_reports(self) -> None:
        if self.reports is not None and _is_part_of(self.reports, self.path):
            raise InputError(f"--reports {self.reports}: it would overwrite the recording {self.path}")


def _is_part_of(file: Path, recording: Path) -> bool:
    """Whether ``file`` is the recording or in it, be it by another name (a hard link)."""
    if file.resolve().is_relative_to(recording.resolve()):
        return True
    parts = [recording, *(recording.iterdir() if recording.is_dir() else ())]
    return file.exists() and any(part.exists() and part.samefile(file) for part in parts)


class ReplayResult(msgspec.Struct, frozen=True):
    """The object that ``--json`` prints: what does not apply is null."""

    format: Format
    nodes: int
    batch: int
    messages: int
    trades: int
    reports_sha256: str | None
    trade_differences: int | None
    book_differences: int | None
    state_hashes: list[str]
    seconds: float
    messages_per_second: float
    failover_ms: list[float]
    in_flight_at_kill: list[int]
    engine: ClusterEngine
    leader_engines: list[str]
    fsync: bool
    fsync_us: float | None

    def problems(self, expect_sha256: str | None) -> list[str]:
        """Everything that is not as it must be."""
        found = []
        if expect_sha256 is not None and self.reports_sha256 != expect_sha256.lower():
            found.append(f"the report stream's SHA-256 is {self.reports_sha256}, not {expect_sha256.lower()}")
        if self.trade_differences:
            found.append(f"{self.trade_differences} trades differ")
        if self.book_differences:
            found.append(f"{self.book_differences} cells of the book differ")
        if len(set(self.state_hashes)) != 1:
            found.append("the nodes' state hashes differ")
        if self.engine == "mixed" and len(set(self.leader_engines)) < 2:
            found.append(f"nodes on both engines shall lead, but only {', '.join(set(self.leader_engines))} did")
        return found


#: Runs a coroutine to its end.  Only nodes need an event loop; within one, Ctrl-C would wait for the next ``await``.
Runner = Callable[[Coroutine[Any, Any, Outcome]], Outcome]


def replay(options: ReplayOptions, runner: Runner) -> ReplayResult:
    """Run one replay.  Raises InputError for an unusable recording, ClusterError when the nodes fail."""
    if options.format == "flash":
        return _replay_flash(options, runner)
    return _replay_lobster(options, runner)


def _replay_flash(options: ReplayOptions, runner: Runner) -> ReplayResult:
    recording = load_flash(options.path)
    with open_reports(options.reports) as reports:
        outcome = _run(options, runner, recording.workload)
        judged = judge_flash(recording, outcome.answers, reports)
    return _result(options, recording.workload, outcome, judged.trades, judged.sha256, None, None)


def _replay_lobster(options: ReplayOptions, runner: Runner) -> ReplayResult:
    recording = load_lobster(options.path)
    with open_reports(options.reports) as reports:
        outcome = _run(options, runner, recording.workload)
        trades = lobster_trades(recording, outcome.answers)
        if reports is not None:
            write_trades(trades, reports)
    different = trade_differences(recording.trades, trades)
    return _result(options, recording.workload, outcome, len(trades), None, different, outcome.book_differences)


def _run(options: ReplayOptions, runner: Runner, workload: Workload) -> Outcome:
    mixed = options.engine == "mixed"
    plan = make_plan(workload, options.batch, options.kill_leader_at, options.window, handover=mixed)
    if not options.nodes:
        return run_in_process(workload, plan)
    return runner(_run_on_nodes(options, workload, plan))


async def _run_on_nodes(options: ReplayOptions, workload: Workload, plan: Plan) -> Outcome:
    with work_folder(options.work_dir) as folder:
        cluster = LocalCluster(options.nodes, folder, options.engine)
        try:
            await cluster.start()
            async with (
                ExchangeClient(cluster.addresses, name="replay", window=options.window) as client,
                ExchangeReader(cluster.addresses) as reader,
            ):
                return await ClusterRun(workload, plan, cluster, client, reader).run()
        finally:
            await cluster.stop()


def _result(
    options: ReplayOptions,
    workload: Workload,
    outcome: Outcome,
    trades: int,
    sha256: str | None,
    trades_differ: int | None,
    cells_differ: int | None,
) -> ReplayResult:
    seconds = outcome.seconds
    return ReplayResult(
        format=options.format,
        nodes=options.nodes,
        batch=options.batch,
        messages=workload.messages,
        trades=trades,
        reports_sha256=sha256,
        trade_differences=trades_differ,
        book_differences=cells_differ,
        state_hashes=outcome.state_hashes,
        seconds=round(seconds, 6),
        messages_per_second=round(workload.messages / seconds, 1) if seconds else 0.0,
        failover_ms=outcome.failover_ms,
        in_flight_at_kill=outcome.in_flight_at_kill,
        engine=options.engine,
        leader_engines=outcome.leader_engines,
        fsync=options.nodes > 0,
        fsync_us=outcome.fsync_us,
    )
