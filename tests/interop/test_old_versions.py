"""One cluster with HashiCorp Raft as raft-grpc-example has pinned it over time; ``make interop`` goes on for longer."""

import pytest
import scenes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

each_version = pytest.mark.parametrize("version", scenes.VERSIONS)


@each_version
def test_two_of_an_old_version_and_one_of_ours(cluster, version):
    """Whichever kind leads may be killed, and the others find a leader, though old ones know no pre-vote."""
    old = f"go-{version}"
    cluster.found([old, "py", old])
    scenes.leadership_goes_back_and_forth(cluster)
    for kind in (old, "py"):
        scenes.kill_the_leader(cluster, kind)
    scenes.snapshots_travel_both_ways(cluster)
    cluster.check_logs()


@each_version
def test_one_of_an_old_version_and_two_of_ours(cluster, version, raftadmins_of_the_day):
    old = f"go-{version}"
    cluster.found(["py", old, "py"])
    scenes.kill_the_leader(cluster, "py")
    scenes.kill_a_follower(cluster, old)
    scenes.members_come_and_go(cluster, raftadmins_of_the_day)
    scenes.ours_replace_theirs(cluster)
    cluster.check_logs()
