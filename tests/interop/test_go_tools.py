"""Go's own raftadmin and a Go client, unchanged, against nodes of ours alone; directories of the other kind."""

import re
import signal
import subprocess

import pytest
from words_cluster import ENVIRONMENT, PATIENCE_S, Hammer, WordsNode, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: In the text of an answer to Await.
FAILED = 'error: "'


@pytest.fixture
def go_raftadmin(go_programs):
    """Runs Go's raftadmin; gives what it printed.

    With ``--leader`` it sends its last call, Forget, to a node that may just have handed leadership over and whose
    health says so: it then ends with an error though the transfer is done, at nodes of HashiCorp's as at ours.
    """

    def run(*arguments, fails=False, forgotten=True):
        done = subprocess.run(
            [go_programs["go"] / "raftadmin", *arguments],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if forgotten:
            assert (done.returncode != 0) == fails, done.stderr
        return " ".join(done.stderr.split())

    return run


def test_every_command_of_gos_raftadmin(cluster, go_raftadmin):
    cluster.found(["py"] * 3)
    leader = cluster.let_lead(cluster.members[0])
    follower, other = cluster.members[1:]
    at, on_leader = leader.address, ("--leader", cluster.target)

    assert "state: LEADER" in go_raftadmin(at, "state")
    assert "LEADER" not in go_raftadmin(follower.address, "State")
    assert f'address: "{at}"' in go_raftadmin(follower.address, "leader")
    for command in ("applied_index", "last_index"):
        assert re.search(r"index: [1-9]", go_raftadmin(at, command))
    assert "unix_nano:" in go_raftadmin(follower.address, "last_contact")
    assert 'key: "latest_configuration_index"' in go_raftadmin(at, "stats").replace("  ", " ")
    assert go_raftadmin(at, "get_configuration").count("servers:") == 3
    for command in ("verify_leader", "barrier", "snapshot"):
        assert FAILED not in go_raftadmin(at, command)
    assert re.search(r"index: [1-9]", go_raftadmin(*on_leader, "apply_log", "a-word-by-raftadmin", "extension"))
    assert "a-word-by-raftadmin" in leader.words()
    assert FAILED in go_raftadmin(follower.address, "barrier")

    assert FAILED not in go_raftadmin(*on_leader, "demote_voter", other.id, "0")
    assert "configuration changed" in go_raftadmin(*on_leader, "remove_server", other.id, "1")
    assert FAILED not in go_raftadmin(*on_leader, "remove_server", other.id, "0")
    assert FAILED not in go_raftadmin(*on_leader, "add_nonvoter", other.id, other.address, "0")
    assert FAILED not in go_raftadmin(*on_leader, "add_voter", other.id, other.address, "0")
    cluster.check()
    to = ("leadership_transfer_to_server", follower.id, follower.address)
    assert FAILED not in go_raftadmin(*on_leader, *to, forgotten=False)
    until(lambda: follower.state() == "LEADER", "leadership was handed over")
    by_health = ("--health_check_service", "Example", *on_leader)
    assert FAILED not in go_raftadmin(*by_health, "leadership_transfer", forgotten=False)
    cluster.check()

    assert "'0' is unknown" in go_raftadmin(at, "await", "0", fails=True)
    assert "Response:" in go_raftadmin(at, "forget", "0")
    go_raftadmin(at, "no_such_command", fails=True)
    assert FAILED not in go_raftadmin(other.address, "shutdown")
    assert other.process.wait(PATIENCE_S) == 0


def test_a_go_client_notices_no_change_of_leaders(cluster, go_raftadmin):
    cluster.found(["py"] * 3)
    with cluster.hammered("go-client-") as hammer:
        for _ in range(5):
            go_raftadmin("--leader", cluster.target, "leadership_transfer", forgotten=False)
            hammer.goes_on()
        victim = cluster.leader()
        victim.end()
        hammer.goes_on()
        victim.start()
        cluster.catches_up(victim)
    cluster.check_logs()


def test_the_hammer_says_what_it_did(cluster):
    cluster.found(["py"])
    hammer = Hammer(cluster, "counted-")
    hammer.goes_on()
    report = hammer.stop()
    assert report["words"] == len(hammer.acknowledged())
    assert report["best_words"] == cluster.members[0].words()
    assert 0 < report["p50_ms"] <= report["p99_ms"]


@pytest.mark.parametrize(("owner", "other"), [("go", "py"), ("py", "go")])
def test_a_directory_of_one_kind_is_refused_by_the_other(cluster, tmp_path, go_programs, owner, other):
    cluster.found([owner])
    (first,) = cluster.members
    cluster.add_words(first, "mine-", 3)
    first.end(signal.SIGTERM)
    before = {path.name: path.read_bytes() for path in first.data_dir.iterdir() if path.is_file()}
    intruder = WordsNode(other, first.id, tmp_path, go_programs).start()
    try:
        assert intruder.process.wait(PATIENCE_S) != 0
    finally:
        intruder.close()
    said = intruder.log.read_text()
    assert str(first.data_dir) in said
    assert ("another engine" in said) or ("looks like a HashiCorp Raft directory" in said)
    assert {path.name: path.read_bytes() for path in first.data_dir.iterdir() if path.is_file()} == before
    first.start()
    until(lambda: "mine-0" in first.words(), "the owner goes on")
