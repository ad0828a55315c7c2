"""Nodes are replaced one by one, each by one of another kind under a new id, while orders come in."""

import pytest
from benchmarks.rolling import roll

from matchengine.replay.flash import load_flash

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: The founder and the second become HashiCorp Raft's, the third stays ours, and the first newcomer becomes ours again.
JOURNEY = ("hashicorp", "hashicorp", "matchengine", "matchengine")


def test_nothing_is_lost_or_doubled_while_nodes_move_to_the_other_engine_and_back(go_programs, runner, shared_data):
    commands = load_flash(shared_data / "flash" / "normal-20000-seed1.bin.xz").workload.commands
    steps = []
    result = runner.run(roll(commands, 2_000, progress=steps.append, journey=JOURNEY))
    assert len(steps) == len(JOURNEY)
    assert result.orders > 2_000
    assert (result.right, result.hashes_agree) == (True, True)
