"""What every StableStore promises."""

import pytest

from matchengine.raft.types import HardState


def test_a_new_store_has_no_term_and_no_vote(open_stores):
    _, stable, _ = open_stores()
    assert stable.load() == HardState()


@pytest.mark.parametrize("state", [HardState(1), HardState(7, "node-ü"), HardState(2**64 - 1, "x" * 65_535)])
def test_the_last_saved_state_is_there_after_reopening(open_stores, state):
    _, stable, _ = open_stores()
    stable.save(HardState(1, "first"))
    stable.save(state)
    assert stable.load() == state
    _, stable, _ = open_stores()
    assert stable.load() == state
