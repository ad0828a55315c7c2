"""What every engine promises; each promise is shown on both."""

import asyncio
import shutil
from pathlib import Path

import grpc
import pytest
from engine_nodes import Journal, leads, small, until

from matchengine.errors import (
    NotLeaderError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import MAX_ENTRY_BYTES, Role, Suffrage
from matchengine.storage.contracts import DataDirError, StorageError

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ["matchengine", "hashicorp"])]


def test_commands_are_applied_in_order_and_answered(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        futures = [node.propose(b"%d" % number, b"x%d" % number) for number in range(300)]
        outcomes = await asyncio.gather(*futures)
        assert [outcome.result for outcome in outcomes] == [b"%d" % (number + 1) for number in range(300)]
        assert node.machine.commands == [b"%d" % number for number in range(300)]
        indexes = [outcome.index for outcome in outcomes]
        assert indexes == [index for index, _ in node.machine.entries] == sorted(set(indexes))
        assert [entry.extensions for entry in node.machine.seen] == [b"x%d" % number for number in range(300)]
        stamps = [entry.appended_at for entry in node.machine.seen]
        assert stamps[0] > 1_700_000_000_000_000_000
        assert (await node.status()).applied == indexes[-1]

    play(scenario, engine)


def test_a_barrier_is_behind_everything_that_was_proposed(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        futures = [node.propose(b"x") for _ in range(200)]
        index = await node.barrier()
        assert len(node.machine.commands) == 200
        assert index > (await futures[-1]).index
        assert (await node.status()).applied >= index

    play(scenario, engine)


def test_a_read_sees_what_was_acknowledged_before_it(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        for number in range(1, 6):
            acknowledged = await node.propose(b"x")
            indexes = await asyncio.gather(*(node.read_index() for _ in range(20)))
            assert min(indexes) >= acknowledged.index
            assert len(node.machine.commands) == number

    play(scenario, engine)


def test_thousands_may_wait_and_ask_at_once(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        await node.propose(b"x")
        next_index = (await node.status()).applied + 1
        waits = [asyncio.ensure_future(node.wait_applied(next_index + number % 2)) for number in range(5000)]
        standings = await asyncio.gather(*(node.status() for _ in range(5000)))
        assert {standing.applied for standing in standings} == {next_index - 1}
        barriers = await asyncio.gather(node.barrier(), node.barrier())
        assert min(await asyncio.gather(*waits)) >= next_index
        assert barriers == [next_index, next_index + 1]

    play(scenario, engine)


def test_a_follower_refuses_commands_names_the_leader_and_reads_linearizably(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a")
        follower = await nodes.join(leader, "b")
        await until(lambda: follower.leader_id == "a")
        with pytest.raises(NotLeaderError) as caught:
            await follower.propose(b"x")
        assert (caught.value.leader_id, caught.value.leader_address) == ("a", leader.config.address)
        for call in (follower.barrier(), follower.confirm_read_index()):
            with pytest.raises(NotLeaderError):
                await call
        for number in range(1, 4):
            await leader.propose(b"x")
            await follower.read_index()
            assert len(follower.machine.commands) == number
        await leader.barrier()  # nothing that a state machine sees
        assert await follower.read_index() >= (await leader.status()).commit_index

    play(scenario, engine)


def test_what_is_too_large_is_refused(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        await node.propose(b"x" * MAX_ENTRY_BYTES)
        with pytest.raises(RefusedError, match="larger than the limit"):
            await node.propose(b"x" * MAX_ENTRY_BYTES, b"y")
        await node.propose(b"")
        assert node.machine.commands[1:] == [b""]

    play(scenario, engine)


def test_a_restart_goes_on_from_snapshot_and_log(play, engine):
    async def scenario(nodes):
        first = await nodes.led()
        for number in range(10):
            await first.propose(b"%d" % number)
        snapshot = await first.snapshot()
        assert (await first.status()).snapshot_index == snapshot
        for number in range(10, 15):
            last = await first.propose(b"%d" % number)
        entries = first.machine.entries
        await first.stop()
        second = await nodes.led(address=first.config.address)
        assert await second.wait_applied(last.index) >= last.index
        assert second.machine.entries == entries
        assert second.machine.restores == 1
        assert (await second.propose(b"more")).result == b"16"

    play(scenario, engine)


def test_a_restart_without_a_snapshot_applies_the_log_once(play, engine):
    async def scenario(nodes):
        first = await nodes.led()
        for number in range(7):
            last = await first.propose(b"%d" % number)
        await first.stop()
        second = await nodes.led(address=first.config.address)
        await second.wait_applied(last.index)
        assert second.machine.entries == first.machine.entries
        assert second.machine.restores == 0

    play(scenario, engine)


def test_snapshots_are_taken_by_policy_and_only_of_something_new(play, engine):
    async def scenario(nodes):
        node = await nodes.led(snapshots=small(50))
        for _ in range(120):
            await node.propose(b"x")

        async def taken():
            return (await node.status()).snapshot_index

        await until(taken)
        await node.propose(b"x")  # the policy's last snapshot may have been taken of all that came before
        await node.snapshot()
        with pytest.raises(RefusedError, match="nothing new"):
            await node.snapshot()
        await node.propose(b"x")
        await node.snapshot()

    play(scenario, engine)


def test_a_snapshot_that_cannot_be_restored_stops_the_node(play, engine):
    class Unreadable(Journal):
        def restore(self, chunks):
            raise ValueError("this snapshot means nothing to me")

    async def scenario(nodes):
        first = await nodes.led()
        await first.propose(b"x")
        await first.snapshot()
        await first.stop()
        second = nodes.make(machine=Unreadable(), address=first.config.address)
        with pytest.raises(Exception, match="means nothing"):
            await second.start()
            await second.wait_stopped()
        await second.stop()
        third = await nodes.led(address=first.config.address)  # the failed one let go of everything
        await third.barrier()
        assert third.machine.commands == [b"x"]

    play(scenario, engine)


def test_an_exception_of_the_state_machine_stops_the_node(play, engine):
    async def scenario(nodes):
        machine = Journal()
        machine.poison = b"poison"
        node = await nodes.led(machine=machine)
        await node.propose(b"x")
        with pytest.raises(UnknownOutcomeError):
            await node.propose(b"poison")
        with pytest.raises(ValueError, match="poison"):
            await node.wait_stopped()
        with pytest.raises(StoppedError):
            await node.propose(b"y")

    play(scenario, engine)


def test_members_come_are_promoted_demoted_and_go(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a")
        other = await nodes.join(leader, "b", ChangeKind.ADD_NONVOTER)
        suffrage = (await leader.status()).configuration.get("b").suffrage
        assert suffrage is Suffrage.NONVOTER
        await leader.propose(b"x")
        await until(lambda: other.leader_id == "a")
        await other.read_index()
        assert other.machine.commands == [b"x"]
        index = await leader.change_membership(ChangeMembership(ChangeKind.ADD_VOTER, "b", other.config.address))
        status = await leader.status()
        assert status.configuration.is_voter("b")
        assert status.configuration_index in (0, index)  # HashiCorp Raft does not tell
        with pytest.raises(RefusedError, match="configuration changed"):
            await leader.change_membership(ChangeMembership(ChangeKind.REMOVE_SERVER, "b", "", index - 1))
        with pytest.raises(RefusedError):
            await leader.change_membership(ChangeMembership(ChangeKind.ADD_VOTER, "c", other.config.address))
        await leader.change_membership(ChangeMembership(ChangeKind.DEMOTE_VOTER, "b"))
        assert not (await leader.status()).configuration.is_voter("b")
        await leader.change_membership(ChangeMembership(ChangeKind.REMOVE_SERVER, "b"))
        assert (await leader.status()).configuration.get("b") is None

    play(scenario, engine)


def test_leadership_is_handed_over(play, engine):
    async def scenario(nodes):
        first = await nodes.led("a")
        second = await nodes.join(first, "b")
        told = []
        first.on_leadership(told.append)
        await first.propose(b"x")
        with pytest.raises(RefusedError):
            await first.transfer_leadership("nobody")
        await first.transfer_leadership("b")
        await leads(second)
        await until(lambda: told == [False])
        assert (await second.propose(b"y")).result == b"2"
        await until(lambda: first.leader_id == "b")
        assert (await second.status()).role is Role.LEADER

    play(scenario, engine)


def test_a_leader_that_stops_hands_over_first(play, engine):
    async def scenario(nodes):
        first = await nodes.led("a")
        second = await nodes.join(first, "b")
        third = await nodes.join(first, "c")
        await first.propose(b"x")
        await first.stop()
        leader = await until(lambda: next((node for node in (second, third) if node.is_leader), None))
        assert (await leader.propose(b"y")).result == b"2"

    play(scenario, engine)


def test_what_is_under_way_when_the_node_stops_has_an_unknown_outcome(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a")
        other = await nodes.join(leader, "b")
        await other.stop()
        futures = [leader.propose(b"x") for _ in range(5)]
        reads = asyncio.ensure_future(leader.confirm_read_index())
        futures.append(asyncio.ensure_future(leader.barrier()))
        change = ChangeMembership(ChangeKind.ADD_NONVOTER, "c", other.config.address.replace("127.0.0.1", "127.0.0.2"))
        futures.append(asyncio.ensure_future(leader.change_membership(change)))

        async def begun():
            return (await leader.status()).configuration.get("c") is not None

        await until(begun)  # a later leader may well commit it
        leader._engine.stop(StoppedError("stopped by the test"))
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(error) for error in found} <= {UnknownOutcomeError}
        with pytest.raises(StoppedError):
            await reads
        for call in (leader.barrier(), leader.change_membership(change)):
            with pytest.raises(StoppedError):
                await call

    play(scenario, engine)


def test_a_leader_without_voters_neither_reads_nor_answers(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a")
        voter = await nodes.join(leader, "b")
        witness = await nodes.join(leader, "c", ChangeKind.ADD_NONVOTER)
        await leader.propose(b"x")
        await until(lambda: witness.leader_id == "a")
        await voter.stop()  # and the non-voter goes on to answer
        begun = leader.propose(b"y")
        read = asyncio.ensure_future(leader.confirm_read_index())
        with pytest.raises(UnknownOutcomeError):
            await begun
        with pytest.raises((NotLeaderError, UnknownOutcomeError)):
            await read
        await until(lambda: not leader.is_leader)

    play(scenario, engine)


def test_a_stopped_node_says_how_it_stood(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        outcome = await node.propose(b"x")
        before = await node.status()
        assert (before.role, before.leader_id, before.is_shut_down) == (Role.LEADER, "a", False)
        assert before.first_index == 1
        assert before.last_index == before.commit_index == before.applied == outcome.index
        assert before.last_contact_ms == 0
        assert before.fsync_us > 0
        await node.shutdown(0.2)
        assert (await node.status()).is_shut_down
        async with grpc.aio.insecure_channel(node.config.address) as channel:
            await channel.channel_ready()
        await node.wait_stopped()

    play(scenario, engine)


def test_a_look_at_the_machine_belongs_to_an_index(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        outcome = await node.propose(b"x")
        assert await node.examine(lambda: len(node.machine.entries)) == (outcome.index, 1)
        index = await node.barrier()
        assert await node.examine(node.machine.state_hash) == (index, node.machine.state_hash())

    play(scenario, engine)


def test_a_directory_of_the_other_engine_is_refused(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        await node.stop()
        other = {"matchengine": "hashicorp", "hashicorp": "matchengine"}[engine]
        with pytest.raises(DataDirError, match=f"belongs to engine '{engine}', not '{other}'"):
            await nodes.make(engine=other).start()

    play(scenario, engine)


#: The record of term and vote, the log, and several of these.
FILES = {"matchengine": ("stable", "log-end", "log"), "hashicorp": ("raft/wal/wal-meta.db", "raft/wal", "raft")}


def test_a_node_whose_files_are_gone_does_not_start_as_if_new(play, engine):
    async def scenario(nodes):
        node = await nodes.led()
        await node.propose(b"x")
        await node.stop()
        directory = node.config.data_dir
        aside = directory.with_name("aside")
        everything = tuple(path.name for path in directory.iterdir() if path.name not in ("node.json", "run"))
        for gone in (*((name,) for name in FILES[engine]), everything):
            aside.mkdir()
            for name in gone:
                (directory / name).rename(aside / Path(name).name)
            with pytest.raises(StorageError, match="under a new id"):
                await nodes.make().start()
            for name in gone:
                remove(directory / name)
                (aside / Path(name).name).rename(directory / name)
            aside.rmdir()
        again = await nodes.start()
        await until(lambda: again.is_leader)
        await again.barrier()
        assert again.machine.entries

    play(scenario, engine)


def remove(path):
    """What a start that was refused has made, like an empty directory."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def test_a_directory_has_one_owner(play, engine):
    async def scenario(nodes):
        await nodes.led()
        with pytest.raises(DataDirError, match="another process uses"):
            await nodes.make().start()

    play(scenario, engine)


def test_an_address_in_use_fails_the_start_and_frees_the_directory(play, engine):
    async def scenario(nodes):
        first = await nodes.led("a")
        second = nodes.make("b", address=first.config.address)
        with pytest.raises(Exception, match="cannot bind"):
            await second.start()
        await nodes.start("b")

    play(scenario, engine)


def test_a_start_that_fails_leaves_nothing_behind(play, engine):
    """In the way is a file where the engine wants a folder."""

    async def scenario(nodes):
        first = await nodes.led()
        await first.stop()
        folder = nodes.folder / "a" / {"matchengine": "log", "hashicorp": "run"}[engine]
        if folder.exists():
            folder.rename(folder.with_suffix(".aside"))
        folder.touch()
        for _ in range(2):
            with pytest.raises(StorageError, match=r"(?i)exists|not a directory"):
                await nodes.make().start()
        folder.unlink()
        if folder.with_suffix(".aside").exists():
            folder.with_suffix(".aside").rename(folder)
        await nodes.led(address=first.config.address)

    play(scenario, engine)
