"""What kind of node runs: ours, or HashiCorp Raft's under the same state machine, or both in one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from matchengine.cluster.processes import node_command
from matchengine.raft.config import HASHICORP
from matchengine.runtime.config import EngineName


class Engine:
    """How a node of one kind is started; it ends when its standard input does.  No ``profile``: the engine's own."""

    def __init__(self, engine: EngineName, profile: str = "") -> None:
        self.name: str = engine
        self._engine = engine
        self._profile = profile

    def command(self, node_id: str, address: str, data_dir: Path, *, bootstrap: bool) -> list[str]:
        """The command line, run again after every crash."""
        return node_command(node_id, address, data_dir, bootstrap=bootstrap, engine=self._engine, profile=self._profile)


def engines_named(names: Sequence[str]) -> tuple[Engine, ...]:
    """The engines; nodes of different kinds get one timing.  Raises ValueError for a name that there is not."""
    known = get_args(EngineName)
    for name in names:
        if name not in known:
            raise ValueError(f"--engine {name!r} is none of {', '.join(known)}")
    profile = HASHICORP.name if len(set(names)) > 1 else ""
    return tuple(Engine(cast("EngineName", name), profile) for name in names)
