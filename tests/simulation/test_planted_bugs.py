"""Every planted bug is found within its seeds, and every rule is needed for one of them."""

from __future__ import annotations

import os

import pytest
from planted import PLANTED, Planted, escape, find, without_bug

from matchengine.testing.simulator.rules import NAMES

#: Set this for what takes long: that no rule can be spared, and that it is the bugs that are found.
SHOW_ESCAPES = "MATCHENGINE_SHOW_ESCAPES"
long = pytest.mark.skipif(
    SHOW_ESCAPES not in os.environ, reason=f"{SHOW_ESCAPES} is not set; docs/simulation.md has the table"
)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_bug_is_found(planted: Planted) -> None:
    assert find(planted).failure is not None, f"nothing found within {planted.seeds} seeds"


@long
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_the_product_passes_the_same_seeds(planted: Planted) -> None:
    last = find(planted).plan.seed
    assert find(without_bug(planted), range(last + 1)).failure is None


@long
@pytest.mark.parametrize("rule", NAMES)
def test_something_escapes_without_the_rule(rule: str) -> None:
    assert escape(rule) is not None, "whatever it sees is seen by another rule as well"
