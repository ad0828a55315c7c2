"""The flash format: what is read, what is refused and how, and the report lines."""

import hashlib
import json
import lzma

import pytest

from matchengine.cli.main import main
from matchengine.replay.errors import InputError
from matchengine.replay.flash import HEADER, MAGIC, RECORD, VERSION, judge_flash, load_flash, report_lines
from matchengine.replay.plan import make_plan
from matchengine.replay.run import run_in_process

NEW, CANCEL, MODIFY = 0, 1, 2


def stream(records, *, magic=MAGIC, version=VERSION, count=None):
    """The bytes of a recording of (type, side, ioc, qty, id, price); seq is the position."""
    body = b"".join(
        RECORD.pack(kind, side, ioc, 0, qty, seq, order_id, price, 0)
        for seq, (kind, side, ioc, qty, order_id, price) in enumerate(records)
    )
    return HEADER.pack(magic, version, len(records) if count is None else count) + body


def lines(path, batch=3):
    recording = load_flash(path)
    outcome = run_in_process(recording.workload, make_plan(recording.workload, batch, (), 32))
    return list(report_lines(recording, outcome.answers))


@pytest.fixture
def recording(tmp_path):
    def write(records, **header):
        path = tmp_path / "some.bin"
        path.write_bytes(stream(records, **header))
        return path

    return write


def test_every_kind_of_line(recording):
    path = recording(
        [
            (NEW, 0, 0, 10, 1, 100),
            (NEW, 1, 0, 4, 2, 100),
            (MODIFY, 0, 0, 8, 1, 99),
            (CANCEL, 1, 0, 0, 1, 7),
            (CANCEL, 0, 0, 0, 1, 0),
            (MODIFY, 0, 0, 5, 1, 99),
            (NEW, 1, 1, 5, 3, 98),
        ]
    )
    assert lines(path) == [
        "0,0,0,1,100,10",
        "0,1,1,2,100,4",
        "1,1,100,4,1,2",
        "3,2,0,1,99,8",
        "2,3,0,1,99",
        "4,4,1",
        "5,5,1",
        "0,6,1,3,98,5",
        "2,6,1,3,98",
    ]


def test_a_modify_that_trades_reports_its_trades_first(recording):
    path = recording([(NEW, 1, 0, 3, 1, 100), (NEW, 1, 0, 3, 2, 100), (NEW, 0, 0, 9, 3, 90), (MODIFY, 0, 0, 9, 3, 100)])
    assert lines(path)[3:] == ["1,3,100,3,1,3", "1,3,100,3,2,3", "3,3,0,3,100,9"]


def test_id_zero_is_an_id(recording):
    assert lines(recording([(NEW, 0, 0, 1, 0, 5), (CANCEL, 0, 0, 0, 0, 0)])) == ["0,0,0,0,5,1", "2,1,0,0,5"]


def test_the_largest_id_is_never_resting(recording):
    largest = 2**64 - 1
    path = recording([(NEW, 0, 0, 1, largest - 1, 5), (CANCEL, 0, 0, 0, largest, 0), (MODIFY, 0, 0, 2, largest, 6)])
    assert lines(path) == [f"0,0,0,{largest - 1},5,1", f"4,1,{largest}", f"5,2,{largest}"]


def test_what_a_cancel_does_not_need_may_be_anything(recording):
    path = recording([(NEW, 1, 0, 1, 1, 2**63 - 1), (CANCEL, 0, 1, 2**32 - 1, 1, -(2**63))])
    assert lines(path) == [f"0,0,1,1,{2**63 - 1},1", f"2,1,1,1,{2**63 - 1}"]


def test_the_digest_has_no_final_newline(recording, tmp_path):
    path = recording([(NEW, 0, 0, 1, 1, 5), (CANCEL, 0, 0, 0, 1, 0)])
    loaded = load_flash(path)
    outcome = run_in_process(loaded.workload, make_plan(loaded.workload, 1, (), 32))
    judged = judge_flash(loaded, outcome.answers, None)
    assert judged.sha256 == hashlib.sha256(b"0,0,0,1,5,1\n2,1,0,1,5").hexdigest()
    assert judged.trades == 0


