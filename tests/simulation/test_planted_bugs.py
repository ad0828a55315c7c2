"""Every planted bug is found within its seeds, and every checker is needed for one of them."""

from __future__ import annotations

import os

import pytest
from planted import PLANTED, Planted, find

#: Set this to see, bug by bug, what escapes when a checker is taken away.
SHOW_ESCAPES = "MATCHENGINE_SHOW_ESCAPES"


def by_name(name: str) -> Planted:
    return next(planted for planted in PLANTED if planted.name == name)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_bug_is_found(planted: Planted) -> None:
    assert find(planted).failure is not None, f"nothing found within {planted.seeds} seeds"


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
@pytest.mark.skipif(
    SHOW_ESCAPES not in os.environ, reason=f"{SHOW_ESCAPES} is not set; docs/simulation.md has the table"
)
def test_what_escapes_without_the_checker(planted: Planted) -> None:
    """Not a rule but a measurement: passes where the bug escapes the seed that found it, as its checker is away."""
    first = find(planted)
    assert first.failure is not None
    again = find(planted, seeds=range(first.plan.seed, first.plan.seed + 1), without=(first.failure.invariant,))
    assert again.failure is None, again.failure
