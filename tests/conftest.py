"""What all tests share: where the test data are, the Go programs, and repeatable examples."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from go_programs import GoPrograms
from matchengine.kernel_build import is_stale

ROOT = Path(__file__).resolve().parents[1]

# A red test must be red for everybody, and a busy machine must not make one: no deadline, the same examples
# everywhere.  HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rewrite-traces`` writes what the cores say now into the golden traces; review it as a diff."""
    parser.addoption("--rewrite-traces", action="store_true", help="rewrite tests/raft/traces")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test a compiled kernel that is older than its source: Python would prefer it."""
    if is_stale():
        pytest.exit("the compiled kernel is older than its source; run make kernel", returncode=1)


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
