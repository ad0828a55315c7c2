"""Golden interaction traces: scripts in ``traces/``, and everything the cores say as expected text.

``pytest tests/raft/test_interaction.py --rewrite-traces`` writes what is said now into the files; the
diff is then for a reader to judge.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_language import Interpreter

TRACES = sorted((Path(__file__).parent / "traces").glob("*.txt"))


def replayed(text: str) -> str:
    """The file as it should be: its comments and commands, each command with what it produces."""
    interpreter = Interpreter()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            lines += [line, *interpreter.run(line[2:])]
        elif not line or line.startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", TRACES, ids=lambda p: p.stem)
def test_trace(path: Path, request: pytest.FixtureRequest) -> None:
    """The cores say exactly what the file says."""
    expected = path.read_text()
    actual = replayed(expected)
    if request.config.getoption("--rewrite-traces"):
        path.write_text(actual)
    else:
        assert actual == expected


def test_there_are_traces() -> None:
    """An empty folder would pass for a good one."""
    assert len(TRACES) >= 8
