"""The record of the log's end: a lower bound after every crash, and as close as it costs nothing."""

import errno
import logging
from pathlib import Path

import logs
import pytest

from matchengine.storage import log_end
from matchengine.storage.contracts import CorruptionError, StorageError
from matchengine.storage.log_end import LogEnd
from matchengine.storage.simulated import SimulatedFileSystem

PATH = Path("/data/log-end")
LOG = Path("/data/log")
SLOT = 4096


class Forgetful:
    """A loss of power that takes everything that was not synced."""

    def random(self):
        return 1.0

    def choice(self, seq):
        return seq[-1]


@pytest.fixture
def end(simulated):
    simulated.mkdir(PATH.parent)
    simulated.fsync_dir(Path("/"))
    end = LogEnd(simulated, PATH)
    end.settle(5, 2)
    return end


def loaded(fs):
    end = LogEnd(fs, PATH)
    end.load()
    return end.index, end.term


def open_log(fs):
    return logs.open_log(LOG, segment_bytes=4096, fs=fs, covered=0)


def durable(fs):
    """The record that is left when the power goes now."""
    fs.lose_power(Forgetful())
    return loaded(fs)[0]


def append(log, make_entries, count=1, size=10):
    log.append(make_entries(log.last_index + 1, log.last_index + count, size=size))
    log.sync()


# --- the file -----------------------------------------------------------------------------


def test_what_is_noted_is_read_and_the_newest_counts(end, simulated):
    assert loaded(simulated) == (5, 2)
    for index in range(6, 10):
        end.note(index, 3)
        assert loaded(simulated) == (index, 3)
    end.settle(4, 2)
    assert loaded(simulated) == (4, 2)


def test_a_record_that_moved_back_has_nothing_beside_it(end, simulated):
    for index in range(6, 10):
        end.note(index, 3)
    end.settle(4, 2)
    for start in (0, SLOT):
        simulated.rot(PATH, start + 9, 1)
        assert loaded(simulated) == (4, 2)
        simulated.rot(PATH, start + 9, 1)


@pytest.mark.parametrize(("start", "left"), [(0, 6), (SLOT, 7)])
def test_no_bit_of_a_record_can_flip_unnoticed(end, simulated, start, left, caplog):
    """The other slot counts then."""
    end.note(6, 2)
    end.note(7, 2)
    for offset in range(32):
        for bit in range(8):
            simulated.rot(PATH, start + offset, bit)
            assert loaded(simulated)[0] == left
            simulated.rot(PATH, start + offset, bit)
    assert "one of the two records of the log's end is damaged" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_file_without_a_good_record_is_refused(end, simulated):
    whole = simulated.peek(PATH)
    for data in (b"", whole[:SLOT], whole[:-1], whole + b"\0", bytes(len(whole))):
        simulated.poke(PATH, data)
        with pytest.raises(CorruptionError, match=r"/data/log-end.*under a new id"):
            loaded(simulated)
    simulated.unlink(PATH)
    with pytest.raises(CorruptionError, match=r"the record of the log's end is gone; .*under a new id"):
        loaded(simulated)


def test_a_torn_sector_leaves_one_record(end, simulated):
    for index in range(6, 12):
        end.note(index, 3)
        for start in (0, SLOT):
            torn = bytearray(simulated.peek(PATH))
            torn[start + 16 : start + 512] = bytes(496)
            fs = SimulatedFileSystem()
            fs.mkdir(PATH.parent)
            fs.close(fs.create(PATH))
            fs.poke(PATH, bytes(torn))
            assert loaded(fs)[0] in (index - 1, index)


# --- when it is written, and when it is durable -------------------------------------------


def test_a_frame_costs_one_write_and_no_sync_more(simulated, make_entries):
    log = open_log(simulated)
    append(log, make_entries)
    calls = []
    simulated.fault = lambda operation, path: calls.append((operation, path.name))
    append(log, make_entries)
    assert calls == [("pwrite", f"{1:020d}.log"), ("fdatasync", f"{1:020d}.log"), ("pwrite", "log-end")]


def test_the_end_of_a_process_takes_no_record(simulated, make_entries):
    log = open_log(simulated)
    for _ in range(20):
        append(log, make_entries)
        assert loaded(simulated) == (log.last_index, 1)


def test_it_is_synced_now_and_then(simulated, make_entries, monkeypatch):
    monkeypatch.setattr(log_end, "SYNC_EVERY", 8)
    log = open_log(simulated)
    for _ in range(19):
        append(log, make_entries)
    assert durable(simulated) == 16


def test_it_is_synced_when_a_segment_begins(simulated, make_entries):
    log = open_log(simulated)
    while len(log._segments) < 3:
        append(log, make_entries, size=900)
    assert durable(simulated) == log._segments[-1].first - 1


def test_it_is_synced_when_segments_go(simulated, make_entries):
    log = open_log(simulated)
    for _ in range(10):
        append(log, make_entries, size=900)
    log.compact_to(7)
    assert durable(simulated) == 10


def test_it_is_synced_when_the_log_is_closed(simulated, make_entries):
    log = open_log(simulated)
    for _ in range(3):
        append(log, make_entries)
    log.close()
    assert durable(simulated) == 3


def test_it_is_synced_by_the_next_start(simulated, make_entries):
    log = open_log(simulated)
    for _ in range(3):
        append(log, make_entries)
    simulated.end_process()
    open_log(simulated)
    assert durable(simulated) == 3


def test_it_is_moved_back_durably_before_entries_go(simulated, make_entries):
    log = open_log(simulated)
    for _ in range(5):
        append(log, make_entries)
    calls = []
    simulated.fault = lambda operation, path: calls.append((operation, path.name))
    log.truncate_from(3)
    assert calls[:3] == [("pwrite", "log-end"), ("pwrite", "log-end"), ("fdatasync", "log-end")]
    assert durable(simulated) == 2


def test_a_record_whose_sync_failed_is_written_again_by_the_next_start(simulated, make_entries):
    log = open_log(simulated)
    append(log, make_entries)

    def fail(operation, path):
        if (operation, path) == ("fdatasync", PATH):
            simulated.strand(path)
            raise OSError(errno.EIO, "Input/output error")

    simulated.fault = fail
    log.close()
    simulated.fault = lambda *_: None
    simulated.end_process()
    open_log(simulated)
    assert durable(simulated) == 1


def test_a_close_on_a_failing_disk_warns_and_frees_the_files(simulated, make_entries, caplog):
    log = open_log(simulated)
    append(log, make_entries)

    def fail(operation, path):
        if (operation, path) == ("fdatasync", PATH):
            raise OSError(errno.EIO, "Input/output error")

    simulated.fault = fail
    log.close()
    assert "writing /data/log-end: [Errno 5] Input/output error" in caplog.text
    assert not simulated._handles


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_record_that_cannot_be_written_is_final(simulated, make_entries, operation):
    log = open_log(simulated)
    append(log, make_entries)

    def fail(called, path):
        if (called, path) == (operation, PATH):
            raise OSError(errno.EIO, "Input/output error")

    simulated.fault = fail
    with pytest.raises(StorageError, match="Input/output error"):
        log.truncate_from(1)
    with pytest.raises(StorageError, match="out of use"):
        log.sync()
    simulated.fault = lambda *_: None
    assert open_log(simulated).last_index == 1
