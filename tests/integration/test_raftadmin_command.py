"""``raftadmin`` as operators type it, against nodes in processes of their own."""

import pytest

from matchengine.cluster.processes import free_addresses

pytestmark = pytest.mark.integration


def test_a_member_is_added_and_the_founder_shut_down(start_node, matchengine):
    first = start_node("nodeA", "--bootstrap").leads()
    absent = free_addresses(1)[0]
    everybody = f"multi:///{absent},{first.address}"
    added = matchengine("raftadmin", "--leader", everybody, "add_nonvoter", "nodeB", absent, "0")
    assert (added.code, added.out) == (0, ""), added.err
    status = matchengine("cluster", "status", "--target", everybody)
    assert status.code == 0, status.err
    assert "leader" in status.out
    assert "no answer" in status.out
    bare = matchengine("raftadmin", first.address, "ApplyLog", "x", "")
    assert bare.code == 1
    assert "client sessions only" in bare.err
    ended = matchengine("raftadmin", everybody, "shutdown")
    assert ended.code == 0, ended.err
    assert first.process.wait(60) == 0
