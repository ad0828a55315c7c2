"""A register that several clients read, write and swap: the smallest object whose histories can go wrong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matchengine.testing.linearizability import Operation

Call = tuple
History = Sequence[Operation]


class Register:
    """Calls are ("read",), ("write", value) and ("swap", old, new); a swap tells whether it did."""

    def initial(self):
        return 0

    def step(self, state, call):
        match call:
            case ("read",):
                return state, state
            case ("write", value):
                return value, None
            case ("swap", old, new):
                return (new, True) if state == old else (state, False)
        raise AssertionError(call)

    def agrees(self, right, seen):
        return right == seen


def is_linearizable(history: History) -> bool:
    """By trying every order of every set of operations that holds all that ended."""
    ended = [operation for operation in history if operation.end is not None]
    pending = [operation for operation in history if operation.end is None]
    return any(
        _explains(order)
        for count in range(len(pending) + 1)
        for happened in itertools.combinations(pending, count)
        for order in itertools.permutations([*ended, *happened])
    )


def _explains(order: History) -> bool:
    model, state = Register(), 0
    for place, operation in enumerate(order):
        if any(later.end is not None and later.end < operation.start for later in order[place:]):
            return False
        state, right = model.step(state, operation.call)
        if operation.end is not None and right != operation.result:
            return False
    return True
