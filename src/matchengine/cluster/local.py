"""A cluster of node processes on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import grpc

from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.leader import LeaderFinder
from matchengine.cluster.processes import ClusterError, NodeProcess, free_addresses
from matchengine.errors import EngineError, MatchEngineError
from matchengine.runtime.config import EngineName
from matchengine.runtime.hashicorp.process import find_program
from matchengine.v1.cluster_pb2 import StatusResponse

#: A cold start of three interpreters takes seconds, and on a machine that has other work a minute.
STEP_S: Final = 120.0
_POLL_S: Final = 0.02
_HASH_S: Final = 10.0


#: What the nodes of a cluster run on.  A mixed one is founded by a node of ours; all others are HashiCorp Raft's.
ClusterEngine = Literal["matchengine", "hashicorp", "mixed"]


def engine_of(engine: ClusterEngine, number: int) -> EngineName:
    """The engine of the node with this number, from 1.

    In a mixed cluster of three the founder is ours and leads first; when it is killed, one of the others takes over.
    """
    if engine == "mixed":
        return "matchengine" if number == 1 else "hashicorp"
    return engine


def require_engine(engine: ClusterEngine) -> None:
    """ClusterError, before anything is started, when the program of a HashiCorp node is missing."""
    if engine != "matchengine":
        try:
            find_program()
        except EngineError as error:
            raise ClusterError(str(error)) from error


class LocalCluster:
    """``size`` nodes in ``folder``; the first founds the cluster, the others are added as voters."""

    def __init__(self, size: int, folder: Path, engine: ClusterEngine = "matchengine", profile: str = "") -> None:
        require_engine(engine)
        profile = "hashicorp" if engine == "mixed" else profile
        self.nodes = [
            NodeProcess(
                f"node{number}",
                address,
                folder,
                bootstrap=number == 1,
                engine=engine_of(engine, number),
                profile=profile,
            )
            for number, address in enumerate(free_addresses(size), 1)
        ]
        self._channels = Channels()
        self.admin = Admin(self._channels)
        self._finder = LeaderFinder(self.addresses, self._channels)

    @property
    def addresses(self) -> list[str]:
        """Where the nodes are."""
        return [node.address for node in self.nodes]

    def node_at(self, address: str) -> NodeProcess:
        """The node with this address."""
        return next(node for node in self.nodes if node.address == address)

    async def start(self) -> None:
        """Start all nodes and make them one cluster."""
        for node in self.nodes:
            node.start()
        founder = self.nodes[0]
        await self.until("the first node leads", lambda: self._leads(founder))
        for node in self.nodes[1:]:
            await self._join(node)

    async def stop(self) -> None:
        """Kill all processes, before anything else: nothing may outlive a Ctrl-C, and their data are thrown away."""
        for node in self.nodes:
            node.kill()
        await self._channels.close()

    async def caught_up(self, node: NodeProcess) -> None:
        """Wait until ``node`` has applied what the leader had committed when this began to look."""
        target = 0

        async def check() -> bool:
            nonlocal target
            statuses = await self.statuses()
            target = target or max((s.commit_index for s in statuses if s and s.role == "leader"), default=0)
            mine = next((s for s in statuses if s and s.address == node.address), None)
            return bool(target) and mine is not None and mine.applied_index >= target

        await self.until(f"{node.id} has caught up", check)

    async def statuses(self) -> list[StatusResponse | None]:
        """Every node's standing; None for one that does not answer."""
        return list(await asyncio.gather(*(self.admin.try_status(address) for address in self.addresses)))

    async def state_hashes(self) -> list[StatusResponse]:
        """Every node's standing with its state hash, all at one applied index."""
        found: list[StatusResponse] = []

        async def check() -> bool:
            asked = (self.admin.status(a, state_hash=True, timeout_s=_HASH_S) for a in self.addresses)
            try:
                found[:] = await asyncio.gather(*asked)
            except grpc.aio.AioRpcError:
                return False
            return len({status.applied_index for status in found}) == 1

        await self.until("all nodes have applied the same index", check)
        return found

    async def until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        """Poll ``check``; ClusterError when it takes too long or a process has ended by itself."""
        try:
            async with asyncio.timeout(STEP_S):
                while not await check():
                    self.check_running()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ClusterError(f"waited {STEP_S:g} s in vain until {what}{self.last_words()}") from None

    def check_running(self) -> None:
        """ClusterError if a process has ended by itself."""
        for node in self.nodes:
            if not node.running:
                raise ClusterError(f"{node.id} has ended by itself{self.last_words()}")

    def last_words(self) -> str:
        """The end of every node's log, for an error's text."""
        return "".join(f"\n--- {node.id} ---\n{node.last_words()}" for node in self.nodes)

    async def let_lead(self, heir: NodeProcess) -> None:
        """Have leadership handed to ``heir``; returns when it leads."""

        async def leads() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError, MatchEngineError):
                leader = await self._finder.find(STEP_S)
                if leader == heir.address:
                    return True
                await self.admin.transfer_leadership_to(leader, heir.id, heir.address)
            return False

        await self.until(f"{heir.id} leads", leads)

    async def _leads(self, node: NodeProcess) -> bool:
        status = await self.admin.try_status(node.address)
        return status is not None and status.role == "leader"

    async def replace(self, old: NodeProcess, new: NodeProcess) -> None:
        """Put ``new``, with an id of its own, into the place of ``old``: first as a non-voter, to risk no quorum."""
        self.nodes.append(new)
        new.start()
        await self.until(f"{new.id} answers", lambda: self._answers(new))
        await self._changed(
            f"{new.id} gets the log", lambda leader: self.admin.add_nonvoter(leader, new.id, new.address)
        )
        await self.caught_up(new)
        await self._changed(f"{new.id} votes", lambda leader: self.admin.add_voter(leader, new.id, new.address))
        await self.until(f"{old.id} follows", lambda: self._follows(old))
        await self._changed(f"{old.id} is no member", lambda leader: self.admin.remove_server(leader, old.id))
        self.nodes.remove(old)
        old.kill()

    async def _answers(self, node: NodeProcess) -> bool:
        return await self.admin.try_status(node.address) is not None

    async def _follows(self, node: NodeProcess) -> bool:
        """Whether another node leads; a leader is asked to hand over."""
        leader = await self._finder.find(STEP_S)
        if leader != node.address:
            return True
        with contextlib.suppress(grpc.aio.AioRpcError, MatchEngineError):
            await self.admin.transfer_leadership(leader)
        return False

    async def _changed(self, what: str, change: Callable[[str], Awaitable[int]]) -> None:
        """Have the leader change the members; one that is busy or has just lost its place is asked again."""

        async def done() -> bool:
            try:
                await change(await self._finder.find(STEP_S))
            except (grpc.aio.AioRpcError, MatchEngineError):
                return False
            return True

        await self.until(what, done)

    async def _join(self, node: NodeProcess) -> None:
        """Make a started node a voter; a leader that is busy with the change before is asked again."""

        async def added() -> bool:
            try:
                leader = await self._finder.find(STEP_S)
                await self.admin.add_voter(leader, node.id, node.address)
            except grpc.aio.AioRpcError:
                return False
            return True

        await self.until(f"{node.id} answers", lambda: self._answers(node))
        try:
            await self.until(f"{node.id} is a voter", added)
        except MatchEngineError as error:
            raise ClusterError(f"{node.id} could not be added: {error}") from error
