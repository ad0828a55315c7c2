"""Nodes on either engine, in this process and on loopback ports of their own."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence

from matchengine.cluster.processes import free_addresses
from matchengine.errors import NotLeaderError
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.config import Timing
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Entry
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node
from matchengine.service import core_services

PATIENCE_S = 60
#: Quick to elect, and patient enough for a machine that does other things as well.
TIMING = Timing("test", 10, 50, 800, 800, 800, 10)


class Journal:
    """Keeps every command with its index; the answer is how many there are.  ``ballast`` makes its snapshots large."""

    def __init__(self, ballast: bytes = b"") -> None:
        self.entries: list[tuple[int, bytes]] = []
        self.seen: list[Entry] = []
        self.ballast = ballast
        self.restores = 0
        self.poison = b""

    @property
    def commands(self) -> list[bytes]:
        return [command for _, command in self.entries]

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        return [self._apply(entry) for entry in entries]

    def _apply(self, entry: Entry) -> bytes:
        if self.poison and entry.data == self.poison:
            raise ValueError("poison")
        self.seen.append(entry)
        self.entries.append((entry.index, entry.data))
        return b"%d" % len(self.entries)

    def snapshot(self) -> Iterator[bytes]:
        head = b"".join(b"%d %s\n" % (index, command.hex().encode()) for index, command in self.entries) + b"\n"
        ballast = self.ballast
        return iter([head, *(ballast[start : start + 1_000_000] for start in range(0, len(ballast), 1_000_000))])

    def restore(self, chunks: Iterable[bytes]) -> None:
        head, _, self.ballast = b"".join(chunks).partition(b"\n\n")
        lines = (line.split() for line in head.splitlines())
        self.entries = [(int(index), bytes.fromhex(command.decode())) for index, command in lines]
        self.restores += 1

    def state_hash(self) -> bytes:
        return hashlib.sha256(b"".join(self.snapshot())).digest()


class Nodes:
    """Starts nodes on ``engine``, and stops what still runs."""

    def __init__(self, folder, engine):
        self.folder = folder
        self.engine = engine
        self.running: list[Node] = []

    def make(self, name="a", *, engine=None, machine=None, address=None, bootstrap=False, **more):
        config = NodeConfig(
            name,
            address or free_addresses(1)[0],
            self.folder / name,
            bootstrap=bootstrap,
            timing=TIMING,
            engine=engine or self.engine,
            **more,
        )
        return Node(config, machine if machine is not None else Journal(), [core_services])

    async def start(self, name="a", **more):
        node = self.make(name, **more)
        self.running.append(node)
        await node.start()
        return node

    async def led(self, name="a", **more):
        """A node that leads a cluster of its own, or the one that it was in alone."""
        node = await self.start(name, bootstrap=True, **more)
        await leads(node)
        return node

    async def join(self, leader, name, kind=ChangeKind.ADD_VOTER, **more):
        node = await self.start(name, **more)
        await leader.change_membership(ChangeMembership(kind, name, node.config.address))
        return node

    async def stop(self):
        await asyncio.gather(*(node.stop() for node in self.running), return_exceptions=True)


async def until(check):
    """Poll ``check``, which may be a coroutine function; the scenario's time limit bounds it."""
    while True:
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)


async def reads(node):
    """A linearizable read, begun again while no leader is known: a busy machine may cost it its place."""
    while True:
        try:
            return await node.read_index()
        except NotLeaderError:
            await asyncio.sleep(0.01)


async def leads(node):
    await until(lambda: node.is_leader)


def small(entries):
    return SnapshotPolicy(entries=entries)
