"""Idle sessions are found by the leader's own clock since it saw their last entry."""

from __future__ import annotations

import pytest

from matchengine.sessions import IdleWatch, LastEntry
from matchengine.sessions.idle import MAX_EXPIRED_AT_ONCE

A, B = LastEntry(7, 20), LastEntry(2**64 - 1, 21)


@pytest.fixture
def watch() -> IdleWatch:
    return IdleWatch()


def test_a_session_is_idle_since_the_first_look_at_its_last_entry(watch):
    for now in (100, 105, 110):
        watch.look([A, B], now)
    assert watch.idle(10, 110) == []
    assert watch.idle(10, 110.5) == [A, B]
    assert watch.idle_times(110) == {7: 10, 2**64 - 1: 10}


def test_a_new_entry_begins_the_count_anew(watch):
    watch.look([A, B], 100)
    newer = LastEntry(7, 30)
    watch.look([newer, B], 110)
    assert watch.idle(5, 112) == [B]
    assert watch.idle(5, 116) == [newer, B]


def test_a_session_that_has_ended_is_forgotten(watch):
    watch.look([A, B], 100)
    watch.look([B], 110)
    watch.look([A, B], 120)
    assert watch.idle(15, 121) == [B]


def test_a_new_leader_begins_to_count_anew(watch):
    watch.look([A], 100)
    watch.forget()
    assert watch.idle(1, 200) == []
    watch.look([A], 200)
    assert watch.idle(50, 201) == []


def test_one_entry_names_a_bounded_number(watch):
    watch.look([LastEntry(number, 1) for number in range(1, MAX_EXPIRED_AT_ONCE + 10)], 0)
    assert len(watch.idle(1, 2)) == MAX_EXPIRED_AT_ONCE
