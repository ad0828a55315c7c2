"""A node's part in the cluster's feature levels: who can execute what, and when they rise (see ``docs/levels.md``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from matchengine.errors import BusyError, NotLeaderError, RefusedError
from matchengine.levels import Levels, MemberLevels, agreed_levels
from matchengine.node.engine import Outcome
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Index, Server
from matchengine.runtime.peers import ask_levels
from matchengine.sessions import SessionMachine, raise_levels_envelope

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

logger = logging.getLogger(__name__)

#: How long a member may take to say what it can execute.
ASK_S: Final = 2.0
_ADDING: Final = (ChangeKind.ADD_VOTER, ChangeKind.ADD_NONVOTER)


class Upgrade(msgspec.Struct, frozen=True):
    """What raising the levels has come to; ``index`` is 0 when no entry was needed, and after a dry run."""

    before: Levels
    after: Levels
    index: Index
    members: tuple[MemberLevels, ...]


class FeatureLevels:
    """Every method belongs to the node's event loop.

    ``begin_at`` is what the node puts in force when it founds a cluster, which ``has_founded`` tells.
    """

    def __init__(self, node: Node, has_founded: Callable[[], bool], begin_at: Levels | None = None) -> None:
        self._node = node
        self._has_founded = has_founded
        #: Held while members are asked, so that none joins between their answers and the entry that raises the levels.
        self._asking = asyncio.Lock()
        self._begin_at = self._checked(begin_at)

    def _checked(self, begin_at: Levels | None) -> Levels | None:
        newest, machine = self.newest, type(self._node.machine).__name__
        if begin_at is None:
            return newest
        if newest is None:
            raise ValueError(f"feature_level: {begin_at} is for a machine in client sessions, and {machine} is not")
        if not newest.covers(begin_at):
            raise ValueError(f"feature_level: {begin_at} is above {newest}, which this program executes at most")
        return begin_at

    @property
    def active(self) -> Levels | None:
        """What was in force at the newest applied entry; None for a machine whose commands carry no sessions."""
        machine = self._node.machine
        return machine.levels if isinstance(machine, SessionMachine) else None

    @property
    def newest(self) -> Levels | None:
        """What this program can execute at most; None like :attr:`active`."""
        machine = self._node.machine
        return machine.newest_levels if isinstance(machine, SessionMachine) else None

    # --- the founder -----------------------------------------------------------------------

    @property
    def must_begin(self) -> bool:
        """Whether this node has founded a cluster whose levels are still to be put in force."""
        active = self.active
        return not (self._begin_at is None or active is None or active.covers(self._begin_at)) and self._has_founded()

    def begin(self) -> None:
        """The node leads: the founder's levels become the cluster's first command.

        A founder that loses its place meanwhile tries again when it leads again: nobody has joined before.
        """
        if self._begin_at is not None and self.must_begin:
            raising = self._node.propose(raise_levels_envelope(self._begin_at))
            raising.add_done_callback(self._tell_begun)

    def _tell_begun(self, raising: asyncio.Future[Outcome]) -> None:
        error = None if raising.cancelled() else raising.exception()
        if error is None:
            logger.info("the cluster of node %s begins at feature level %s", self._node.config.id, self._begin_at)
        else:
            logger.warning("feature level %s is not in force yet: %s", self._begin_at, error)

    # --- raising ---------------------------------------------------------------------------

    async def upgrade(self, asked: Levels | None, *, dry_run: bool = False) -> Upgrade:
        """Ask every member, and raise the levels to ``asked`` or to the highest that all can execute.

        Raises NotLeaderError on a follower, and RefusedError with a line for each member in the way.
        """
        async with self._asking:
            await self._require_leadership()
            active = self._require_active()
            before = await self._node.status()
            members = tuple(await asyncio.gather(*(self._ask_member(s) for s in before.configuration.servers)))
            target = agreed_levels(active, members, asked)
            if dry_run or target == active:
                return Upgrade(active, target, 0, members)
            now = await self._node.status()
            if (now.term, now.configuration_index) != (before.term, before.configuration_index):
                raise BusyError("the members changed while they were asked for their feature levels; try again")
            outcome = await self._node.propose(raise_levels_envelope(target))
            logger.info("feature level %s is in force since index %d; it was %s", target, outcome.index, active)
            return Upgrade(active, self._require_active(), outcome.index, members)

    async def _require_leadership(self) -> None:
        """Only a leader knows all members; the read makes sure that it still leads, and that it knows the levels."""
        if not self._node.is_leader:
            raise NotLeaderError(self._node.leader_id, self._node.leader_address)
        await self._node.read_index()

    def _require_active(self) -> Levels:
        active = self.active
        if active is None:
            machine = type(self._node.machine).__name__
            raise RefusedError(f"feature level: {machine} takes commands without client sessions and has no levels")
        return active

    async def _ask_member(self, server: Server) -> MemberLevels:
        if server.id == self._node.config.id:
            return MemberLevels(server.id, server.address, self.newest)
        answer = await ask_levels(server.address, ASK_S)
        if answer is None:
            return MemberLevels(server.id, server.address, None, "did not answer")
        if answer.id not in ("", server.id):
            return MemberLevels(server.id, server.address, None, f"did not answer; node {answer.id} is there")
        return MemberLevels(server.id, server.address, answer.newest)

    # --- joining ---------------------------------------------------------------------------

    async def change_membership(self, change: ChangeMembership, begin: Callable[[], asyncio.Future[Outcome]]) -> Index:
        """Have ``begin`` start the change, unless it adds a node that says itself that it is too old.

        Changes start in the order of their calls.
        """
        async with self._asking:
            if change.kind in _ADDING:
                await self._require_able(change)
            changing = begin()
        return (await changing).index

    async def _require_able(self, change: ChangeMembership) -> None:
        """A node that does not answer, or is another one than is meant, is the operator's affair, as it always was."""
        active = self.active
        if active is None or active == Levels() or not self._node.is_leader:
            return
        if change.server_id == self._node.config.id:
            return
        answer = await ask_levels(change.address, ASK_S)
        if answer is not None and answer.id in ("", change.server_id) and not answer.newest.covers(active):
            raise RefusedError(
                f"{change.server_id} at {change.address} executes feature levels up to {answer.newest}, and the "
                f"cluster's is {active}; start it with a newer program"
            )
