"""One cluster of nodes on HashiCorp Raft and of ours: every role is played by both kinds."""

import itertools

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CLUSTERS = {
    "2-Go-1-Python": ("go", "go", "py"),
    "1-Go-2-Python": ("go", "py", "py"),
    "3-Go-2-Python": ("go", "go", "go", "py", "py"),
}
KINDS = ("go", "py")
#: Without processor time leadership moves when nobody wants it to; then a scene begins anew.
MOST_ATTEMPTS = 5

each_cluster = pytest.mark.parametrize("kinds", CLUSTERS.values(), ids=CLUSTERS)


@each_cluster
@pytest.mark.parametrize("founder", KINDS)
def test_either_kind_founds_and_words_go_through_leaders_of_both(cluster, kinds, founder):
    cluster.found(sorted(kinds, key=lambda kind: kind != founder))
    for kind in KINDS:
        leader = cluster.let_lead(cluster.of_kind(kind)[0])
        cluster.add_words(leader, f"{kind}-led-", 20)
        cluster.check()
    cluster.check_logs()


@each_cluster
def test_leadership_goes_back_and_forth_under_load(cluster, kinds):
    cluster.found(kinds)
    with cluster.hammered("handed-over-") as hammer:
        for kind in KINDS * 3:
            cluster.let_lead(cluster.of_kind(kind)[0])
            hammer.goes_on()
    cluster.check_logs()


@each_cluster
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_killed_and_restarted_under_load(cluster, kinds, kind):
    cluster.found(kinds)
    victim = cluster.of_kind(kind)[0]
    rest = [node for node in cluster.members if node is not victim]
    with cluster.hammered("killed-") as hammer:
        cluster.let_lead(rest[0])
        victim.end()
        hammer.goes_on()
        victim.start()
        cluster.catches_up(victim)
        cluster.let_lead(victim)
        hammer.goes_on()
        victim.end()
        cluster.leader(rest)
        hammer.goes_on()
        victim.start()
        cluster.catches_up(victim)
    cluster.check_logs()


@each_cluster
@pytest.mark.parametrize(("leader_kind", "behind_kind"), [("go", "py"), ("py", "go")])
def test_a_node_left_behind_gets_the_other_kinds_snapshot(cluster, kinds, leader_kind, behind_kind):
    cluster.found(kinds)
    leader = cluster.of_kind(leader_kind)[0]
    behind = cluster.of_kind(behind_kind)[-1]
    rest = [node for node in cluster.members if node is not behind]
    for attempt in itertools.count():
        cluster.let_lead(leader)
        cluster.add_words(leader, f"before-{attempt}-", 10)
        cluster.settle()
        behind.end()
        seen, written = max(behind.applied_commands()), leader.last()
        cluster.add_words(leader, f"missed-{attempt}-", 100)
        cluster.forget(rest, written + 1, f"forgotten-{attempt}-")
        cluster.add_words(leader, f"after-the-snapshot-{attempt}-", 10)
        term = leader.stats()["term"]
        behind.start()
        cluster.check()
        assert int(behind.stats()["last_snapshot_index"]) > seen
        assert seen + 1 not in behind.applied_commands()
        if leader.state() == "LEADER" and leader.stats()["term"] == term:
            break  # so nobody else can have sent the snapshot
        assert attempt < MOST_ATTEMPTS
    # It led on from the snapshot of the other kind, and brings it to nodes of its own making.
    cluster.let_lead(behind)
    cluster.add_words(behind, "led-from-a-snapshot-", 10)
    cluster.check_logs()


