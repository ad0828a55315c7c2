"""Three nodes of the word tracker under a hammer that must not notice who leads."""

import re

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from num2words import num2words

from matchengine.wire import raft_admin_pb2 as admin

pytestmark = pytest.mark.integration

REPORT = re.compile(r"([\d,]+) words in [\d.]+ s: [\d,]+/s, p50 [\d.]+ ms, p99 [\d.]+ ms, \d+ retries\n")


def best(count):
    words = {num2words(number, lang="nl") for number in range(1, count + 1)}
    return sorted(words, key=lambda word: (-len(word.encode()), word.encode()))[:3]


def leader_of(nodes):
    return next(node for node in nodes if node.health("Example") == HealthCheckResponse.SERVING)


def until_under_way(node, words):
    """Each read waits for a quorum, so this asks no more often than the cluster can answer."""
    first = node.words().read_at_index
    while node.words().read_at_index < first + words:
        pass


def finished(hammer, count):
    out, err = hammer.communicate(timeout=60)
    assert (hammer.returncode, err) == (0, "")
    assert REPORT.match(out)[1] == f"{count:,}"
    return out.splitlines()[-1]


def test_the_hammer_notices_no_change_of_leaders(words_cluster, start_hammer, tmp_path):
    first = words_cluster[0]
    hammer = start_hammer(words_cluster, "--count", "600", "--workers", "4")
    until_under_way(first, 50)
    first.administer("LeadershipTransfer", admin.LeadershipTransferRequest())
    assert hammer.poll() is None
    last_line = finished(hammer, 600)
    assert last_line.split(": ")[1].split()[0] == best(600)[0]

    answers = [node.words() for node in words_cluster]
    for answer in answers:
        # A word whose first sending had an unknown outcome may be there twice.
        assert list(answer.best_words) == list(answers[0].best_words)
        assert set(answer.best_words) <= set(best(600))
    assert [node.health("Example") for node in words_cluster].count(HealthCheckResponse.SERVING) == 1
    assert first.health("Example") == HealthCheckResponse.NOT_SERVING
    assert {folder.name for folder in tmp_path.iterdir()} == {"nodeA", "nodeB", "nodeC"}

    hammer = start_hammer(words_cluster, "--count", "400", "--workers", "4")
    second = leader_of(words_cluster)
    until_under_way(second, 50)
    second.kill()
    assert hammer.poll() is None
    finished(hammer, 400)


def test_a_hammer_without_a_name_to_go_to_says_so(start_hammer):
    class Nowhere:
        address = "localhost"

    hammer = start_hammer([Nowhere])
    out, err = hammer.communicate(timeout=60)
    assert (hammer.returncode, out) == (1, "")
    assert "'localhost' is not of the form host:port" in err
