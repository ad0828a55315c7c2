"""The record of term and vote: whole or refused, never a default in place of what is there."""

import errno
import random
from itertools import count
from pathlib import Path

import pytest

from matchengine.raft.types import HardState
from matchengine.storage.contracts import CorruptionError, StorageError
from matchengine.storage.files import Fuse, OsFileSystem, make_directory
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem
from matchengine.storage.stable import StableFile

STATE = HardState(7, "node-b")
PATH = Path("/data/stable")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "stable"
    StableFile(OsFileSystem(), path, Fuse()).save(STATE)
    return path


def load(path):
    return StableFile(OsFileSystem(), path, Fuse()).load()


def test_no_bit_can_flip_unnoticed(path):
    whole = path.read_bytes()
    for offset in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1 << bit]) + whole[offset + 1 :])
            with pytest.raises(CorruptionError, match=f"{path}, offset 0: .* could vote twice"):
                load(path)


def test_a_shorter_or_longer_record_is_refused(path):
    whole = path.read_bytes()
    for data in (*(whole[:size] for size in range(len(whole))), whole + b"\0", whole * 5000):
        path.write_bytes(data)
        with pytest.raises(CorruptionError):
            load(path)


def test_an_unknown_format_version_is_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("matchengine.storage.stable.FORMAT_VERSION", 2)
        StableFile(OsFileSystem(), path, Fuse()).save(STATE)
    with pytest.raises(CorruptionError, match="the record has format version 2, this program reads 1"):
        load(path)


def test_the_file_is_for_its_owner_alone(path):
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("operation", ["create", "pwrite", "fsync", "rename", "fsync_dir"])
def test_a_failed_save_is_final(simulated, operation):
    stable = StableFile(simulated, PATH, Fuse())
    stable.save(STATE)

    def fault(called, _path):
        if called == operation:
            raise OSError(errno.EIO, "Input/output error")

    simulated.fault = fault
    with pytest.raises(StorageError, match=f"writing {PATH}"):
        stable.save(HardState(8))
    simulated.fault = lambda *_: None
    for call in (stable.load, lambda: stable.save(HardState(8))):
        with pytest.raises(StorageError, match="out of use"):
            call()


def test_power_lost_at_every_call_leaves_the_old_record_or_the_new_one():
    for call in count():
        finished = [lose_power_in_save(call, seed) for seed in range(20)]
        if finished[0]:
            return


def lose_power_in_save(call, seed):
    fs = SimulatedFileSystem()
    make_directory(fs, PATH.parent)
    StableFile(fs, PATH, Fuse()).save(STATE)
    calls = count()

    def fault(_operation, _path):
        if next(calls) == call:
            raise PowerLoss

    fs.fault = fault
    allowed = {STATE, HardState(8, "me")}
    try:
        StableFile(fs, PATH, Fuse()).save(HardState(8, "me"))
        allowed.remove(STATE)
    except PowerLoss:
        pass
    fs.fault = lambda *_: None
    fs.lose_power(random.Random(seed))
    assert StableFile(fs, PATH, Fuse()).load() in allowed
    return STATE not in allowed
