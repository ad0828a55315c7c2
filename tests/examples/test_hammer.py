"""Three nodes of the word tracker under a hammer that must not notice who leads."""

import re
import time

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from num2words import num2words

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]  # a dozen processes on what may be a busy machine

PATIENCE_S = 90
MOST_ATTEMPTS = 5
REPORT = re.compile(r"([\d,]+) words in [\d.]+ s: [\d,]+/s, p50 [\d.]+ ms, p99 [\d.]+ ms, \d+ retries\n")


def multi(nodes):
    """The nodes as one target."""
    return "multi:///" + ",".join(node.address for node in nodes)


def best(count):
    words = {num2words(number, lang="nl") for number in range(1, count + 1)}
    return sorted(words, key=lambda word: (-len(word.encode()), word.encode()))[:3]


def leader_of(nodes):
    """Asks until there is one: elections come when a machine is busy."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for node in nodes:
            if node.health("Example") == HealthCheckResponse.SERVING:
                return node
        time.sleep(0.05)
    raise AssertionError(f"no leader within {PATIENCE_S} s")


def until_under_way(node, words):
    """Each read waits for a quorum, so this asks no more often than the cluster can answer."""
    first = node.words().read_at_index
    while node.words().read_at_index < first + words:
        pass


def finished(hammer, count):
    out, err = hammer.communicate(timeout=PATIENCE_S)
    assert (hammer.returncode, err) == (0, "")
    assert REPORT.match(out)[1] == f"{count:,}"
    return out.splitlines()[-1]


def while_it_hammers(start, act, count):
    """``act`` while a hammer sends ``count`` words; once more where a busy machine let the hammer finish first."""
    for _ in range(MOST_ATTEMPTS):
        hammer = start()
        act()
        was_under_way = hammer.poll() is None
        said = finished(hammer, count)
        if was_under_way:
            return said
    raise AssertionError(f"{MOST_ATTEMPTS} hammers were faster than what was to happen meanwhile")


def test_the_session_of_the_original(words_nodes, raftadmin, start_hammer, tmp_path):
    """As its README has it: two members, a hammer in the background, another leader meanwhile; then one is killed."""
    first, second, third = words_nodes
    everybody = multi(words_nodes)
    raftadmin(first.address, "add_voter", second.id, second.address, 0)
    raftadmin("--leader", multi(words_nodes[:2]), "add_voter", third.id, third.address, 0)
    before = leader_of(words_nodes).term()
    said = while_it_hammers(
        lambda: start_hammer(everybody), lambda: raftadmin("--leader", everybody, "leadership_transfer"), 1999
    )
    assert said.split(": ")[1].split()[0] == best(1999)[0]

    answers = [node.words() for node in words_nodes]
    for answer in answers:
        # A word whose first sending had an unknown outcome may be there twice.
        assert list(answer.best_words) == list(answers[0].best_words)
        assert set(answer.best_words) <= set(best(1999))
    assert leader_of(words_nodes).term() > before
    assert {folder.name for folder in tmp_path.iterdir()} == {"nodeA", "nodeB", "nodeC"}

    killed = []

    def kill_the_leader():
        for node in killed:
            node.start()
        leader = leader_of(words_nodes)
        until_under_way(leader, 20)
        leader.kill()
        killed[:] = [leader]

    while_it_hammers(lambda: start_hammer(everybody, "--count", "1200", "--workers", "4"), kill_the_leader, 1200)


def test_a_hammer_without_a_name_to_go_to_says_so(start_hammer):
    hammer = start_hammer("multi:///localhost")
    out, err = hammer.communicate(timeout=PATIENCE_S)
    assert (hammer.returncode, out) == (1, "")
    assert "'localhost' is not of the form host:port" in err
