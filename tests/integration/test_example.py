"""The examples do what their first line says."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


def test_the_counter(tmp_path):
    source = (ROOT / "examples" / "counter.py").read_text()
    assert len(source.splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "counter.py")],
        env={"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert done.stdout == "plain:      [1, 3, 6]\nreplicated: [1, 3, 6]\n"
