"""Scripted histories that are harmless with the rules in force, and fatal without one of them."""

from __future__ import annotations

from cluster import Cluster, InvariantError, SimServer
from matchengine.raft.proposals import ChangeKind, ChangeMembership, Command, Read
from matchengine.raft.ready import ReadReady
from matchengine.raft.types import Role


def lead(cluster: Cluster, server: SimServer, *followers: SimServer) -> None:
    """Make ``server`` the leader of a group, cut off from the rest."""
    let_stand(cluster, server, *followers)
    cluster.run_until(lambda: server.raft.status().role is Role.LEADER, step=1)


def let_stand(cluster: Cluster, server: SimServer, *followers: SimServer) -> None:
    """Everybody loses their leader; then only ``server`` has a clock, and reaches only ``followers``."""
    for other in cluster.servers.values():
        other.clock_stands = False
    cluster.partition(*[[i] for i in cluster.ids])
    cluster.run(600)
    for other in cluster.servers.values():
        other.clock_stands = other is not server
    group = [server.id, *(s.id for s in followers)]
    cluster.partition(group, *[[i] for i in cluster.ids if i not in group])


def vanish(cluster: Cluster, server: SimServer) -> None:
    """Crash, and take the messages that are under way along."""
    cluster.partition(*[[i] for i in cluster.ids])
    server.crash()


def figure_8() -> None:
    """Figure 8: an entry of an older term reaches a majority, and its leader dies before its own entry does."""
    cluster = Cluster(5, 1, max_append_entries=1)
    s1, s2, s3, s4, s5 = cluster.servers.values()
    lead(cluster, s1, s2, s3, s4, s5)
    cluster.run_until(lambda: all(s.applied == 2 for s in cluster.servers.values()))
    cluster.partition([s1.id, s2.id], [s3.id, s4.id, s5.id])
    s1.propose(Command(b"old"))
    cluster.run_until(lambda: s2.raft.status().durable_index == 3)
    vanish(cluster, s1)
    lead(cluster, s5, s3, s4)
    cluster.partition(*[[i] for i in cluster.ids])
    cluster.run(20)
    s5.crash()
    s1.start()
    lead(cluster, s1, s2, s3)
    cluster.run_until(lambda: next(p.match for p in s1.raft.status().peers if p.id == s3.id) == 3, step=1)
    vanish(cluster, s1)
    s5.start()
    lead(cluster, s5, s3, s4)
    cluster.run_until(lambda: s5.raft.status().commit_index > 3)
    s1.start()
    cluster.heal()
    cluster.commit(b"the end")


def slow_leader() -> None:
    """A leader's disk hangs while one follower has the entry; then the leader loses what it never wrote."""
    cluster = Cluster(3, 1)
    s1, s2, s3 = cluster.servers.values()
    lead(cluster, s1, s2, s3)
    cluster.run_until(lambda: all(s.applied == 2 for s in cluster.servers.values()))
    s1.disk_hangs = True
    cluster.partition([s1.id, s2.id], [s3.id])
    s1.propose(Command(b"unwritten"))
    cluster.run(60)
    vanish(cluster, s1)
    s1.start()
    lead(cluster, s3, s1)
    cluster.run_until(lambda: s3.raft.status().commit_index > 2)
    cluster.heal()
    cluster.commit(b"the end")


def lost_vote() -> None:
    """A voter crashes before its vote is durable, and is asked by another candidate in the same term."""
    cluster = Cluster(3, 1)
    s1, s2, s3 = cluster.servers.values()
    lead(cluster, s1, s2, s3)
    cluster.run_until(lambda: all(s.applied == 2 for s in cluster.servers.values()))
    let_stand(cluster, s1, s3)
    s3.disk_hangs = True
    cluster.run(450)
    vanish(cluster, s3)
    vanish(cluster, s1)
    s3.start()
    lead(cluster, s2, s3)
    s1.start()
    cluster.heal()
    cluster.commit(b"the end")


def deposed_reader() -> None:
    """A leader whose clock stands still is cut off and replaced, and is then asked to read."""
    cluster = Cluster(3, 1)
    s1, s2, s3 = cluster.servers.values()
    lead(cluster, s1, s2, s3)
    cluster.run_until(lambda: all(s.applied == 2 for s in cluster.servers.values()))
    s2.clock_stands = s3.clock_stands = False
    s1.clock_stands = True
    cluster.partition([s1.id], [s2.id, s3.id])
    cluster.run_until(lambda: max(s2.applied, s3.applied) > 2)
    key = s1.propose(Read())
    cluster.run(50)
    outcome = cluster.outcomes.get(key)
    if isinstance(outcome, ReadReady) and outcome.index < max(cluster.invariants.committed):
        raise InvariantError("stale read at a deposed leader")
    cluster.heal()
    cluster.commit(b"the end")


def shrinking_minority() -> None:
    """A leader that reaches only one of four followers removes the others one after the other."""
    cluster = Cluster(5, 1)
    s1, s2, s3, s4, s5 = cluster.servers.values()
    lead(cluster, s1, s2, s3, s4, s5)
    cluster.run_until(lambda: all(s.applied == 2 for s in cluster.servers.values()))
    for server in (s3, s4, s5):
        server.clock_stands = False
    cluster.partition([s1.id, s2.id], [s3.id, s4.id, s5.id])
    for server in (s3, s4, s5):
        s1.propose(ChangeMembership(ChangeKind.REMOVE_SERVER, server.id))
    cluster.run_until(lambda: max(s.applied for s in (s3, s4, s5)) > 2)
    cluster.heal()
    cluster.commit(b"the end")
