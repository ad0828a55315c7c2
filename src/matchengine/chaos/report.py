"""What a run came to."""

from __future__ import annotations

import msgspec

from matchengine.chaos.gauges import Series
from matchengine.chaos.ledger import Balance
from matchengine.testing.linearizability import Verdict

_MIB = 1024 * 1024


class Operations(msgspec.Struct, frozen=True):
    """Calls of clients; ``unknown`` are writes whose outcome nobody was told."""

    total: int
    writes: int
    reads: int
    unknown: int
    sessions_lost: int


class Linearizability(msgspec.Struct, frozen=True):
    """The verdict on the whole history, part by part; ``misfits`` explains parts that are not linearizable."""

    verdict: Verdict
    instruments: int
    steps: int
    undecided: tuple[str, ...]
    misfits: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """All that is printed at the end; ``problems`` are what no fault explains.

    ``balance`` and ``recovery_s`` are None for a cluster that did not come back after the last fault.
    """

    seed: int
    minutes: float
    nodes: int
    clients: int
    engines: tuple[str, ...]
    network: str
    disks: str
    operations: Operations
    faults: dict[str, int]
    full_disk_stops: int
    balance: Balance | None
    linearizability: Linearizability
    hashes_agree: bool
    longest_gap_s: float
    longest_gap_at_s: float
    recovery_s: float | None
    memory: dict[str, Series]
    descriptors: dict[str, Series]
    threads: dict[str, Series]
    disk: dict[str, Series]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all holds."""
        linearizable = self.linearizability.verdict is Verdict.LINEARIZABLE
        balanced = self.balance is not None and self.balance.good
        return linearizable and balanced and self.hashes_agree and not self.problems

    def text(self) -> str:
        """For people."""
        operations, order = self.operations, self.linearizability
        lines = [
            f"seed {self.seed}, {self.minutes:g} min, {self.nodes} nodes ({', '.join(self.engines)})",
            f"{self.clients} clients; delay and loss by {self.network}; disks: {self.disks}",
            f"operations: {operations.total:,}: {operations.writes:,} writes, {operations.reads:,} reads",
            f"outcome unknown: {operations.unknown}; sessions lost: {operations.sessions_lost}",
            f"faults: {sum(self.faults.values())}: " + ", ".join(f"{n} {kind}" for kind, n in self.faults.items()),
            f"stops at a full disk: {self.full_disk_stops}",
            *_sums(self.balance),
            f"linearizable: {order.verdict} ({order.instruments} instruments, {order.steps:,} steps)",
            f"state hashes agree: {'yes' if self.hashes_agree else 'no'}",
            f"longest time without progress: {self.longest_gap_s:.1f} s, from {self.longest_gap_at_s:.0f} s on",
            "after the last fault, " + _whole_again(self.recovery_s),
            *_table("memory, MiB", self.memory, _MIB),
            *_table("descriptors", self.descriptors),
            *_table("threads", self.threads),
            *_table("disk, MiB", self.disk, _MIB),
        ]
        lines += [f"undecided: {symbol}" for symbol in order.undecided]
        lines += [f"not linearizable: {symbol}: {misfit}" for symbol, misfit in order.misfits.items()]
        problems = self.problems if self.balance is None else (*self.balance.problems, *self.problems)
        lines += [f"problem: {problem}" for problem in problems]
        return "\n".join(lines)


def _sums(balance: Balance | None) -> list[str]:
    if balance is None:
        return []
    return [
        f"orders {balance.orders:,}, trades {balance.trades:,}, bought {balance.bought:,}, sold {balance.sold:,}",
        f"lost {balance.lost}, doubled {balance.doubled}, unbalanced {balance.unbalanced}",
    ]


def _whole_again(recovery_s: float | None) -> str:
    return "never whole again" if recovery_s is None else f"whole again in {recovery_s:.1f} s"


def _table(what: str, gauges: dict[str, Series], unit: int = 1) -> list[str]:
    """A line of heads, then one for each place."""
    digits = 1 if unit > 1 else 0
    lines = [f"{what:<12}" + "".join(f"{head:>9}" for head in ("min", "median", "max", "last"))]
    for place, series in gauges.items():
        values = (series.least, series.median, series.most, series.last)
        lines.append(f"{place:<12}" + "".join(f"{value / unit:9.{digits}f}" for value in values))
    return lines
