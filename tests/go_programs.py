"""The Go programs that tests start, built when they are asked for."""

from __future__ import annotations

import fcntl
import subprocess
from collections import UserDict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "engines" / "hashicorp"
BUILT = ROOT / "build" / "engine"


class GoPrograms(UserDict[str, Path]):
    """Folders of the programs by kind of node.

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
