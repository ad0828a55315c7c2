"""What the Go half does with a disk or a state machine that fails, tested in Go."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

MODULE = Path(__file__).resolve().parents[2] / "engines" / "hashicorp"


@pytest.mark.parametrize(
    "command", [("vet", "./..."), ("test", "-count=1", "-timeout=100s", "./...")], ids=["vet", "test"]
)
def test_the_program(go_programs, command):
    done = subprocess.run(["go", *command], cwd=MODULE, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
