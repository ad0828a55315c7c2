"""Messages per second of a recorded flow: in process, one durable node, three nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def replay(path: Path, *arguments: str) -> dict[str, object]:
    """Run ``matchengine replay`` and return its result."""
    command = [sys.executable, "-m", "matchengine.cli.main", "replay", str(path), "--format", "flash", "--json"]
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"replay of {path} gave no result")
    return dict(json.loads(lines[-1]))


def main(data: Path) -> None:
    """Print one line for each number of nodes, without and with kills."""
    path = data / "flash" / "normal.bin.xz"
    if not path.exists():
        print(f"skipped: {path} is missing")
        return
    for arguments in (("0",), ("1",), ("3",), ("3", "--kill-leader-at", "0.3,0.7")):
        result = replay(path, "--nodes", *arguments)
        print(
            f"nodes {' '.join(arguments)}: {result['messages_per_second']:,.0f} messages/s, "
            f"{result['seconds']:.1f} s, batch {result['batch']}, fsync {result['fsync']} "
            f"({result['fsync_us'] or 0:.0f} us), failover ms {result['failover_ms']}, "
            f"sha256 {str(result['reports_sha256'])[:12]}",
            flush=True,
        )
