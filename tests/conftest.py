"""What all tests share: where the test data are, the Go programs, and repeatable examples."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections import UserDict
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "engines" / "hashicorp"
BUILT = ROOT / "build" / "engine"

# A red test must be red for everybody, and a busy machine must not make one: no deadline, the same examples
# everywhere.  HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rewrite-traces`` writes what the cores say now into the golden traces; review it as a diff."""
    parser.addoption("--rewrite-traces", action="store_true", help="rewrite tests/raft/traces")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test data; without it a test is skipped, or fails where the data are required."""
    folder = ROOT / os.environ.get("MATCHENGINE_DATA", "../shared/data")
    if folder.is_dir():
        return folder
    reason = f"no test data at {folder}; MATCHENGINE_DATA names another place"
    if os.environ.get("MATCHENGINE_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted: ``record_property("counted", text)``."""
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "counted"
    ]
    if lines:
        terminalreporter.section("counted")
        for line in sorted(lines):
            terminalreporter.write_line(line)


def build(folder: Path, *arguments: str) -> Path:
    """``go build`` into ``folder``; one process at a time, and only once when nothing has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["go", "build", "-o", f"{folder}/", *arguments], cwd=MODULE, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return folder


class GoPrograms(UserDict[str, Path]):
    """Folders of the Go programs by kind of node, built when they are asked for.

    ``go`` has all of them.  ``go-1.5.0`` has the word tracker and what reads its log, built against that version of
    HashiCorp Raft.  ``raftadmin-1.2.0`` has the one that raft-grpc-example has pinned all the time.
    """

    def __missing__(self, kind: str) -> Path:
        name, _, version = kind.partition("-")
        if kind == "go":
            folder = build(BUILT, "./cmd/...", "github.com/Jille/raftadmin/cmd/raftadmin")
        elif name == "go":
            programs = ("./cmd/wordtracker", "./cmd/raftlog")
            folder = build(BUILT / f"v{version}", f"-modfile=versions/v{version}.mod", *programs)
        elif kind == "raftadmin-1.2.0":
            folder = build(BUILT / kind, "-modfile=versions/v1.3.11.mod", "github.com/Jille/raftadmin/cmd/raftadmin")
        else:
            raise KeyError(kind)
        self[kind] = folder
        return folder


@pytest.fixture(scope="session")
def go_programs() -> GoPrograms:
    """Folders of the Go programs by kind of node; without Go a test is skipped, or fails where Go is required."""
    if shutil.which("go") is None:
        reason = "Go is not installed; it builds the nodes on HashiCorp Raft"
        if os.environ.get("MATCHENGINE_REQUIRE_GO") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    programs = GoPrograms()
    programs["go"]  # what the tests of the engine look for in the folder
    return programs
