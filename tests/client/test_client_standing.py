"""What the standing of a cluster says: leader, lag, and states that agree or not."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from matchengine.cli import cluster
from matchengine.cli.main import main
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.standing import ClusterStanding, Standing, look
from matchengine.v1.cluster_pb2 import FeatureLevels, MemberLevels, StatusResponse, UpgradeResponse
from matchengine.v1.cluster_pb2_grpc import ClusterServicer, add_ClusterServicer_to_server
from matchengine.wire.raft_admin_pb2 import GetConfigurationResponse


class Failed(grpc.aio.AioRpcError):
    def __init__(self, code):
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata())


class ScriptedAdmin:
    """Answers from ``statuses``, one list per address, whose last element stays; a code is raised."""

    def __init__(self, statuses, stats=None):
        self.statuses = statuses
        self.foreign = stats or {}

    async def configuration(self, address):
        if address not in self.statuses:
            raise Failed(grpc.StatusCode.UNAVAILABLE)
        servers = [GetConfigurationResponse.Server(id=f"id-{each}", address=each) for each in self.statuses]
        return GetConfigurationResponse(servers=servers)

    async def status(self, address, *, state_hash=False, timeout_s=1.0):
        script = self.statuses.get(address, [grpc.StatusCode.UNAVAILABLE])
        answer = script.pop(0) if state_hash and len(script) > 1 else script[0]
        if isinstance(answer, grpc.StatusCode):
            raise Failed(answer)
        return answer

    async def stats(self, address):
        if address not in self.foreign:
            raise Failed(grpc.StatusCode.UNAVAILABLE)
        return self.foreign[address]


def ours(applied, digest, role="follower", **more):
    return StatusResponse(id="n", role=role, term=2, commit_index=9, applied_index=applied, state_hash=digest, **more)


def see(admin, *addresses):
    return asyncio.run(look(admin, addresses, 5))


def test_hashes_are_compared_at_a_common_index_only():
    admin = ScriptedAdmin({"a:1": [ours(9, b"y", "leader")], "b:1": [ours(7, b"x"), ours(8, b"z"), ours(9, b"y")]})
    found = see(admin, "a:1")
    assert (found.common_index, found.differing_index, found.is_settled) == (9, 0, True)
    assert [node.address for node in found.nodes] == ["a:1", "b:1"], "the members are asked, too"
    assert cluster._verdict(found) == 0


def test_hashes_that_differ_are_found(capsys):
    found = see(ScriptedAdmin({"a:1": [ours(9, b"y", "leader")], "b:1": [ours(9, b"x")]}), "b:1")
    assert found.differing_index == 9
    assert cluster._verdict(found) == 1
    assert "state hashes differ at index 9" in capsys.readouterr().err


def test_without_a_leader_there_is_no_lag(capsys):
    found = see(ScriptedAdmin({"a:1": [ours(9, b"y")]}), "a:1")
    assert (found.leader, found.lag(found.nodes[0])) == (None, None)
    assert cluster._verdict(found) == 1
    assert "no node leads" in capsys.readouterr().err


def test_a_foreign_node_has_no_hash():
    stats = {
        "state": "Leader",
        "term": "2",
        "last_log_index": "12",
        "commit_index": "11",
        "applied_index": "10",
        "last_snapshot_index": "5",
        "last_contact": "0",
    }
    unknown = [grpc.StatusCode.UNIMPLEMENTED]
    found = see(ScriptedAdmin({"a:1": unknown, "b:1": [ours(9, b"x")], "c:1": unknown}, {"a:1": stats}), "a:1", "d:1")
    foreign, away, own, silent = found.nodes
    assert foreign == Standing("a:1", "id-a:1", "leader", 2, 12, 11, 10, 5, "0")
    assert (found.leader, foreign.state_hash, own.state_hash) == (foreign, "-", b"x".hex())
    assert [found.lag(node) for node in found.nodes] == [1, None, 2, None]
    assert not away.answers
    assert not silent.answers
    assert found.is_settled
    assert cluster._verdict(found) == 0


def test_a_state_that_is_being_replaced_has_no_hash_for_now():
    admin = ScriptedAdmin({"a:1": [grpc.StatusCode.RESOURCE_EXHAUSTED]})
    whole = ours(4, b"", last_contact_ms=0)

    async def status(address, *, state_hash=False, timeout_s=1.0):
        return whole if not state_hash else await ScriptedAdmin.status(admin, address)

    admin.status = status
    (node,) = see(admin, "a:1").nodes
    assert (node.applied, node.state_hash, node.last_contact) == (4, "-", "0 ms")


def test_of_two_leaders_the_newer_counts():
    found = ClusterStanding()
    found.note([Standing("a:1", role="leader", term=3, commit=5), Standing("b:1", role="leader", term=4, commit=6)])
    assert found.leader.address == "b:1"


@pytest.mark.parametrize("json", [True, False])
def test_nodes_as_table_and_as_json(monkeypatch, capsys, json):
    found = ClusterStanding()
    found.note(
        [Standing("a:1", "nodeA", "leader", 3, 12, 11, 10, 5, "0 ms", "ab" * 32), Standing("b:1", "nodeB")],
    )

    async def looked(addresses):
        assert addresses == ("a:1", "b:1")
        return found

    monkeypatch.setattr(cluster, "_look", looked)
    assert main(["cluster", "status", "--target", "multi:///a:1,b:1", *(["--json"] if json else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    if json:
        assert '"last_contact":"0 ms"' in lines[0]
        assert '"role":"no answer"' in lines[1]
    else:
        words = next(line for line in lines if "a:1" in line).replace("│", " ").split()
        assert words == ["a:1", "nodeA", "leader", "3", "12", "11", "10", "1", "0", "ms", "5", "ab" * 8]


def test_status_tells_the_feature_levels(capsys):
    levels = {"active_levels": FeatureLevels(library=1), "newest_levels": FeatureLevels(library=1, machine=2)}
    found = see(ScriptedAdmin({"a:1": [ours(9, b"y", "leader", **levels)], "b:1": [ours(9, b"y")]}), "a:1")
    assert [(node.level, node.newest_level) for node in found.nodes] == [("1.0", "1.2"), ("", "")]
    assert cluster._levels_line(found) == "feature level 1.0; up to: n 1.2, n -"


class ScriptedLeader(ClusterServicer):
    """Answers an upgrade, and remembers what was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def Upgrade(self, request, context):
        self.asked.append(request)
        if not isinstance(self.answer, UpgradeResponse):
            await context.abort(*self.answer)
        return self.answer


