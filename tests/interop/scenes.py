"""What a cluster of nodes of ours and of one version of HashiCorp Raft goes through, one scene at a time.

Each scene leaves the cluster as it found it: every member runs and has the same log.  The tests play each scene
once, the campaign (``make interop``) ten times in a row.
"""

import itertools
import signal
import time

from words_cluster import until

#: The versions of HashiCorp Raft that raft-grpc-example, and the first users of this project, have pinned over time.
VERSIONS = ("1.1.2", "1.3.1", "1.3.11", "1.5.0", "1.7.0")
#: Without processor time leadership moves when nobody wants it to; then a scene begins anew.
MOST_ATTEMPTS = 10
#: Over the transport of its day it takes the addresses in a snapshot for the members' ids, also from a leader of its
#: own version.  The next change of membership mends it.
FORGETS_IDS = "go-1.1.2"

_numbers = itertools.count()


def kinds_of(cluster):
    """The kinds of the members, each once."""
    return list(dict.fromkeys(node.kind for node in cluster.members))


def words_go_through_leaders_of_each_kind(cluster):
    for kind in kinds_of(cluster):
        leader = cluster.let_lead(cluster.of_kind(kind)[0])
        cluster.add_words(leader, f"{kind}-led-{next(_numbers)}-", 10)
        cluster.check()


def leadership_goes_back_and_forth(cluster):
    with cluster.hammered(f"handed-over-{next(_numbers)}-") as hammer:
        for node in [*cluster.members, cluster.members[0]]:
            cluster.let_lead(node)
            hammer.goes_on()
    cluster.check()


def kill_the_leader(cluster, kind, number=signal.SIGKILL):
    """How long the others are without a leader, in seconds."""
    victim = cluster.let_lead(cluster.of_kind(kind)[0])
    return _killed(cluster, victim, number)


def kill_a_follower(cluster, kind, number=signal.SIGKILL):
    """The same; the leader ought to stay."""
    victim = cluster.of_kind(kind)[-1]
    cluster.let_lead(next(node for node in cluster.members if node is not victim))
    return _killed(cluster, victim, number)


def stop_the_leader(cluster, kind):
    """The same for SIGTERM, at which it hands leadership over."""
    return kill_the_leader(cluster, kind, signal.SIGTERM)


def kill_all(cluster):
    """The same for all at once."""
    for node in cluster.members:
        node.end()
    for node in cluster.members:
        node.start()
    return _leaderless(cluster, cluster.members)


def _killed(cluster, victim, number):
    rest = [node for node in cluster.members if node is not victim]
    with cluster.hammered(f"killed-{next(_numbers)}-") as hammer:
        victim.end(number)
        took = _leaderless(cluster, rest)
        hammer.goes_on()
        victim.start()
        cluster.catches_up(victim)
    cluster.check()
    return took


def _leaderless(cluster, members):
    began = time.monotonic()
    cluster.leader(members)
    return time.monotonic() - began


def a_snapshot_travels(cluster, leader, behind):
    """From ``leader`` to ``behind``, which leads afterwards."""
    rest = [node for node in cluster.members if node is not behind]
    for attempt in range(MOST_ATTEMPTS):
        number = next(_numbers)
        cluster.let_lead(leader)
        cluster.add_words(leader, f"before-{number}-", 3)
        cluster.settle()
        behind.end()
        seen, written = max(behind.applied_commands()), leader.last()
        cluster.add_words(leader, f"missed-{number}-", 30)
        cluster.forget(rest, written + 1, f"forgotten-{number}-")
        term = leader.stats()["term"]
        behind.start()
        cluster.check()
        assert int(behind.stats()["last_snapshot_index"]) > seen
        assert seen + 1 not in behind.applied_commands()
        if leader.state() == "LEADER" and leader.stats()["term"] == term:
            break  # so nobody else can have sent the snapshot
        assert attempt < MOST_ATTEMPTS - 1
    if behind.kind == FORGETS_IDS:
        cluster.change("AddVoter", id=behind.id, address=behind.address)
        cluster.settle()
    cluster.let_lead(behind)
    cluster.add_words(behind, f"led-from-a-snapshot-{next(_numbers)}-", 3)
    cluster.check()


def snapshots_travel_both_ways(cluster):
    kinds = kinds_of(cluster)
    for leader, behind in itertools.permutations(kinds, 2):
        a_snapshot_travels(cluster, cluster.of_kind(leader)[0], cluster.of_kind(behind)[-1])


def members_come_and_go(cluster, raftadmins):
    """By ``raftadmin`` of the day at a leader of ours, and by ours at one of theirs."""
    for kind in kinds_of(cluster):
        run = raftadmins["py" if kind == "py" else "go"]
        leader = cluster.let_lead(cluster.of_kind(kind)[0])

        def raftadmin(*words, run=run, leader=leader):
            cluster.led_by(leader, lambda node: run(node, *words), words[0])

        other = next(each for each in kinds_of(cluster) if each != kind)
        newcomer = cluster.new_node(other, f"newcomer{next(_numbers)}").start()
        until(lambda newcomer=newcomer: newcomer.state() == "FOLLOWER", "the newcomer answers")
        raftadmin("add_nonvoter", newcomer.id, newcomer.address, "0")
        raftadmin("add_voter", newcomer.id, newcomer.address, "0")
        cluster.members.append(newcomer)
        cluster.add_words(leader, f"four-{next(_numbers)}-", 3)
        cluster.check()
        raftadmin("demote_voter", newcomer.id, "0")
        assert leader.servers()[newcomer.id] == 1
        raftadmin("remove_server", newcomer.id, "0")
        cluster.members.remove(newcomer)
        newcomer.end()
        for command in ("verify_leader", "barrier"):
            raftadmin(command)


def ours_replace_theirs(cluster):
    """One after the other, each under a new id, under load; none of theirs is left."""
    with cluster.hammered(f"moved-{next(_numbers)}-") as hammer:
        for leaving in [node for node in cluster.members if node.kind != "py"]:
            others = [node for node in cluster.members if node is not leaving]
            if cluster.leader() is leaving:
                cluster.let_lead(others[0])
            cluster.leave(leaving)
            newcomer = cluster.new_node("py", f"ours{next(_numbers)}")
            cluster.join(newcomer.start(), "AddNonvoter")
            cluster.catches_up(newcomer)
            cluster.change("AddVoter", id=newcomer.id, address=newcomer.address)
            hammer.goes_on()
    cluster.check()
    assert {node.kind for node in cluster.members} == {"py"}