@pytest.mark.parametrize("snapshot", [False, True], ids=["entries", "snapshot"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_deposed_leader_wrote_alone_is_dropped(cluster, kind, snapshot):
    """A stale suffix under a leader of the other kind, which may have only a snapshot left for what replaced it."""
    cluster.found([kind, *(other for other in KINDS * 2 if other != kind)])
    deposed, *others = cluster.members
    for attempt in itertools.count():
        stale = f"stale-{attempt}-"
        written = cluster.writes_alone(deposed, [f"{stale}{number}" for number in range(5)])
        if written:
            break
        assert attempt < MOST_ATTEMPTS
    deposed.end()
    for node in others:
        node.start()
    leader = cluster.leader(others)
    cluster.add_words(leader, "instead-", 20)
    if snapshot:
        cluster.forget(others, written, "forgotten-")
    deposed.start()
    applied = cluster.check_logs()
    assert not any(data.startswith(stale.encode()) for _, data in applied.values())
    assert snapshot == (b"instead-0" not in {data for _, data in deposed.applied_commands().values()})


@each_cluster
def test_members_come_and_go_by_raftadmin_of_both_kinds(cluster, kinds, raftadmins):
    cluster.found(kinds)
    for kind, run in raftadmins.items():
        leader = cluster.let_lead(cluster.of_kind(kind)[0])

        def raftadmin(leader, *words, run=run):
            cluster.led_by(leader, lambda node: run(node, *words), words[0])

        newcomer = cluster.new_node(KINDS[kind == "go"], f"newcomer-{kind}").start()
        raftadmin(leader, "add_nonvoter", newcomer.id, newcomer.address, "0")
        cluster.members.append(newcomer)
        assert leader.servers()[newcomer.id] == 1
        cluster.add_words(leader, f"nonvoter-{kind}-", 5)
        cluster.check()
        raftadmin(leader, "add_voter", newcomer.id, newcomer.address, "0")
        assert leader.servers()[newcomer.id] == 0
        raftadmin(leader, "demote_voter", newcomer.id, "0")
        assert leader.servers()[newcomer.id] == 1
        raftadmin(leader, "remove_server", newcomer.id, "0")
        assert newcomer.id not in leader.servers()
        cluster.members.remove(newcomer)
        cluster.add_words(leader, f"without-{kind}-", 5)
        raftadmin(leader, "AddVoter", newcomer.id, newcomer.address, "0")
        # A node of HashiCorp's that has seen its own removal has shut its Raft down.
        newcomer.end()
        newcomer.start()
        cluster.members.append(newcomer)
        cluster.check()
        cluster.let_lead(newcomer)
        cluster.add_words(newcomer, f"again-{kind}-", 5)
    cluster.check_logs()


@each_cluster
@pytest.mark.parametrize("kind", KINDS)
def test_a_leader_removes_itself_and_comes_back_under_a_new_id(cluster, kinds, kind):
    cluster.found(kinds)
    leader = cluster.let_lead(cluster.of_kind(kind)[0])
    with cluster.hammered("removed-") as hammer:
        cluster.removes_itself(leader)
        successor = cluster.leader()
        assert leader.id not in successor.servers()
        hammer.goes_on()
    leader.end()
    newcomer = cluster.new_node(kind, f"{leader.id}-again").start()
    cluster.join(newcomer)
    cluster.let_lead(newcomer)
    cluster.add_words(newcomer, "came-back-", 5)
    cluster.check_logs()


@each_cluster
def test_leaders_of_both_kinds_verify_bar_and_snapshot(cluster, kinds):
    cluster.found(kinds)
    for kind in KINDS:
        leader = cluster.let_lead(cluster.of_kind(kind)[0])
        cluster.add_words(leader, f"{kind}-snapshot-", 5)
        cluster.led_by(leader, lambda node: node.operate("VerifyLeader"), "VerifyLeader")
        index = cluster.led_by(leader, lambda node: node.operate("Barrier"), "Barrier")
        assert leader.applied() >= index > 0
        cluster.settle()
        for node in cluster.members:
            node.operate("Snapshot")
        cluster.settle()
        for node in cluster.members:
            assert int(node.stats()["last_snapshot_index"]) >= index - 1
    for node in cluster.members:
        node.end()
        node.start()
    cluster.check_logs()
