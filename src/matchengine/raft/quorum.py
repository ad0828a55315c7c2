"""Majorities (section 5.2, 5.4.2): how many are enough, and what a majority has in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from matchengine.raft.types import ServerId


def majority(voters: int) -> int:
    """How many of so many voters are more than half."""
    return voters // 2 + 1


def is_quorum(agreeing: Collection[ServerId], voters: Sequence[ServerId]) -> bool:
    """Whether more than half of the voters agree.  Nobody is no quorum of an empty cluster."""
    return sum([voter in agreeing for voter in voters]) >= majority(len(voters))


def reached_by_majority(values: Sequence[int]) -> int:
    """The largest number that more than half of the values have reached; 0 for no values."""
    if not values:
        return 0
    return sorted(values)[(len(values) - 1) // 2]
