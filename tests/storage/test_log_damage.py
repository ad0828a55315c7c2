"""Damage to the log's files: a torn tail is cut off, anything else stops the node."""

import logging

import pytest
from logs import open_log

from matchengine.raft.types import Entry
from matchengine.storage.contracts import CorruptionError

SEGMENT_BYTES = 8192


@pytest.fixture
def reopen(tmp_path):
    logs = []

    def reopen():
        while logs:
            logs.pop().close()
        logs.append(open_log(tmp_path, segment_bytes=SEGMENT_BYTES, new_salt=lambda: 77))
        return logs[-1]

    yield reopen
    while logs:
        logs.pop().close()


def fill(log, make_entries, *, frames=3, per_frame=3, size=300):
    """Write frames; returns the offsets at which they start, and the end."""
    offsets = []
    for number in range(frames):
        log.append(make_entries(log.last_index + 1, log.last_index + per_frame, term=number + 1, size=size))
        offsets.append(log._segments[-1].end)
        log.sync()
    return [*offsets, log._segments[-1].end]


def only_file(tmp_path):
    (path,) = tmp_path.glob("*.log")
    return path


def change(path, offset, new):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(new)] = new
    path.write_bytes(data)


def everything(log):
    return list(log.read(log.first_index, log.last_index))


def test_a_tail_torn_at_any_byte_is_cut_off(reopen, tmp_path, make_entries, caplog):
    *_, start, end = fill(reopen(), make_entries)
    whole = only_file(tmp_path).read_bytes()
    for torn in range(start + 1, end):
        only_file(tmp_path).write_bytes(whole[:torn].ljust(SEGMENT_BYTES, b"\0"))
        caplog.clear()
        log = reopen()
        assert log.last_index == 6, torn
        assert f"offset {start}: cut off" in caplog.text
        assert caplog.records[0].levelno == logging.WARNING
        assert only_file(tmp_path).read_bytes() == whole[:start].ljust(SEGMENT_BYTES, b"\0")


def test_a_file_that_ends_inside_the_last_frame_is_cut_too(reopen, tmp_path, make_entries):
    *_, start, end = fill(reopen(), make_entries)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for torn in range(start + 1, end, 7):
        path.write_bytes(whole[:torn])
        log = reopen()
        assert log.last_index == 6
        log.append(make_entries(7, 7))
        log.sync()
        assert everything(reopen())[-1] == make_entries(7, 7)[0]
        log.reset(1)


