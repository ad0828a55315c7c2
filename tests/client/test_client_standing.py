"""What the standing of a cluster says: leader, lag, and states that agree or not."""

from __future__ import annotations

import asyncio

import grpc
import msgspec
import pytest

from matchengine.cli import cluster
from matchengine.cli.main import main
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.standing import ClusterStanding, Standing, go_duration_ms, look
from matchengine.v1.cluster_pb2 import FeatureLevels, MemberLevels, StatusResponse, UpgradeResponse
from matchengine.v1.cluster_pb2_grpc import ClusterServicer, add_ClusterServicer_to_server
from matchengine.wire.raft_admin_pb2 import GetConfigurationResponse


class Failed(grpc.aio.AioRpcError):
    def __init__(self, code):
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata())


def members(*addresses, nonvoters=()):
    kinds = GetConfigurationResponse.Server
    return GetConfigurationResponse(
        servers=[
            kinds(id=f"id-{each}", address=each, suffrage=kinds.NONVOTER if each in nonvoters else kinds.VOTER)
            for each in addresses
        ]
    )


class ScriptedAdmin:
    """Answers from ``statuses``, one list per address, whose last element stays; a code is raised."""

    def __init__(self, statuses, stats=None):
        self.statuses = statuses
        self.foreign = stats or {}

    async def configuration(self, address):
        if address not in self.statuses:
            raise Failed(grpc.StatusCode.UNAVAILABLE)
        return members(*self.statuses)

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
    assert (found.leader, found.nodes[0].lag, found.nodes[0].suffrage, found.quorum) == (None, None, "unknown", 0)
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
    assert foreign == Standing("a:1", "id-a:1", "leader", 2, 12, 11, 10, 5, 0.0, suffrage="voter", lag=1)
    assert (found.leader, foreign.state_hash, own.state_hash) == (foreign, "-", b"x".hex())
    assert [node.lag for node in found.nodes] == [1, None, 2, None]
    assert not away.answers
    assert not silent.answers
    assert found.is_settled
    assert cluster._verdict(found) == 4


def test_a_state_that_is_being_replaced_has_no_hash_for_now():
    admin = ScriptedAdmin({"a:1": [grpc.StatusCode.RESOURCE_EXHAUSTED]})
    whole = ours(4, b"", last_contact_ms=0)

    async def status(address, *, state_hash=False, timeout_s=1.0):
        return whole if not state_hash else await ScriptedAdmin.status(admin, address)

    admin.status = status
    (node,) = see(admin, "a:1").nodes
    assert (node.applied, node.state_hash, node.last_contact_ms) == (4, "-", 0)


def test_of_two_leaders_the_newer_counts():
    found = ClusterStanding()
    found.note([Standing("a:1", role="leader", term=3, commit=5), Standing("b:1", role="leader", term=4, commit=6)])
    assert found.leader.address == "b:1"


def standing(*, silent=False):
    """A leader, a voter that may be down, a nonvoter, and a server that was removed."""
    found = ClusterStanding()
    addresses = [f"192.168.100.10{number}:50051" for number in range(4)]
    found.note(
        [
            Standing(addresses[0], f"id-{addresses[0]}", "leader", 31, 120_000, 110_000, 110_000, 5, 0.0, "ab" * 32),
            Standing(addresses[1], f"id-{addresses[1]}")
            if silent
            else Standing(addresses[1], f"id-{addresses[1]}", "follower", 31, 9, 9, 109_000, 5, 12_400.0, "ab" * 32),
            Standing(addresses[2], f"id-{addresses[2]}", "follower", 31, 9, 9, 110_000, 5, None, "ab" * 32),
            Standing(addresses[3], f"id-{addresses[3]}", "pre_candidate", 31, 9, 9, 100, 5, 40.0, "cd" * 32),
        ]
    )
    found.place(members(*addresses[:3], nonvoters=addresses[2:3]))
    return found


def shown(monkeypatch, found, *arguments):
    async def looked(addresses):
        assert addresses == ("a:1", "b:1")
        return found

    monkeypatch.setattr(cluster, "_look", looked)
    return main(["cluster", "status", "--target", "multi:///a:1,b:1", *arguments])


def test_nodes_as_a_table_say_what_each_is(monkeypatch, capsys):
    assert shown(monkeypatch, standing()) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert rows[1][2:] == ["leader", "31", "110000", "0", "0", "ms", "abababab"]
    assert rows[2][2:] == ["follower", "31", "109000", "1000", "12", "s", "abababab"]
    assert rows[3][2:] == ["nonvoter", "31", "110000", "0", "never", "abababab"]
    assert rows[4][2] == "non-member"
    assert lines[5] == "2 voters, quorum 2; 2 answer, so 0 more may fail"


def test_a_status_with_short_ids_fits_80_columns(monkeypatch, capsys):
    found = standing()
    found.nodes = [
        msgspec.structs.replace(node, id=f"node{name}") for name, node in zip("ABCD", found.nodes, strict=True)
    ]
    monkeypatch.setenv("COLUMNS", "80")
    shown(monkeypatch, found)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("192.168.100.10" in line for line in lines) == 4


def test_a_voter_that_does_not_answer_is_told_and_is_an_exit_code_of_its_own(monkeypatch, capsys):
    assert shown(monkeypatch, standing(silent=True)) == 4
    printed = capsys.readouterr()
    assert "2 voters, quorum 2; 1 answer, so 0 more may fail" in printed.out
    assert printed.err.endswith("matchengine: voters that do not answer: id-192.168.100.101:50051\n")


def test_json_has_numbers_for_everything(monkeypatch, capsys):
    assert shown(monkeypatch, standing(silent=True), "--json") == 4
    leader, silent, nonvoter, removed = map(msgspec.json.decode, capsys.readouterr().out.splitlines())
    assert (leader["lag"], leader["last_contact_ms"], leader["suffrage"]) == (0, 0.0, "voter")
    assert (silent["role"], silent["lag"], silent["last_contact_ms"]) == ("no answer", None, None)
    assert (nonvoter["suffrage"], removed["suffrage"], removed["last_contact_ms"]) == ("nonvoter", "none", 40.0)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 0), ("0s", 0), ("33.5ms", 33.5), ("1m2.5s", 62_500), ("250\u00b5s", 0.25), ("never", None), ("", None)],
)
def test_durations_of_go(text, milliseconds):
    assert go_duration_ms(text) == milliseconds


def test_status_tells_the_feature_levels(capsys):
    levels = {"active_levels": FeatureLevels(library=1), "newest_levels": FeatureLevels(library=1, machine=2)}
    found = see(ScriptedAdmin({"a:1": [ours(9, b"y", "leader", **levels)], "b:1": [ours(9, b"y")]}), "a:1")
    assert [(node.level, node.newest_level) for node in found.nodes] == [("1.0", "1.2"), ("", "")]
    assert cluster._levels_line(found) == "feature level 1.0; executed up to 1.2 by n; - by n"


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
