"""Go's own raftadmin and a Go client, unchanged, against nodes of ours alone; directories of the other kind."""

import re
import signal
import subprocess

import pytest
from words_cluster import ENVIRONMENT, PATIENCE_S, Hammer, OperationError, WordsNode, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: In the text of an answer to Await.
FAILED = 'error: "'
#: What its client says while no node leads.
NOBODY_LEADS = "health check failed"


@pytest.fixture
def go_raftadmin(go_programs):
    """Runs Go's raftadmin; gives what it printed.  OperationError is what the cluster answered, or that nobody leads.

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
        said = " ".join(done.stderr.split())
        if FAILED in said or (forgotten and done.returncode and NOBODY_LEADS in said):
            raise OperationError(f"not by the leader, or refused: {said}" if NOBODY_LEADS in said else said)
        if forgotten:
            assert (done.returncode != 0) == fails, said
        return said

    return run


def test_every_command_of_gos_raftadmin(cluster, go_raftadmin):
    cluster.found(["py"] * 3)
    leader, follower, other = cluster.members
    at = leader.address

    def there(*words):
        """At one leader; again where leadership moves meanwhile."""
        return cluster.led_by(leader, lambda _: go_raftadmin(at, *words), words[0])

    def wherever(*words, **how):
        """At whoever leads."""
        return cluster.insist(lambda: go_raftadmin("--leader", cluster.target, *words, **how), words[0])

    until(lambda: cluster.let_lead(leader) and "state: LEADER" in go_raftadmin(at, "state"), "its state")
    until(lambda: "LEADER" not in go_raftadmin(follower.address, "State"), "another state")
    until(lambda: f'address: "{cluster.leader().address}"' in go_raftadmin(follower.address, "leader"), "the leader")
    for command in ("applied_index", "last_index"):
        assert re.search(r"index: [1-9]", go_raftadmin(at, command))
    assert "unix_nano:" in go_raftadmin(follower.address, "last_contact")
    assert 'key: "latest_configuration_index"' in go_raftadmin(at, "stats").replace("  ", " ")
    assert go_raftadmin(at, "get_configuration").count("servers:") == 3
    for command in ("verify_leader", "barrier", "snapshot"):
        there(command)
    assert re.search(r"index: [1-9]", wherever("apply_log", "a-word-by-raftadmin", "extension"))
    assert "a-word-by-raftadmin" in cluster.insist(leader.words, "its words")
    with pytest.raises(OperationError, match="node is not the leader"):
        until(lambda: cluster.let_lead(leader) and not go_raftadmin(follower.address, "barrier"), "a refusal")

    wherever("demote_voter", other.id, "0")
    with pytest.raises(OperationError, match="configuration changed"):
        wherever("remove_server", other.id, "1")
    wherever("remove_server", other.id, "0")
    wherever("add_nonvoter", other.id, other.address, "0")
    wherever("add_voter", other.id, other.address, "0")
    cluster.check()

    def handed_over():
        if follower.state() == "LEADER":
            return True
        go_raftadmin("--leader", cluster.target, *to, forgotten=False)
        return False

    to = ("leadership_transfer_to_server", follower.id, follower.address)
    cluster.let_lead(leader)
    until(lambda: cluster.insist(handed_over, "a transfer"), "leadership was handed over")
    wherever("--health_check_service", "Example", "leadership_transfer", forgotten=False)
    cluster.check()

    assert "'0' is unknown" in go_raftadmin(at, "await", "0", fails=True)
    assert "Response:" in go_raftadmin(at, "forget", "0")
    go_raftadmin(at, "no_such_command", fails=True)
    go_raftadmin(other.address, "shutdown")
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
