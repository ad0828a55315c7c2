"""The checker's verdicts: known histories, all small ones against every order, and the bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registers import Register, is_linearizable

from matchengine.testing.linearizability import Operation, Verdict, check, check_parts


def write(start, end, value, client=1):
    return Operation(client, start, ("write", value), end)


def read(start, end, result, client=2):
    return Operation(client, start, ("read",), end, result)


def swap(start, end, old, new, done, client=3):
    return Operation(client, start, ("swap", old, new), end, done)


GOOD = {
    "nothing": [],
    "one after the other": [write(0, 1, 5), read(2, 3, 5)],
    "a read beside a write sees the old": [write(0, 10, 5), read(1, 2, 0)],
    "a read beside a write sees the new": [write(0, 10, 5), read(1, 2, 5)],
    "first the old, then the new": [write(0, 10, 5), read(1, 2, 0), read(3, 4, 5)],
    "an unknown write took effect": [write(0, None, 5), read(10, 11, 5)],
    "an unknown write did not": [write(0, None, 5), read(10, 11, 0)],
    "an unknown write took effect late": [write(0, None, 5), read(1, 2, 0), read(10, 11, 5)],
    "touching ends overlap": [write(0, 5, 5), read(5, 6, 0)],
    "the later call came first": [write(0, 10, 1), write(1, 9, 2), read(11, 12, 1)],
    "a write that changed nothing at first": [write(0, 9, 0), write(1, 2, 5), read(3, 4, 0)],
    "one of two swaps": [swap(0, 5, 0, 1, True), swap(1, 6, 0, 2, False), read(7, 8, 1)],
    "an unknown swap between two others": [swap(0, None, 1, 2, None), swap(1, 2, 0, 1, True), swap(3, 4, 2, 3, True)],
}

BAD = {
    "a read of what nobody wrote": [read(0, 1, 7)],
    "a lost write": [write(0, 1, 5), read(2, 3, 0)],
    "first the new, then the old": [write(0, 10, 5), read(1, 2, 5), read(3, 4, 0)],
    "an unknown write before its call": [read(0, 1, 5), write(2, None, 5)],
    "an unknown write undone": [write(0, None, 5), read(1, 2, 5), read(3, 4, 0)],
    "an unknown write twice": [write(0, None, 5), read(1, 2, 5), write(3, 4, 6), read(5, 6, 5)],
    "both of two swaps": [swap(0, 5, 0, 1, True), swap(1, 6, 0, 2, True)],
    "neither of two swaps": [swap(0, 5, 0, 1, False), swap(1, 6, 0, 1, False)],
    "two readers disagree on the order": [
        write(0, 20, 1),
        write(0, 20, 2),
        *(read(1, 2, 1), read(3, 4, 2)),
        *(read(1, 2, 2), read(5, 6, 1)),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_good_histories(history) -> None:
    assert check(Register(), history).verdict is Verdict.LINEARIZABLE
    assert is_linearizable(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_bad_histories(history) -> None:
    assert check(Register(), history).verdict is Verdict.NOT_LINEARIZABLE
    assert not is_linearizable(history)


SMALL = st.integers(0, 1)
CALLS = st.one_of(
    st.tuples(st.just("read")), st.tuples(st.just("write"), SMALL), st.tuples(st.just("swap"), SMALL, SMALL)
)


@st.composite
def histories(draw):
    """A few operations with any results, so that about half of the histories are wrong."""
    history = []
    for client in range(draw(st.integers(1, 5))):
        start, call = draw(st.integers(0, 6)), draw(CALLS)
        result = {"read": SMALL, "write": st.none(), "swap": st.booleans()}[call[0]]
        end = draw(st.one_of(st.none(), st.integers(start, start + 6), st.integers(start, start + 6)))
        history.append(Operation(client, start, call, end, None if end is None else draw(result)))
    return history


@settings(max_examples=600)
@given(histories())
def test_every_small_history_is_judged_as_by_trying_all_orders(history) -> None:
    right = Verdict.LINEARIZABLE if is_linearizable(history) else Verdict.NOT_LINEARIZABLE
    assert check(Register(), history).verdict is right


@settings(max_examples=300)
@given(histories())
def test_an_explanation_is_true(history) -> None:
    judgement = check(Register(), history)
    why = judgement.explanation
    assert (why is None) is (judgement.verdict is Verdict.LINEARIZABLE)
    if why is None:
        return

    def before(moment):
        """What had happened when the misfit was about to end: what had not ended yet may or may not have."""
        for operation in history:
            if operation.start <= moment:
                over = operation.end is not None and operation.end < moment
                yield operation if over else Operation(operation.client, operation.start, operation.call)

    assert check(Register(), before(why.misfit.end)).verdict is Verdict.LINEARIZABLE
    assert check(Register(), why.placed).verdict is Verdict.LINEARIZABLE
    assert why.misfit not in why.placed
    assert all(conflict.right != why.misfit.result for conflict in why.conflicts)


def test_an_explanation_in_words() -> None:
    why = check(Register(), [write(0, 1, 5), read(2, 3, 5), read(4, 9, 0), write(6, None, 7)]).explanation
    assert why.text().splitlines() == [
        "3 operations can be put in order, the last of them:",
        "  client 1 [0, 1] ('write', 5) -> None",
        "  client 2 [2, 3] ('read',) -> 5",
        "  client 1 [6, ?] ('write', 7) -> ?",
        "no place is left for:",
        "  client 2 [4, 9] ('read',) -> 0",
        "  it should give 7 in the state 7",
        "  it should give 5 in the state 5",
        "at the same time:",
        "  client 1 [6, ?] ('write', 7) -> ?",
    ]


def concurrent_history(seed: int, operations: int, clients: int = 6):
    """What clients see of a real register whose operations take effect somewhere between call and return."""
    rng = random.Random(seed)
    free_at = dict.fromkeys(range(clients), 0)
    effects = []
    for _ in range(operations):
        client = min(free_at, key=free_at.get)
        start = free_at[client] + rng.randint(1, 5)
        effect = start + rng.randint(0, 20)
        free_at[client] = end = effect + rng.randint(0, 20)
        call = rng.choice([("read",), ("write", rng.randint(0, 9)), ("swap", rng.randint(0, 9), rng.randint(0, 9))])
        effects.append((effect, client, start, call, end))
    model, state, history = Register(), 0, []
    for _, client, start, call, end in sorted(effects, key=lambda each: each[0]):
        state, result = model.step(state, call)
        history.append(Operation(client, start, call, end, result))
    return history


def test_long_histories_take_few_steps_and_one_wrong_answer_is_found() -> None:
    history = concurrent_history(seed=7, operations=3000)
    judgement = check(Register(), history, max_steps=60_000)
    assert judgement.verdict is Verdict.LINEARIZABLE

    at = next(i for i, operation in enumerate(history) if i > 2000 and operation.call == ("read",))
    old = history[at]
    history[at] = Operation(old.client, old.start, old.call, old.end, 77)
    judgement = check(Register(), history, max_steps=200_000)
    assert judgement.verdict is Verdict.NOT_LINEARIZABLE
    assert judgement.explanation.misfit is history[at]


def test_a_search_beyond_its_bound_is_no_verdict() -> None:
    # Ten writes of unknown outcome beside a read of none of their values: every set of them has to be tried.
    history = [write(0, None, 2**value) for value in range(10)] + [read(1, 2, 99)]
    assert check(Register(), history, max_steps=10).verdict is Verdict.UNKNOWN
    assert check(Register(), history).verdict is Verdict.NOT_LINEARIZABLE


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="end: 1 is before the operation's start, 2"):
        check(Register(), [write(2, 1, 5)])


def test_objects_apart_are_judged_apart() -> None:
    good, bad = [write(0, 1, 5, client=1)], [read(0, 1, 5, client=2)]
    report = check_parts(lambda _: Register(), good + bad, lambda operation: operation.client)
    assert {key: part.verdict for key, part in report.parts.items()} == {
        1: Verdict.LINEARIZABLE,
        2: Verdict.NOT_LINEARIZABLE,
    }
    assert report.verdict is Verdict.NOT_LINEARIZABLE
    bounded = check_parts(lambda _: Register(), good + bad, lambda operation: operation.client, max_steps=0)
    assert bounded.verdict is Verdict.UNKNOWN
