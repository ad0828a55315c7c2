"""Porcupine, the checker that everybody uses, comes to the same verdicts."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from registers import Register
from test_linearizability import BAD, GOOD, concurrent_history

from matchengine.testing.linearizability import Operation, check

SOURCE = Path(__file__).with_name("porcupine")


@pytest.fixture(scope="module")
def porcupine(tmp_path_factory) -> Path:
    """The Go program, built; without Go and its modules the test is skipped, or fails where Go is required."""
    program = tmp_path_factory.mktemp("porcupine") / "porcupine"
    missing = build(program)
    if not missing:
        return program
    if os.environ.get("MATCHENGINE_REQUIRE_GO") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def build(program) -> str:
    """Why it cannot be built here, or nothing."""
    if shutil.which("go") is None:
        return "no Go here to build Porcupine with"
    command = ["go", "build", "-o", program, "."]
    built = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    return f"Porcupine cannot be built here: {built.stderr}" if built.returncode else ""


def verdicts(program, histories):
    lines = b"\n".join(msgspec.json.encode(history) for history in histories) + b"\n"
    return subprocess.run([program], input=lines, capture_output=True, check=True).stdout.decode().split()


def any_history(chance):
    """A few operations with any results, many of them overlapping."""
    history = []
    for client in range(chance.randint(2, 7)):
        start, value, other = chance.randint(0, 12), chance.randint(0, 1), chance.randint(0, 1)
        call = chance.choice([("read",), ("write", value), ("swap", value, other)])
        result = {"read": chance.randint(0, 1), "write": None, "swap": chance.random() < 0.5}[call[0]]
        end = None if chance.random() < 0.2 else start + chance.randint(0, 8)
        history.append(Operation(client, start, call, end, None if end is None else result))
    return history


def spoilt(history, chance):
    """One read made to see what another value was, and some outcomes not known."""
    reads = [i for i, operation in enumerate(history) if operation.call == ("read",)]
    wrong = chance.choice(reads)
    changed = []
    for i, old in enumerate(history):
        unknown = i != wrong and old.call[0] != "read" and chance.random() < 0.02
        result = (old.result + 1) % 10 if i == wrong else old.result
        changed.append(Operation(old.client, old.start, old.call, None if unknown else old.end, result))
    return changed


def test_porcupine_agrees(porcupine) -> None:
    chance = random.Random(20)
    histories = [*GOOD.values(), *BAD.values(), *(any_history(chance) for _ in range(3000))]
    long = [concurrent_history(seed, 120, clients=4) for seed in range(20)]
    histories += long + [spoilt(history, chance) for history in long]
    ours = [check(Register(), history).verdict for history in histories]
    assert verdicts(porcupine, histories) == ours
    assert 500 < ours.count("no") < len(ours) - 500
