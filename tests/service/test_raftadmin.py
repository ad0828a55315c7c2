"""The ``raftadmin`` command against served nodes, and what it says when it is used wrongly."""

from __future__ import annotations

import asyncio

import pytest

from matchengine.cli.main import main
from matchengine.cli.raftadmin import invoke, parse_call
from matchengine.client.channels import Channels
from matchengine.client.connect import connect
from matchengine.client.errors import NoLeaderError
from matchengine.errors import NothingNewError, RefusedError
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.wire import raft_admin_pb2 as pb


@pytest.mark.parametrize("command", ["add_voter", "AddVoter", "addVoter", "add-voter"])
def test_commands_have_both_spellings(command):
    method, request = parse_call(["h:1", command, "nodeB", "h:2", "7"])
    assert method.name == "AddVoter"
    assert request == pb.AddVoterRequest(id="nodeB", address="h:2", previous_index=7)


def test_bytes_are_taken_as_they_are():
    _, request = parse_call(["h:1", "apply_log", "caf\udce9", ""])
    assert request == pb.ApplyLogRequest(data=b"caf\xe9")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Usage: raftadmin <host:port> <command> <args...>\nCommands: add_nonvoter, add_voter, applied_index,"),
        (["h:1"], "leadership_transfer_to_server, remove_server, shutdown, snapshot, state, stats, verify_leader\n"),
        (["h:1", "add_voter", "nodeB"], "Usage: raftadmin <host:port> add_voter <id> <address> <previous_index>\n"),
        (["h:1", "State", "x"], "Usage: raftadmin <host:port> State\n"),
        (["--leaders", "h:1", "state"], "unknown option '--leaders'; see raftadmin --help\n"),
        (["h:1", "dance"], "unknown command 'dance'\n"),
        (["h:1", "remove_server", "n", "-1"], "previous_index: '-1' is not a whole number from 0 to 1844674407370955"),
        (["h:1", "remove_server", "n", str(2**64)], "previous_index: '18446744073709551616' is not a whole number"),
        (["multi:///", "state"], "addresses: there is none"),
        (["--leader", "multi:///nowhere", "state"], "addresses: 'nowhere' is not of the form host:port"),
    ],
)
def test_wrong_use_is_explained(capsys, words, text):
    assert main(["raftadmin", *words]) == 1
    assert text in capsys.readouterr().err


async def test_an_operation_is_seen_through(node, serving, capsys):
    async with serving(node):
        assert await invoke(node.served_at, *parse_call(["", "add_voter", "n4", "h:7", "0"])) == ""
        assert node.calls == [("change", ChangeMembership(ChangeKind.ADD_VOTER, "n4", "h:7"))]
        lines = capsys.readouterr().err.splitlines()
        said = [line[20:] if line[:2] == "20" else line for line in lines]
        assert said[:3] == ['Invoking AddVoter(id: "n4"', 'address: "h:7"', ")"]
        assert said[3].startswith('Response: operation_token: "')
        assert said[4].startswith('Invoking Await(operation_token: "')
        assert said[5:] == [")", "Response: index: 10"]


async def test_an_operations_error_is_told(node, serving):
    node.next_error = RefusedError("the disk is full")
    async with serving(node):
        assert await invoke(node.served_at, *parse_call(["", "snapshot"])) == "the disk is full"


@pytest.mark.parametrize(("newest", "told"), [(4, ""), (0, "nothing new to snapshot")])
async def test_a_snapshot_of_what_is_in_one_already_is_done(node, serving, newest, told):
    """Like HashiCorp Raft, which takes it once more; without any there is none to be content with."""
    node.next_error, node.snapshot_index = NothingNewError(), newest
    async with serving(node):
        assert await invoke(node.served_at, *parse_call(["", "snapshot"])) == told


async def test_the_leader_is_found_among_several(serving, node, exchange_node, capsys):
    exchange_node.lead(False)
    async with serving(exchange_node), serving(node):
        port = node.served_at.rpartition(":")[2]
        target = f"multi:///127.0.0.1:1,{exchange_node.served_at},localhost:{port}"
        await invoke(target, *parse_call(["", "verify_leader"]), "quis.RaftLeader")
        assert (node.calls, exchange_node.calls) == ([("verify", None)], [])
        assert "Response: index" not in capsys.readouterr().err


async def test_a_node_that_comes_to_lead_is_found(node, serving):
    node.lead(False)
    channels = Channels()
    async with serving(node):
        with pytest.raises(NoLeaderError, match=r"none of .* reports quis\.RaftLeader as serving within 0\.1 s"):
            await connect([node.served_at], channels, 0.1, "quis.RaftLeader")
        finding = asyncio.create_task(connect([node.served_at], channels, 20, "quis.RaftLeader"))
        await asyncio.sleep(0)
        node.lead(True)
        assert await finding == node.served_at
        await channels.close()