def upgrade(answer, *arguments):
    """``matchengine cluster upgrade`` at a leader that answers so: exit code, and what it was asked."""
    leader = ScriptedLeader(answer)

    async def scripted(addresses, levels, dry_run):
        server = grpc.aio.server()
        if answer is not None:
            add_ClusterServicer_to_server(leader, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channels = Channels()
        try:
            return await Admin(channels).upgrade(f"127.0.0.1:{port}", levels, dry_run=dry_run)
        finally:
            await channels.close()
            await server.stop(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_upgrade", scripted)
        return main(["cluster", "upgrade", *arguments]), leader.asked


RAISED = UpgradeResponse(
    before=FeatureLevels(),
    after=FeatureLevels(library=1),
    index=7,
    members=[MemberLevels(id="nodeA", address="a:1", newest=FeatureLevels(library=1, machine=2))],
)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "feature level 1.0 is in force since index 7; it was 0.0"),
        (("--dry-run", "--level", "1.0"), "feature level 0.0 is in force; it can be raised to 1.0"),
    ],
)
def test_an_upgrade_tells_what_is_in_force_and_what_the_members_can(capsys, arguments, line):
    code, (asked,) = upgrade(RAISED, *arguments)
    assert (code, asked.dry_run, asked.HasField("levels")) == (0, bool(arguments), bool(arguments))
    assert not arguments or asked.levels == FeatureLevels(library=1)
    assert capsys.readouterr().out.splitlines() == [line, "  nodeA at a:1 executes up to 1.2"]


def test_an_upgrade_with_nothing_to_do_says_so(capsys):
    assert upgrade(UpgradeResponse(before=FeatureLevels(library=1), after=FeatureLevels(library=1)))[0] == 0
    assert capsys.readouterr().out == "feature level 1.0 is in force already\n"


def test_an_upgrade_as_json(capsys):
    assert upgrade(RAISED, "--json")[0] == 0
    members = '[{"id":"nodeA","address":"a:1","newest_level":"1.2"}]'
    assert capsys.readouterr().out == (
        f'{{"before":"0.0","after":"1.0","index":7,"dry_run":false,"members":{members}}}\n'
    )


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((grpc.StatusCode.FAILED_PRECONDITION, "no:\n  nodeB did not answer"), 1, "no:\n  nodeB did not answer"),
        (None, 1, "runs a program that has no feature levels; upgrade that node first"),
        ((grpc.StatusCode.UNKNOWN, "leadership lost"), 3, "may still be raised: leadership lost"),
        ((grpc.StatusCode.UNAVAILABLE, "node is not the leader"), 3, "node is not the leader"),
    ],
)
def test_an_upgrade_that_is_not_made_says_why(capsys, answer, code, words):
    assert upgrade(answer)[0] == code
    printed = capsys.readouterr()
    assert (words in printed.err, printed.out) == (True, "")
