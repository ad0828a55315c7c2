"""The safety rules, broken one at a time: the invariant checkers must notice within a few seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scenarios import deposed_reader, figure_8, lost_vote, shrinking_minority, slow_leader

from chaos import run_seed
from cluster import InvariantError
from matchengine.raft import candidacy, follower, leadership
from matchengine.raft.core import Core
from matchengine.raft.leadership import Leadership
from matchengine.raft.log import RaftLog
from matchengine.raft.progress import Progress
from matchengine.raft.writes import Writes

SEEDS = range(150)

Mutation = tuple[object, str, Callable[..., Any]]


def _always(_: object, *args: object, **kwargs: object) -> bool:
    return True


def _nothing(*args: object, **kwargs: object) -> None:
    return None


def _zero(*args: object, **kwargs: object) -> int:
    return 0


def _match_unwritten(self: Leadership, voter: str) -> int:
    return self._core.log.last_index if voter == self._core.id else self.peers[voter].match


def _truncate_without_clipping(self: Writes, index: int) -> None:
    if index <= self._handed_upto:
        self._truncate_from = index if self._truncate_from is None else min(index, self._truncate_from)
        self._handed_upto = index - 1


def _matched_too_far(self: Progress, index: int, request: object) -> bool:
    return _matched(self, max(index, self.next - 1), request)


_matched = Progress.matched

MUTATIONS: dict[str, Mutation] = {
    "entries of older terms are committed by counting (5.4.2)": (Leadership, "_may_commit", _always),
    "a vote is not remembered (5.2)": (Core, "vote", _nothing),
    "a vote is answered before it is durable": (Writes, "number_of_vote", _zero),
    "term and vote are never written": (Writes, "save", _nothing),
    "votes go to logs that are behind (5.4.1)": (RaftLog, "is_up_to_date", _always),
    "the consistency check is skipped (5.3)": (follower, "_agrees", _always),
    "conflicting entries stay (5.3)": (follower, "_first_conflict", _zero),
    "entries are acknowledged before they are durable": (Writes, "number_of_entry", _zero),
    "a leader counts itself before its own write": (Leadership, "_match", _match_unwritten),
    "one server is a majority in an election": (candidacy, "is_quorum", lambda agreeing, voters: bool(agreeing)),
    "one server is a majority for commitment": (leadership, "reached_by_majority", max),
    "a late write vouches for entries that replaced its own": (Writes, "truncate_from", _truncate_without_clipping),
    "a follower is credited with all that was sent": (Progress, "matched", _matched_too_far),
    "a truncation is not written": (Writes, "truncate_from", _nothing),
    "reads need no confirmation (thesis 6.4)": (
        Leadership,
        "_acked_round",
        lambda self, voter: self.reads.newest,
    ),
    "reads do not wait for an own commit (thesis 6.4)": (
        Leadership,
        "_can_begin_reads",
        property(lambda self: self.reads.can_begin),
    ),
    "several membership changes at a time (thesis 4.1)": (Leadership, "_may_change", _always),
}


#: Histories that chance finds too seldom.
SCENARIOS: dict[str, Callable[[], None]] = {
    "entries of older terms are committed by counting (5.4.2)": figure_8,
    "a leader counts itself before its own write": slow_leader,
    "a vote is answered before it is durable": lost_vote,
    "reads need no confirmation (thesis 6.4)": deposed_reader,
    "several membership changes at a time (thesis 4.1)": shrinking_minority,
}


@pytest.mark.parametrize("scenario", SCENARIOS.values())
def test_scenarios_are_harmless_while_the_rules_hold(scenario: Callable[[], None]) -> None:
    """What the mutations below turn into a catastrophe is an ordinary day."""
    scenario()


@pytest.mark.parametrize("rule", MUTATIONS)
def test_a_broken_rule_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random schedules are strong enough to see this rule broken."""
    target, name, broken = MUTATIONS[rule]
    monkeypatch.setattr(target, name, broken)
    if rule in SCENARIOS:
        with pytest.raises(InvariantError):
            SCENARIOS[rule]()
        return
    for seed in SEEDS:
        try:
            run_seed(seed, recover=False)
        except InvariantError:
            return
    pytest.fail(f"nobody noticed within {len(SEEDS)} seeds")
