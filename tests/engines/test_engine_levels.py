"""Feature levels with real nodes on either engine: the founder's, the operator's, and programs that are too old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import pytest

from matchengine.cluster.processes import free_addresses
from matchengine.errors import NotLeaderError, RefusedError
from matchengine.levels import NEWEST_LIBRARY_LEVEL, Levels
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Entry
from matchengine.sessions import ENVELOPE, EnvelopeKind, SessionMachine, command_envelope, decode_answer, open_envelope
from matchengine.state_machine import NewerVersionError

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ["matchengine", "hashicorp"])]

NEW = Levels(NEWEST_LIBRARY_LEVEL, 3)
_session_ids = count(1000)


class Leveled:
    """A program that executes up to machine level ``newest_level``; every answer is the level of its command."""

    def __init__(self, newest_level: int) -> None:
        self.newest_level = newest_level

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        return [b"%d" % entry.level for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        return iter((b"state",))

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert b"".join(chunks) == b"state"


def program(newest_level=NEW.machine):
    return SessionMachine(Leveled(newest_level))


async def level_told(node):
    """The level that a command of a new session is executed at."""
    opened = await node.propose(open_envelope("", next(_session_ids)))
    session = decode_answer(opened.result).value
    answer = await node.propose(command_envelope(session, 1, 0, b""))
    return int(decode_answer(answer.result).payload)


class Recorded(SessionMachine):
    """Remembers what kind of entry came first."""

    first = 0

    def begin(self, entry):
        self.first = self.first or ENVELOPE.unpack_from(entry.data)[1]
        return super().begin(entry)


@pytest.mark.parametrize("when", ["in the turn in which it leads", "as early as possible"])
def test_a_founder_begins_at_its_newest_level_before_any_command(play, engine, when):
    async def opened(node):
        """A client that opens a session again and again until it has one."""
        while True:
            with contextlib.suppress(NotLeaderError):
                return await node.propose(open_envelope("", next(_session_ids)))
            await asyncio.sleep(0)

    async def scenario(nodes):
        node = nodes.make("a", bootstrap=True, machine=Recorded(Leveled(NEW.machine)))
        nodes.running.append(node)
        found = asyncio.get_running_loop().create_future()
        node.on_leadership(
            lambda leading: found.set_result(node.propose(open_envelope("", next(_session_ids)))) if leading else None
        )
        await node.start()
        session = await (opened(node) if when == "as early as possible" else await found)
        assert node.machine.first == EnvelopeKind.RAISE_LEVELS
        assert node.feature_levels.active == NEW
        first = await node.propose(command_envelope(decode_answer(session.result).value, 1, 0, b""))
        assert decode_answer(first.result).payload == b"3"

    play(scenario, engine)


def test_a_later_start_raises_nothing_and_a_founder_can_be_held_lower(play, engine):
    async def scenario(nodes):
        node = await nodes.led("a", machine=program(), feature_level=Levels(0, 1))
        assert await level_told(node) == 1
        address = node.config.address
        await node.stop()
        again = await nodes.led("a", machine=program(), address=address)
        assert await level_told(again) == 1
        assert again.feature_levels.active == Levels(0, 1)
        assert (await again.feature_levels.upgrade(None)).after == NEW
        assert await level_told(again) == NEW.machine

    play(scenario, engine)


def test_levels_rise_when_every_member_can_and_then_no_older_program_joins(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a", machine=program(), feature_level=Levels())
        old = await nodes.join(leader, "b", ChangeKind.ADD_NONVOTER, machine=program(2))
        with pytest.raises(RefusedError, match=rf"b at {old.config.address} executes up to \d+\.2"):
            await leader.feature_levels.upgrade(NEW)
        done = await leader.feature_levels.upgrade(None)
        assert (done.before, done.after) == (Levels(), Levels(NEW.library, 2))
        await old.wait_applied(done.index)
        assert old.feature_levels.active == done.after
        with pytest.raises(RefusedError, match=r"c at .* executes feature levels up to \d+\.1, and the cluster's is"):
            await nodes.join(leader, "c", machine=program(1))
        assert len((await leader.status()).configuration.servers) == 2

    play(scenario, engine)


@pytest.mark.parametrize("what", ["entry", "snapshot"])
def test_a_program_that_is_too_old_stops_at_the_entry_or_the_snapshot_and_at_every_start(play, engine, what):
    """It was down when it was added, so the leader could not ask it."""

    async def scenario(nodes):
        leader = await nodes.led("a", machine=program(), trailing_entries=0)
        await level_told(leader)
        if what == "snapshot":
            await leader.snapshot()
        address = free_addresses(1)[0]
        await leader.change_membership(ChangeMembership(ChangeKind.ADD_NONVOTER, "b", address))
        for _ in range(2):
            with pytest.raises(
                NewerVersionError, match=rf"{what}.*: the cluster's feature level is .*\.3, .*up to .*\.1"
            ):
                await (await nodes.start("b", machine=program(1), address=address)).wait_stopped()
        new = await nodes.start("b", machine=program(), address=address)
        await new.wait_applied((await leader.status()).commit_index)
        assert new.feature_levels.active == NEW

    play(scenario, engine)
