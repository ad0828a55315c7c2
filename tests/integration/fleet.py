"""Node processes that run one version of the program or another, taken from the repository's history."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from matchengine.cluster.local import LocalCluster
from matchengine.cluster.processes import NodeProcess


class VersionedNode(NodeProcess):
    """``matchengine node`` out of the folder of sources that ``program`` names at its next start."""

    def __init__(self, node_id, address, folder, program, *more):
        super().__init__(node_id, address, folder, bootstrap=False)
        #: Options that every version has.
        self._options = [
            "--id",
            node_id,
            "--address",
            address,
            "--data-dir",
            str(folder / node_id),
            "--until-eof",
            *more,
        ]
        self.program = program

    def start(self):
        main = [sys.executable, "-m", "matchengine.cli.main", "node"]
        self._command = ["env", f"PYTHONPATH={self.program}", *main, *self._options]
        super().start()

    async def terminate(self):
        """SIGTERM; returns the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def ended(self):
        """The exit code, once the process has ended."""
        await asyncio.to_thread(self._process.wait)
        self.kill()  # closes the pipe to it
        return self.exit_code


class Fleet(LocalCluster):
    """A cluster whose nodes all begin with ``program``; the first founds it."""

    def __init__(self, size, folder, program):
        super().__init__(size, folder)
        self.folder = folder
        self.nodes = [
            VersionedNode(node.id, node.address, folder, program, *(["--bootstrap"] if node is self.nodes[0] else []))
            for node in self.nodes
        ]

    async def leader(self):
        """The node that leads."""
        return self.node_at(await self._finder.find(60))

    async def move(self, node, program):
        """Stop ``node`` as an operator does, and start it with ``program`` on the same directory."""
        assert await node.terminate() == 0, node.last_words()
        node.program = program
        node.start()
        await self.caught_up(node)
