"""What is told of a run that fails: its seed, how to repeat it, the smallest schedule, the trace in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from plants import always

from matchengine.raft.log import RaftLog
from matchengine.raft.types import Entry
from matchengine.testing.simulator import Chance, Fault, Plan, Workload, failure_report, run, shrink
from matchengine.testing.simulator.report import command
from matchengine.testing.simulator.simulation import named


class Forgetful:
    """A machine that counts, and starts anew where it should go on from a snapshot."""

    total = 0

    def apply(self, entries: Sequence[Entry]) -> list[bytes]:
        self.total += len(entries)
        return [b"%d" % self.total for _ in entries]

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"%d" % self.total])

    def restore(self, chunks: Iterator[bytes]) -> None:
        b"".join(chunks)


class ForgetfulWorkload:
    queries = 1

    def machine(self) -> Forgetful:
        return Forgetful()

    def command(self, chance: Chance, client: int, number: int) -> bytes:
        return b"%d/%d" % (client, number)

    def read(self, machine: Forgetful, query: int) -> int:
        return machine.total


def told(plan: Plan, workload: Workload | None = None) -> list[str]:
    first = run(plan, workload)
    assert first.failure is not None
    return failure_report(first, shrink(first, workload, runs=20), workload).split("\n")


def test_a_failure_is_told_with_its_command_and_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RaftLog, "is_up_to_date", always)
    kinds = (Fault.PARTITION, Fault.KILL, Fault.PAUSE, Fault.ONE_WAY)
    plan = next(p for p in (Plan(seed, 8000, 3, kinds) for seed in range(20)) if run(p).failure)
    lines = told(plan)
    words = f"matchengine simulate --seed {plan.seed} --steps"
    assert lines[0].startswith(f"seed {plan.seed} FAILED at step ")
    assert lines[1] == f"again:  {words} 8000 --nodes 3 --faults partition,kill,pause,one-way"
    assert lines[2].startswith(f"shrunk: {words} ")
    head = next(line for line in lines if line.startswith("        time  "))
    assert head.split()[:4] == ["time", "n1", "n2", "n3"]
    assert "FAILED: leader completeness" in lines[-1]


def test_a_failure_of_another_machine_is_told_with_a_call_that_repeats_it() -> None:
    """The command line would run the exchange, where nothing fails."""
    plan = next(p for p in (Plan(seed, 5000) for seed in range(40)) if run(p, ForgetfulWorkload()).failure)
    lines = told(plan, ForgetfulWorkload())
    calls = [line.partition(":")[2].strip() for line in lines[1:3]]
    assert calls[0] == f"run(Plan(seed={plan.seed}, steps=5000), ForgetfulWorkload())"
    names = {"run": run, "Plan": Plan, "Fault": Fault, "ForgetfulWorkload": ForgetfulWorkload}
    assert all(eval(each, names).failure is not None for each in calls)
    assert any("traced=True" in line for line in lines)


def test_kinds_of_faults_are_named_in_the_call() -> None:
    plan = Plan(seed=2, steps=10, nodes=5, faults=(Fault.KILL,), keep=(3,))
    (line,) = [line for line in _report_of(plan) if line.startswith("again:")]
    assert line.endswith("run(Plan(seed=2, steps=10, nodes=5, faults=(Fault.KILL,), keep=(3,)), ForgetfulWorkload())")


def _report_of(plan: Plan) -> list[str]:
    result = run(plan, ForgetfulWorkload())
    return failure_report(result, result, ForgetfulWorkload()).split("\n")


def test_the_command_makes_the_same_run_whatever_the_order_of_the_faults() -> None:
    plan = Plan(seed=4, steps=3000, faults=(Fault.PARTITION, Fault.KILL, Fault.ONE_WAY))
    words = command(plan).split()
    again = msgspec.structs.replace(plan, faults=named(words[words.index("--faults") + 1].split(",")))
    assert run(again).faults == run(plan).faults
