"""From the version that the original pins, whose pre-vote is broken, to nodes of ours and back, under load."""

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OLD, OURS = "go-1.7.0", "py"


def replace(cluster, leaving, newcomer):
    """One step of a rolling move; the leader is moved last of all, and before it leaves."""
    others = [node for node in cluster.members if node is not leaving]
    if cluster.leader() is leaving:
        cluster.let_lead(others[0])
    cluster.leave(leaving)
    cluster.join(newcomer.start(), "AddNonvoter")
    cluster.catches_up(newcomer)
    cluster.change("AddVoter", id=newcomer.id, address=newcomer.address)


def test_three_nodes_move_to_python_and_back(cluster):
    cluster.found([OLD] * 3)
    first = list(cluster.members)
    ours = [cluster.new_node(OURS, f"ours{number}") for number in range(1, 4)]
    back = [cluster.new_node(OLD, f"back{number}") for number in range(1, 4)]
    with cluster.hammered("moved-") as hammer:
        for leaving, newcomer in zip([*first, *ours], [*ours, *back], strict=True):
            replace(cluster, leaving, newcomer)
            hammer.goes_on()
            if newcomer is ours[-1]:
                assert {node.kind for node in cluster.members} == {OURS}
    assert {node.kind for node in cluster.members} == {OLD}
    cluster.check_logs()
