"""``peers.json`` in the data directory of a node that starts."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from matchengine.cluster.processes import free_addresses
from matchengine.raft.types import Configuration, Restored, Server
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.hashicorp.directory import ENGINE, open_directory
from matchengine.runtime.node import Node
from matchengine.storage.contracts import RecoveryError
from matchengine.storage.data_dir import DataDir
from matchengine.storage.storage import open_storage

PATIENCE_S = 120


class Total:
    """Adds numbers up."""

    def __init__(self):
        self.total = 0

    def apply(self, entries):
        self.total += sum(int(entry.data) for entry in entries)
        return [b"%d" % self.total] * len(entries)

    def snapshot(self):
        return iter([b"%d" % self.total])

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


@pytest.fixture
def stranded(tmp_path):
    """The configuration of a node that had three members and holds 1 + 2 + 3; the others are lost."""
    config = NodeConfig("a", free_addresses(1)[0], tmp_path / "a", bootstrap=True)

    async def live():
        async with asyncio.timeout(PATIENCE_S):
            node = await led(config)
            for number in (b"1", b"2", b"3"):
                await node.propose(number)
            await node.stop()

    asyncio.run(live())
    return config


async def led(config):
    node = Node(config, Total())
    leads = asyncio.Event()
    node.on_leadership(lambda leading: leads.set() if leading else None)
    await node.start()
    await leads.wait()
    return node


def force(config, peers):
    (config.data_dir / "peers.json").write_text(peers if isinstance(peers, str) else json.dumps(peers))


def restored(config):
    storage = open_storage(config.data_dir, config.id)
    try:
        return storage.restore()
    finally:
        storage.close()


def start(config):
    async def starting():
        async with asyncio.timeout(PATIENCE_S):
            await Node(config, Total()).start()

    asyncio.run(starting())


def test_the_node_goes_on_with_its_state_and_the_members_that_were_forced(stranded, caplog):
    """The file is good for one start: a later one begins with what has happened since."""
    last = restored(stranded).entries[-1]
    other = {"id": "b", "address": "127.0.0.1:1", "non_voter": True}
    force(stranded, [{"id": "a", "address": stranded.address}, other])

    async def live(expected):
        async with asyncio.timeout(PATIENCE_S):
            node = await led(stranded)
            await node.barrier()
            assert node.machine.total == expected
            assert [server.id for server in (await node.status()).configuration.servers] == ["a", "b"]
            await node.propose(b"4")
            await node.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(live(6))
    assert f"a at {stranded.address}, b at 127.0.0.1:1 without a vote" in caplog.text
    assert f"entries 1 to {last.index} (term {last.term}) of this node count as committed from now on" in caplog.text
    assert "what was committed and only lost nodes had is gone" in caplog.text
    assert {path.name for path in stranded.data_dir.glob("peers*")} == {"peers.json.applied"}
    asyncio.run(live(10))


def test_the_older_form_serves_a_node_whose_id_is_its_address(tmp_path):
    address = free_addresses(1)[0]
    config = NodeConfig(address, address, tmp_path / "a", bootstrap=True)

    async def live():
        async with asyncio.timeout(PATIENCE_S):
            node = await led(config)
            await node.propose(b"7")
            await node.stop()
            force(config, [address])
            node = await led(config)
            await node.barrier()
            assert node.machine.total == 7
            await node.stop()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("peers", "text"),
    [
        ("[{]", "Expecting property name"),
        ([{"id": "b", "address": "127.0.0.1:1"}], "id: none is 'a', this node's own"),
        (["127.0.0.1:1"], "id: none is 'a', this node's own"),
        (
            [{"id": "a", "address": "127.0.0.1:1"}],
            "address of 'a': '127.0.0.1:1' is not '127.0.0.1:[0-9]+', under which",
        ),
        (
            [{"id": "a", "address": "ADDRESS"}, {"id": "b", "address": "h"}],
            "address of 'b': 'h' is not of the form host:",
        ),
        ([{"id": "a", "address": "ADDRESS", "voter": False}], "unknown field `voter`"),
    ],
)
def test_a_node_that_cannot_take_them_refuses_to_start_and_changes_nothing(stranded, peers, text):
    before = restored(stranded)
    force(stranded, json.dumps(peers).replace("ADDRESS", stranded.address) if isinstance(peers, list) else peers)
    for _ in range(2):
        with pytest.raises(RecoveryError, match=f"peers.json: .*{text}"):
            start(stranded)
    assert restored(stranded) == before
    (stranded.data_dir / "peers.json").unlink()
    assert asyncio.run(total_of(stranded)) == 6


async def total_of(config):
    async with asyncio.timeout(PATIENCE_S):
        node = await led(config)
        await node.barrier()
        total = node.machine.total
        await node.stop()
        return total


def test_a_node_without_a_state_has_nothing_to_recover(tmp_path):
    config = NodeConfig("a", free_addresses(1)[0], tmp_path / "a", bootstrap=True)
    open_storage(config.data_dir, "a").close()
    force(config, [{"id": "a", "address": config.address}])
    with pytest.raises(RecoveryError, match="nothing to recover, this node has neither entries nor a snapshot"):
        start(config)
    assert restored(config) == Restored()


def test_an_exception_of_the_machine_leaves_all_as_it_was(stranded):
    before = restored(stranded)
    force(stranded, [{"id": "a", "address": stranded.address}])

    class Broken(Total):
        def snapshot(self):
            yield b"1"
            raise RuntimeError("no more")

    async def starting():
        async with asyncio.timeout(PATIENCE_S):
            await Node(stranded, Broken()).start()

    with pytest.raises(RuntimeError, match="no more"):
        asyncio.run(starting())
    assert restored(stranded) == before
    assert asyncio.run(total_of(stranded)) == 6
    assert restored(stranded).snapshot.configuration == Configuration((Server("a", stranded.address),))


def test_the_other_engine_refuses_what_it_would_pass_over(tmp_path):
    config = NodeConfig("a", "127.0.0.1:1", tmp_path / "a", engine="hashicorp")
    DataDir.open(config.data_dir, "a", engine=ENGINE).close()
    force(config, ["127.0.0.1:1"])
    for _ in range(2):
        with pytest.raises(RecoveryError, match=r"peers.json: a node on engine 'hashicorp' takes no members by force"):
            open_directory(config)
