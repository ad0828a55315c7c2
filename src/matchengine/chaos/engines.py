"""What kind of node runs: ours, or another that takes part in the same cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from matchengine.cluster.processes import node_command


class Engine(Protocol):
    """How a node of one kind is started; it must end when its standard input does."""

    name: str

    def command(self, node_id: str, address: str, data_dir: Path, *, bootstrap: bool) -> list[str]:
        """The command line, run again after every crash."""
        ...


class MatchEngine:
    """Our own nodes, as ``matchengine node`` runs them."""

    name = "matchengine"

    def command(self, node_id: str, address: str, data_dir: Path, *, bootstrap: bool) -> list[str]:
        """See :class:`Engine`."""
        return node_command(node_id, address, data_dir, bootstrap=bootstrap)


ENGINES: Final[dict[str, Engine]] = {MatchEngine.name: MatchEngine()}