def test_an_empty_stream(recording, capsys):
    path = recording([])
    assert main(["replay", str(path), "--format", "flash", "--nodes", "0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["messages"], result["reports_sha256"]) == (0, hashlib.sha256(b"").hexdigest())


def test_a_compressed_file_is_the_same(recording, tmp_path):
    path = recording([(NEW, 0, 0, 1, 1, 5)])
    packed = tmp_path / "some.bin.xz"
    packed.write_bytes(lzma.compress(path.read_bytes()))
    assert load_flash(packed) == load_flash(path)


def test_the_edge_cases(shared_data, tmp_path):
    cases = json.loads((shared_data / "flash" / "edge_cases.json").read_text())["cases"]
    assert len(cases) >= 34
    for name, case in cases.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(stream(case["in"]))
        in_order = sorted(case["expected"], key=lambda line: (int(line.split(",")[1]), int(line[0])))
        assert lines(path) == in_order, name


SMALL = {
    "normal-20000-seed1": "aca87a70eebd11caa0ff5d045535f2f8f6469f118e8bd9f192f374ec697d7854",
    "swing-25-50000-seed2": "3439edf5617aeeb9362648a0dc08eb9f48a9521be44c84c36eda85c8dd22674c",
    "flash-crash-50000-seed3": "3f4c9edb931871493c1bebbc45048acd1813c3885a2eb451522933dfab842afb",
}


@pytest.mark.parametrize("name", SMALL)
def test_the_small_files_in_process(shared_data, capsys, name):
    path = shared_data / "flash" / f"{name}.bin.xz"
    arguments = ["replay", str(path), "--format", "flash", "--nodes", "0", "--expect-sha256", SMALL[name], "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["reports_sha256"] == SMALL[name]
    assert result["trades"] > 0
    assert (result["trade_differences"], result["book_differences"]) == (None, None)


# --- refusals --------------------------------------------------------------------------------

GOOD = (NEW, 0, 0, 1, 1, 5)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ((3, 0, 0, 1, 1, 5), "offset 56: type 3 is none of 0"),
        ((NEW, 2, 0, 1, 1, 5), "offset 56: side 2 is neither"),
        ((NEW, 0, 2, 1, 1, 5), "offset 56: ioc 2 is neither"),
        ((NEW, 0, 0, 0, 1, 5), "offset 56: qty 0 is not above 0"),
        ((MODIFY, 0, 0, 0, 1, 5), "offset 56: qty 0 is not above 0"),
        ((NEW, 0, 0, 1, 1, 0), "offset 56: price 0 is not above 0"),
        ((NEW, 0, 0, 1, 1, -3), "offset 56: price -3 is not above 0"),
        ((NEW, 0, 0, 1, 2**64 - 1, 5), "offset 56: order id 18446744073709551615 of a new order is not below"),
    ],
)
def test_a_record_that_breaks_a_rule_is_named(recording, record, words):
    with pytest.raises(InputError) as caught:
        load_flash(recording([GOOD, record]))
    assert words in str(caught.value)
    assert "some.bin" in str(caught.value)


def test_sequences_must_rise(tmp_path):
    path = tmp_path / "some.bin"
    record = RECORD.pack(NEW, 0, 0, 0, 1, 4, 1, 5, 0)
    path.write_bytes(HEADER.pack(MAGIC, VERSION, 2) + record * 2)
    with pytest.raises(InputError, match="offset 56: seq 4 is not above 4"):
        load_flash(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes are fewer than the header"),
        (stream([GOOD], magic=7), "offset 0: magic"),
        (stream([GOOD], version=2), "offset 8: version 2 is not 1"),
        (stream([GOOD], count=2), "offset 12: count 2 asks for 96 bytes; the file holds 56"),
        (stream([GOOD], count=2**32 - 1), "offset 12: count 4294967295 asks for"),
        (stream([GOOD]) + b"x", "offset 12: count 1 asks for 56 bytes; the file holds 57"),
    ],
)
def test_a_header_that_breaks_a_rule_is_named(tmp_path, content, words):
    path = tmp_path / "some.bin"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_flash(path)
    assert words in str(caught.value)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = tmp_path / "some.bin.xz"
    path.write_bytes(lzma.compress(stream([GOOD] * 1))[:-9])
    trailing = tmp_path / "trailing.bin.xz"
    trailing.write_bytes(lzma.compress(stream([GOOD])) + b"more")
    plain = tmp_path / "plain.bin.xz"
    plain.write_bytes(stream([GOOD]))
    for name in (path, trailing, plain, tmp_path / "missing.bin", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_flash(name)


def test_a_rejected_new_order_has_no_line(recording, capsys):
    path = recording([GOOD, GOOD])
    assert main(["replay", str(path), "--format", "flash", "--nodes", "0"]) == 2
    assert "seq 1: rejected (DUPLICATE_CL_ORD_ID)" in capsys.readouterr().err