def test_a_last_frame_with_any_sectors_missing_is_cut_off(reopen, tmp_path, make_entries):
    *_, start, end = fill(reopen(), make_entries, size=500)
    whole = only_file(tmp_path).read_bytes()
    sectors = range(start // 512, -(-end // 512))
    for missing in range(1, 2 ** len(sectors)):
        data = bytearray(whole)
        for number, sector in enumerate(sectors):
            if missing >> number & 1:
                low, high = max(start, sector * 512), min(end, sector * 512 + 512)
                data[low:high] = bytes(high - low)
        only_file(tmp_path).write_bytes(data)
        assert reopen().last_index == 6, missing


@pytest.mark.parametrize("start", [488, 496, 504])
def test_a_header_that_lies_in_two_sectors_may_miss_either(reopen, tmp_path, make_entries, start):
    log = reopen()
    log.append(make_entries(1, 1, size=start - 104))
    log.sync()
    assert log._segments[-1].end == start
    log.append(make_entries(2, 2, size=900))
    log.sync()
    path = only_file(tmp_path)
    whole = path.read_bytes()
    change(path, start, bytes(512 - start))
    assert reopen().last_index == 1
    path.write_bytes(whole)
    change(path, 512, bytes(512))
    assert reopen().last_index == 1


def test_after_a_cut_the_log_goes_on(reopen, tmp_path, make_entries):
    end = fill(reopen(), make_entries)[-1]
    change(only_file(tmp_path), end - 8, bytes(8))
    log = reopen()
    before = everything(log)
    fill(log, make_entries, frames=2, size=1000)
    assert everything(reopen())[:6] == before
    assert reopen().last_index == 12


def test_no_bit_of_a_frame_can_flip_unnoticed(reopen, tmp_path, make_entries):
    offsets = fill(reopen(), make_entries, frames=2, per_frame=2, size=40)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for offset in range(offsets[0], offsets[-1]):
        for bit in (0, 7):
            change(path, offset, bytes([whole[offset] ^ 1 << bit]))
            frame = offsets[0] if offset < offsets[1] else offsets[1]
            with pytest.raises(CorruptionError, match=f"{path.name}, offset {frame}: bytes changed after"):
                reopen()
            change(path, offset, whole[offset : offset + 1])


@pytest.mark.parametrize("size", [600, 1700, 4000])
def test_payload_of_zeros_hides_no_changed_byte(reopen, tmp_path, make_entries, size):
    """Whole sectors of the last frame are zero by themselves: no holes that a crash left."""
    log = reopen()
    log.append(make_entries(1, 2))
    log.sync()
    start = log._segments[-1].end
    log.append([Entry(3, 1, data=b"x" * 40 + bytes(size) + b"y" * 700)])
    log.sync()
    end = log._segments[-1].end
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for offset in range(start, end, 9):
        change(path, offset, bytes([whole[offset] ^ 4]))
        with pytest.raises(CorruptionError, match=f"offset {start}: bytes changed after"):
            reopen()
        change(path, offset, whole[offset : offset + 1])
    assert reopen().last_index == 3


def test_a_frame_with_sectors_of_zeros_and_others_missing_is_cut_off(reopen, tmp_path, make_entries):
    log = reopen()
    log.append(make_entries(1, 1, size=300))
    log.sync()
    start = log._segments[-1].end
    log.append([Entry(2, 1, data=b"x" * 600 + bytes(1200) + b"y" * 600)])
    log.sync()
    path, end = only_file(tmp_path), log._segments[-1].end
    whole = path.read_bytes()
    sectors = range(start // 512, -(-end // 512))
    some_are_lost = 0
    for missing in range(1, 2 ** len(sectors)):
        data = bytearray(whole)
        for number, sector in enumerate(sectors):
            if missing >> number & 1:
                low, high = max(start, sector * 512), min(end, sector * 512 + 512)
                data[low:high] = bytes(high - low)
        path.write_bytes(data)
        some_are_lost += data != whole
        assert reopen().last_index == (1 if data != whole else 2), missing
    assert 0 < some_are_lost < 2 ** len(sectors) - 1


def test_a_damaged_segment_header_stops_the_node(reopen, tmp_path, make_entries):
    fill(reopen(), make_entries)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for offset in range(28):
        change(path, offset, bytes([whole[offset] ^ 16]))
        with pytest.raises(CorruptionError, match="offset 0: the segment's header is damaged; do not delete"):
            reopen()
        change(path, offset, whole[offset : offset + 1])
    path.write_bytes(b"")
    with pytest.raises(CorruptionError, match="shorter than its header"):
        reopen()


def test_an_unknown_format_version_is_named(reopen, tmp_path, make_entries, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("matchengine.storage.frames.FORMAT_VERSION", 9)
        fill(reopen(), make_entries)
    with pytest.raises(CorruptionError, match="format version 9, this program reads 1 to 2"):
        reopen()


@pytest.mark.parametrize("frame", [0, 1])
def test_a_missing_frame_before_an_intact_one_stops_the_node(reopen, tmp_path, make_entries, frame):
    offsets = fill(reopen(), make_entries)
    change(only_file(tmp_path), offsets[frame], bytes(offsets[frame + 1] - offsets[frame]))
    with pytest.raises(CorruptionError, match=f"offset {offsets[frame]}: .* after entry {frame * 3};"):
        reopen()


def test_a_torn_frame_before_an_intact_one_stops_the_node(reopen, tmp_path, make_entries):
    offsets = fill(reopen(), make_entries)
    change(only_file(tmp_path), offsets[2] - 600, bytes(600))
    with pytest.raises(CorruptionError, match=f"offset {offsets[1]}: "):
        reopen()


def test_a_torn_frame_in_a_segment_that_is_not_the_last_stops_the_node(reopen, tmp_path, make_entries):
    fill(reopen(), make_entries, frames=8, per_frame=5, size=400)
    first = min(tmp_path.glob("*.log"))
    data = first.read_bytes().rstrip(b"\0")
    torn = data[:-3].ljust(SEGMENT_BYTES, b"\0")
    first.write_bytes(torn)
    with pytest.raises(CorruptionError, match=first.name):
        reopen()
    assert first.read_bytes() == torn


def test_an_intact_frame_in_the_wrong_place_stops_the_node(reopen, tmp_path, make_entries):
    offsets = fill(reopen(), make_entries)
    path = only_file(tmp_path)
    change(path, offsets[-1], path.read_bytes()[offsets[1] : offsets[2]])
    with pytest.raises(CorruptionError, match=f"offset {offsets[-1]}: entry 4 follows entry 9"):
        reopen()


@pytest.mark.parametrize("keep", [False, True])
def test_a_missing_segment_stops_the_node(reopen, tmp_path, make_entries, keep):
    fill(reopen(), make_entries, frames=9, per_frame=5, size=400)
    before, missing, behind, *_ = sorted(tmp_path.glob("*.log"))
    if keep:
        missing.write_bytes(missing.read_bytes()[:32].ljust(SEGMENT_BYTES, b"\0"))
        before = missing
    else:
        missing.unlink()
    with pytest.raises(CorruptionError, match=f"{before.name}, offset .*{behind.name} begins with entry"):
        reopen()


def test_a_segment_under_another_name_stops_the_node(reopen, tmp_path, make_entries):
    fill(reopen(), make_entries)
    only_file(tmp_path).rename(tmp_path / f"{5:020d}.log")
    with pytest.raises(CorruptionError, match="the segment inside begins with entry 1"):
        reopen()


def test_a_payload_that_looks_like_a_frame_does_not_pass_for_one(reopen, tmp_path, make_entries):
    """A client may know the format but not the salt: its bytes must not turn a torn tail into corruption."""
    log = reopen()
    offsets = fill(log, make_entries)
    forged = only_file(tmp_path).read_bytes()[offsets[0] : offsets[1]]
    other = open_log(tmp_path / "other", segment_bytes=SEGMENT_BYTES, new_salt=lambda: 78)
    other.append([Entry(1, 1, data=bytes(-8 % 512) + forged + b"x" * 100)])
    other.sync()
    path = only_file(tmp_path / "other")
    end = other._segments[-1].end
    other.close()
    change(path, end - 8, bytes(8))
    other = open_log(tmp_path / "other", segment_bytes=SEGMENT_BYTES)
    assert other.last_index == 0
    other.close()


def test_damage_that_appears_while_the_log_is_open_is_found_by_reading(reopen, tmp_path, make_entries):
    log = reopen()
    offsets = fill(log, make_entries)
    change(only_file(tmp_path), offsets[1] + 100, b"\xff\xfe")
    assert len(list(log.read(1, 3))) == 3
    with pytest.raises(CorruptionError, match=f"offset {offsets[1]}: the frame was intact before"):
        list(log.read(1, 4))


def test_unfinished_segments_are_removed(reopen, tmp_path):
    reopen()
    (tmp_path / "00000000000000000009.log.tmp").write_bytes(b"half a segment")
    reopen()
    assert len(list(tmp_path.iterdir())) == 1
