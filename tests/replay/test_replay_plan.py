"""Where a replay cuts its messages into batches."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matchengine.exchange.layout import BATCH_HEADER, COMMAND
from matchengine.replay.errors import InputError
from matchengine.replay.plan import IN_FLIGHT_AT_KILL, Aim, make_plan
from matchengine.replay.workload import BookRow, Workload


def workload(messages, books=()):
    rows = tuple(BookRow(position, position, (), ()) for position in books)
    return Workload("X", 0, bytes(messages * COMMAND.size), rows)


@given(
    messages=st.integers(0, 300),
    batch=st.integers(1, 50),
    books=st.lists(st.integers(0, 300), max_size=10).map(sorted),
    fractions=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), max_size=2, unique=True),
)
def test_every_message_is_sent_once_and_in_order(messages, batch, books, fractions):
    load = workload(messages, [min(book, messages) for book in books])
    try:
        plan = make_plan(load, batch, fractions, 32)
    except InputError:
        assert fractions
        return
    pieces = plan.pieces()
    assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces)][: len(pieces)]
    assert (pieces[-1].end if pieces else 0) == messages
    assert all(0 < piece.end - piece.start <= batch for piece in pieces)
    assert sum(stretch.book is not None for stretch in plan.stretches) == len(books)
    assert sum(stretch.kill for stretch in plan.stretches) == len(fractions)


@given(messages=st.integers(8, 400), fraction=st.floats(0.05, 0.95), batch=st.integers(1, 1000))
@example(messages=8, fraction=0.95, batch=1)  # nothing follows
def test_a_stretch_with_a_kill_has_enough_batches_and_starts_at_the_fraction(messages, fraction, batch):
    follow = messages - math.ceil(fraction * messages)
    if follow < IN_FLIGHT_AT_KILL:
        with pytest.raises(InputError, match="fewer than 8 messages follow"):
            make_plan(workload(messages), batch, [fraction], 32)
        return
    plan = make_plan(workload(messages), batch, [fraction], 32)
    (stretch,) = [s for s in plan.stretches if s.kill]
    assert len(stretch.pieces) >= min(follow, 2 * IN_FLIGHT_AT_KILL)
    assert messages * fraction <= stretch.start < messages * fraction + 1


@given(
    messages=st.integers(2, 400),
    fractions=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), max_size=3, unique=True),
    books=st.lists(st.integers(1, 400), max_size=5).map(sorted),
)
@example(messages=2, fractions=[0.9], books=[])
def test_a_handover_is_far_from_kills_and_changes_nothing_else(messages, fractions, books):
    load = workload(messages, [min(book, messages) for book in books])
    try:
        plan = make_plan(load, 10, fractions, 32, handover=True)
    except InputError:
        return
    assert [piece.start for piece in plan.pieces()] == [0, *(piece.end for piece in plan.pieces())][:-1]
    assert sum(stretch.kill for stretch in plan.stretches) == len(fractions)
    handovers = [stretch for stretch in plan.stretches if stretch.handover]
    assert not [stretch for stretch in handovers if stretch.kill or not stretch.pieces]
    if not books and not fractions:
        assert [stretch.start for stretch in handovers] == [math.ceil(messages / 2)]
    assert len(handovers) == 1 or (books and not handovers)
    assert not any(stretch.handover for stretch in make_plan(load, 10, fractions, 32).stretches)


@pytest.mark.parametrize(("fractions", "start"), [([0.3, 0.7], 500), ([0.1], 550), ([0.2, 0.3], 650)])
def test_a_handover_is_in_the_middle_of_the_widest_gap(fractions, start):
    plan = make_plan(workload(1000), 10, fractions, 32, handover=True)
    assert [stretch.start for stretch in plan.stretches if stretch.handover] == [start]


def test_between_books_the_kill_moves_to_the_next_long_stretch():
    plan = make_plan(workload(100, [10, 20, 25, 60, 70]), 1000, [0.15], 32)
    (stretch,) = [s for s in plan.stretches if s.kill]
    assert (stretch.start, len(stretch.pieces)) == (25, 35)


def test_where_no_stretch_is_long_a_short_one_has_the_kill():
    plan = make_plan(workload(100, range(0, 101, 10)), 1000, [0.45], 32)
    (stretch,) = [s for s in plan.stretches if s.kill]
    assert (stretch.start, len(stretch.pieces)) == (50, 10)


def test_no_stretch_that_is_long_enough_is_an_error():
    with pytest.raises(InputError, match="no 8 messages in a row without a look at the book follow message 50,"):
        make_plan(workload(98, range(0, 99, 7)), 1000, [0.51], 32)


@given(st.integers(IN_FLIGHT_AT_KILL, 60), st.integers(16, 40), st.randoms(use_true_random=False))
def test_enough_batches_are_unanswered_whatever_is_still_answered_after_the_aim(batches, window, chance):
    aim, written, answered = Aim(100, batches), 0, 0
    while not aim.reached(100 + answered, written - answered):
        if written - answered < window and (written == answered or chance.random() < 0.5):
            written += 1
        else:
            answered += 1
    answered = written
    written = min(batches, answered + window)
    assert written - answered >= IN_FLIGHT_AT_KILL


def test_a_batch_is_a_header_and_its_records():
    load = Workload("X", 0, b"".join(bytes([n]) * COMMAND.size for n in range(5)))
    batch = load.batch(1, 3)
    assert BATCH_HEADER.unpack_from(batch)[3] == 2
    assert batch[BATCH_HEADER.size :] == bytes([1]) * COMMAND.size + bytes([2]) * COMMAND.size
