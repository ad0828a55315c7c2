"""A disk that fails: the log stops for good and never acknowledges what it does not know to be durable."""

import errno
import os
from pathlib import Path

import logs
import pytest

from matchengine.storage.contracts import StorageError

DIRECTORY = Path("/data/log")
SEGMENT_BYTES = 4096


def fail(operation, code):
    """A fault for the first call of ``operation`` only: whoever tries again would succeed."""
    armed = [True]

    def fault(called, path):
        if called == operation and armed:
            armed.clear()
            raise OSError(code, os.strerror(code), str(path))

    return fault


def open_log(fs):
    return logs.open_log(DIRECTORY, segment_bytes=SEGMENT_BYTES, fs=fs)


@pytest.fixture
def log(simulated, make_entries):
    log = open_log(simulated)
    for start in range(1, 30, 3):
        log.append(make_entries(start, start + 2, size=300))
        log.sync()
    return log


def assert_stopped(log, make_entries):
    for call in (
        log.sync,
        lambda: log.truncate_from(2),
        lambda: log.compact_to(2),
        lambda: log.reset(1),
        lambda: list(log.read(log.first_index, log.last_index)),
    ):
        with pytest.raises(StorageError, match="out of use since an earlier failure"):
            call()
    log.close()


@pytest.mark.parametrize(
    ("operation", "code", "advice"),
    [
        ("pwrite", errno.EIO, "check the disk"),
        ("pwrite", errno.ENOSPC, "free disk space"),
        ("fdatasync", errno.EIO, "check the disk"),
        ("fdatasync", errno.ENOSPC, "free disk space"),
    ],
)
def test_a_failed_write_or_sync_is_final(simulated, log, make_entries, operation, code, advice):
    simulated.fault = fail(operation, code)
    log.append(make_entries(31, 31))
    with pytest.raises(StorageError, match=f"writing the log in {DIRECTORY}.*{DIRECTORY}.*{advice}"):
        log.sync()
    assert_stopped(log, make_entries)


@pytest.mark.parametrize("operation", ["create", "fallocate", "pwrite", "fsync", "rename", "fsync_dir"])
def test_a_segment_that_cannot_be_made_is_final(simulated, log, make_entries, operation):
    simulated.fault = fail(operation, errno.ENOSPC)
    log.append(make_entries(31, 40, size=390))
    with pytest.raises(StorageError, match="free disk space"):
        log.sync()
    assert_stopped(log, make_entries)
    assert list(open_log(simulated).read(1, 30)) == [
        e for s in range(1, 30, 3) for e in make_entries(s, s + 2, size=300)
    ]


def test_a_short_write_is_final(simulated, log, make_entries):
    simulated.longest_write = 100
    log.append(make_entries(31, 31, size=300))
    with pytest.raises(StorageError, match="short write of 100 instead of"):
        log.sync()
    simulated.longest_write = None
    assert_stopped(log, make_entries)


@pytest.mark.parametrize("operation", ["unlink", "create", "fallocate", "pwrite", "fsync", "rename", "fsync_dir"])
def test_a_failed_truncation_is_final(simulated, log, make_entries, operation):
    simulated.fault = fail(operation, errno.EIO)
    with pytest.raises(StorageError, match="truncating the log"):
        log.truncate_from(5)
    assert_stopped(log, make_entries)


@pytest.mark.parametrize("operation", ["unlink", "fsync_dir"])
def test_a_failed_compaction_is_final(simulated, log, make_entries, operation):
    simulated.fault = fail(operation, errno.EIO)
    with pytest.raises(StorageError, match="compacting the log"):
        log.compact_to(25)
    assert_stopped(log, make_entries)


def test_a_failed_opening_names_the_directory(simulated):
    simulated.fault = fail("fallocate", errno.ENOSPC)
    with pytest.raises(StorageError, match=f"opening the log in {DIRECTORY}.*free disk space"):
        open_log(simulated)


def test_one_sync_of_the_data_per_sync_of_the_log(simulated, log, make_entries):
    calls = []
    simulated.fault = lambda operation, _path: calls.append(operation)
    log.append(make_entries(31, 31))
    log.append(make_entries(32, 33))
    log.sync()
    log.sync()
    assert calls.count("fdatasync") == 1
    assert "fsync" not in calls
    assert len(log.sync_ns) == 11
