"""What every LogStore promises."""

import pytest

from matchengine.raft.types import Entry, EntryType


@pytest.fixture
def log(open_stores):
    log, _, _ = open_stores()
    yield log
    log.close()


def everything(log):
    return list(log.read(log.first_index, log.last_index))


def test_a_new_log_is_empty_and_begins_at_one(log):
    assert (log.first_index, log.last_index) == (1, 0)
    assert everything(log) == []


def test_entries_come_back_as_they_were(log):
    entries = [
        Entry(1, 1, EntryType.CONFIGURATION, b"", b"extension", -62_135_596_800 * 10**9),
        Entry(2, 2**63, EntryType.NOOP, b"", b"", 0),
        Entry(3, 2**63, EntryType.COMMAND, bytes(range(256)) * 240, b"\0" * 600, -1),
        Entry(4, 2**63, EntryType.BARRIER, b"\0" * 1025, b"", 253_402_300_799_999_999_999),
    ]
    log.append(entries[:3])
    log.append(entries[3:])
    assert everything(log) == entries
    log.sync()
    assert everything(log) == entries


@pytest.mark.parametrize("size", [0, 10, 500, 5000])
def test_synced_entries_are_there_after_reopening(open_stores, make_entries, size):
    log, _, _ = open_stores()
    entries = make_entries(1, 30, size=size)
    for start in range(0, 30, 3):
        log.append(entries[start : start + 3])
        log.sync()
    log.close()
    log, _, _ = open_stores()
    assert everything(log) == entries
    log.append(make_entries(31, 31))
    log.sync()
    assert everything(log) == entries + make_entries(31, 31)
    log.close()


def test_a_range_is_read_wherever_its_ends_fall(log, make_entries):
    entries = make_entries(1, 20, size=400)
    for start in range(0, 20, 4):
        log.append(entries[start : start + 4])
        if start < 16:
            log.sync()
    for first in range(1, 21):
        for last in range(first, 21):
            assert list(log.read(first, last)) == entries[first - 1 : last]


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 4), (4, 4)])
def test_reading_what_does_not_exist_is_an_error(log, make_entries, first, last):
    log.append(make_entries(1, 3))
    with pytest.raises(IndexError):
        list(log.read(first, last))


@pytest.mark.parametrize("wrong", [[2], [1, 3], [0]])
def test_entries_that_do_not_follow_are_refused_whole(log, wrong):
    with pytest.raises(ValueError, match="cannot follow"):
        log.append([Entry(index, 1) for index in wrong])
    assert log.last_index == 0


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("cut", range(14))
def test_truncation_drops_the_index_and_all_behind_it(open_stores, make_entries, cut, synced):
    log, _, _ = open_stores()
    for start in (1, 4, 7, 10):
        log.append(make_entries(start, start + 2, size=700))
        if synced or start < 7:
            log.sync()
    log.truncate_from(cut)
    kept = make_entries(1, min(max(cut, 1) - 1, 12), size=700)
    assert everything(log) == kept
    new = make_entries(len(kept) + 1, len(kept) + 4, term=2)
    log.append(new)
    log.sync()
    log.close()
    log, _, _ = open_stores()
    assert everything(log) == kept + new
    log.close()


@pytest.mark.parametrize("upto", [0, 1, 5, 11, 12, 99])
def test_compaction_keeps_everything_behind_the_index(open_stores, make_entries, upto):
    log, _, _ = open_stores()
    for start in (1, 4, 7, 10):
        log.append(make_entries(start, start + 2, size=1000))
        log.sync()
    log.compact_to(upto)
    log.sync()
    log.close()
    log, _, _ = open_stores()
    assert log.first_index <= max(1, upto + 1)
    assert log.last_index == 12
    assert everything(log) == make_entries(1, 12, size=1000)[log.first_index - 1 :]
    log.close()


@pytest.mark.parametrize("index", [1, 7, 100])
def test_reset_starts_again_at_the_index(open_stores, make_entries, index):
    log, _, _ = open_stores()
    for start in (1, 7):
        log.append(make_entries(start, start + 5, size=700))
        log.sync()
    log.append(make_entries(13, 13))
    log.reset(index)
    assert (log.first_index, log.last_index) == (index, index - 1)
    log.append(make_entries(index, index + 1, term=3))
    log.sync()
    log.close()
    log, _, _ = open_stores()
    assert everything(log) == make_entries(index, index + 1, term=3)
    log.close()
