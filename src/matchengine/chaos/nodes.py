"""The places where nodes run: a namespace, a disk and a process each; and the cluster that they make."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import grpc

from matchengine.chaos.disks import Disk
from matchengine.chaos.engines import Engine
from matchengine.chaos.network import Host, inside
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.leader import LeaderFinder
from matchengine.cluster.processes import ClusterError, Process
from matchengine.errors import MatchEngineError
from matchengine.wire.raft_admin_pb2 import GetConfigurationResponse

PORT: Final = 50051
_POLL_S: Final = 0.05
_CHANGE_S: Final = 20.0
_VOTER: Final = GetConfigurationResponse.Server.VOTER


class Place:
    """Where one node after another lives; ``is_expected_up`` tells a fault from a node that ended by itself."""

    def __init__(self, number: int, host: Host, engine: Engine, folder: Path) -> None:
        self.name = f"n{number}"
        self.host = host
        self.address = f"{host.ip}:{PORT}"
        self.is_expected_up = False
        self.is_busy = False
        self.process: Process | None = None
        self.disk = Disk(folder, self.name)
        self._engine = engine
        self._folder = folder
        self._lives = 0

    @property
    def node_id(self) -> str:
        """The id of the node that lives here, or ``""``."""
        return self.process.id if self.process is not None else ""

    def move_in(self, *, bootstrap: bool = False) -> None:
        """A new node under a new id, on an empty disk; its process is started."""
        self._lives += 1
        node_id = f"{self.name}-{self._lives}"
        command = self._engine.command(node_id, self.address, self.disk.place / node_id, bootstrap=bootstrap)
        self.process = Process(node_id, inside(self.host, command), self._folder / f"{node_id}.log")
        self.start()

    def move_out(self) -> None:
        """Kill the node and wipe its disk."""
        if self.process is not None:
            self.kill()
            shutil.rmtree(self.disk.place / self.process.id, ignore_errors=True)
            self.process = None

    def start(self) -> None:
        """Start the process again."""
        assert self.process is not None
        self.process.start()
        self.is_expected_up = True

    def kill(self) -> None:
        """SIGKILL."""
        self.is_expected_up = False
        if self.process is not None:
            self.process.kill()


class Cluster:
    """All places and what an operator does with them."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.channels = Channels()
        self.admin = Admin(self.channels)
        self._finder = LeaderFinder([place.address for place in places], self.channels)

    @property
    def addresses(self) -> list[str]:
        """Where nodes are, or could be."""
        return [place.address for place in self.places]

    @property
    def inhabited(self) -> list[Place]:
        """Places with a node, alive or not."""
        return [place for place in self.places if place.process is not None]

    async def start(self, size: int, patience_s: float) -> None:
        """The first node founds the cluster, ``size`` in all are made voters."""
        for number, place in enumerate(self.places[:size]):
            place.move_in(bootstrap=number == 0)
        await self.until("all nodes are voters", self.settle, patience_s)

    async def stop(self) -> None:
        """Kill all processes."""
        for place in self.places:
            place.kill()
        await self.channels.close()

    async def leader(self, timeout_s: float = 5.0) -> str:
        """The leader's address; raises NoLeaderError."""
        return await self._finder.find(timeout_s)

    async def voters(self) -> list[Place]:
        """Places of the nodes that the leader counts as voters."""
        members = await self._members()
        return [place for place in self.inhabited if members.get(place.node_id) == _VOTER]

    async def settle(self) -> bool:
        """Make every node that runs a voter, and take out members that have gone; whether it was so already."""
        try:
            leader = await self.leader()
            members = await self._members()
            wanted = {place.node_id: place for place in self.inhabited}
            for gone in members.keys() - wanted.keys():
                await self.admin.remove_server(leader, gone)
                return False
            for node_id, place in wanted.items():
                if members.get(node_id) != _VOTER:
                    await self.admin.add_voter(leader, node_id, place.address)
                    return False
        except (grpc.aio.AioRpcError, MatchEngineError):
            return False
        return True

    async def change(self, call: Callable[[str], Awaitable[object]]) -> bool:
        """Have the leader do something, asking again until it says that it is done; False when it is not in time."""
        deadline = time.monotonic() + _CHANGE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(grpc.aio.AioRpcError, MatchEngineError):
                await call(await self.leader())
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def until(self, what: str, check: Callable[[], Awaitable[bool]], patience_s: float) -> None:
        """Poll ``check``; ClusterError with the nodes' last words when it takes too long."""
        try:
            async with asyncio.timeout(patience_s):
                while not await check():  # noqa: ASYNC110 - other processes set no event
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ClusterError(f"waited {patience_s:g} s in vain until {what}{self.last_words()}") from None

    def last_words(self) -> str:
        """The end of every node's log."""
        processes = (place.process for place in self.inhabited if place.process is not None)
        return "".join(f"\n--- {process.id} ---\n{process.last_words()}" for process in processes)

    async def _members(self) -> dict[str, int]:
        """Suffrage by id, as the leader knows it."""
        found = await self.admin.configuration(await self.leader())
        return {server.id: server.suffrage for server in found.servers}


@contextlib.asynccontextmanager
async def occupied(place: Place) -> AsyncIterator[None]:
    """Nobody else does anything to the node meanwhile."""
    place.is_busy = True
    try:
        yield
    finally:
        place.is_busy = False
