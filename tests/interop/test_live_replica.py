"""A node of ours as a non-voter of somebody else's Go service."""

import pytest
from words_cluster import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_live_replica_of_three_go_nodes(cluster):
    cluster.found(["go"] * 3)
    leader = cluster.leader()
    cluster.add_words(leader, "before-it-came-", 30)
    leader.operate("Snapshot")
    cluster.add_words(leader, "after-the-snapshot-", 30)
    replica = cluster.new_node("py", "replica").start()
    cluster.join(replica, "AddNonvoter")
    cluster.check()

    # It follows through a failover, in which it has no vote.
    leader.end()
    rest = [node for node in cluster.members if node is not leader]
    successor = cluster.leader(rest)
    assert successor is not replica
    cluster.add_words(successor, "after-the-failover-", 30)
    until(lambda: replica.words() == successor.words(), "the replica has what the leader has")
    assert replica.state() == "FOLLOWER"

    # It comes back from its own disk.
    leader.start()
    replica.end()
    cluster.add_words(cluster.leader(cluster.of_kind("go")), "while-it-was-away-", 30)
    replica.start()
    cluster.check()
    assert cluster.leader().servers()["replica"] == 1
    cluster.check_logs()
