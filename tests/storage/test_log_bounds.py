"""The log's files stay bounded whatever the order of appends, truncations, compactions and resets."""

import pytest
from logs import open_log

SEGMENT_BYTES = 4096


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path, segment_bytes=SEGMENT_BYTES)
    yield log
    log.close()


def used(tmp_path):
    return sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())


def test_compaction_bounds_the_files(log, tmp_path, make_entries):
    for index in range(1, 300):
        log.append(make_entries(index, index, size=500))
        log.sync()
        log.compact_to(index - 20)
        assert log.first_index <= max(1, index - 19)
        assert used(tmp_path) <= 5 * SEGMENT_BYTES
    assert log.last_index == 299


def test_truncating_again_and_again_takes_no_space(log, tmp_path, make_entries):
    for term in range(1, 100):
        for index in range(log.last_index + 1, 21):
            log.append(make_entries(index, index, term=term, size=500))
            log.sync()
        assert used(tmp_path) <= 4 * SEGMENT_BYTES
        log.truncate_from(2 + term % 5)
        assert used(tmp_path) <= SEGMENT_BYTES


def test_resetting_again_and_again_takes_no_space(log, tmp_path, make_entries):
    for index in range(1, 200, 20):
        log.reset(index)
        log.append(make_entries(index, index + 30, size=500))
        log.sync()
        assert used(tmp_path) <= 6 * SEGMENT_BYTES


def test_an_entry_larger_than_a_segment_gets_a_file_of_its_size(log, tmp_path, make_entries):
    entries = make_entries(1, 3, size=60 * 1024)
    for entry in entries:
        log.append([entry])
        log.sync()
    log.append(make_entries(4, 4))
    log.sync()
    assert list(log.read(1, 4)) == entries + make_entries(4, 4)
    assert used(tmp_path) <= 3 * (64 * 1024 + SEGMENT_BYTES)


def test_a_huge_batch_becomes_several_frames(log, make_entries, monkeypatch):
    monkeypatch.setattr(log, "_frame_bytes", 1000)
    entries = make_entries(1, 40, size=300)
    log.append(entries)
    log.sync()
    assert list(log.read(1, 40)) == entries
    assert len(log.sync_ns) == 14


def test_files_are_for_their_owner_alone(log, tmp_path):
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
