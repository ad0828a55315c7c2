"""What ``matchengine replay`` accepts, and the object that it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from matchengine.cli.main import main
from matchengine.exchange.layout import MAX_COMMANDS
from matchengine.replay.flash import HEADER, MAGIC, RECORD, VERSION

KEYS = [
    "format",
    "nodes",
    "batch",
    "messages",
    "trades",
    "reports_sha256",
    "trade_differences",
    "book_differences",
    "state_hashes",
    "seconds",
    "messages_per_second",
    "failover_ms",
    "in_flight_at_kill",
    "engine",
    "leader_engines",
    "fsync",
    "fsync_us",
]


@pytest.fixture
def path(tmp_path):
    records = [RECORD.pack(0, 0, 0, 0, 1, seq, seq, 5, 0) for seq in range(3)]
    file = tmp_path / "some.bin"
    file.write_bytes(HEADER.pack(MAGIC, VERSION, len(records)) + b"".join(records))
    return str(file)


def test_the_last_line_is_one_object(path, capsys):
    assert main(["replay", path, "--format", "flash", "--nodes", "0", "--json", "--batch", "2"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result) == KEYS
    assert (result["format"], result["nodes"], result["batch"], result["messages"]) == ("flash", 0, 2, 3)
    assert (result["failover_ms"], result["in_flight_at_kill"]) == ([], [])
    assert (result["fsync"], result["fsync_us"]) == (False, None)
    assert len(result["state_hashes"]) == 1
    assert all(len(digest) == 64 and digest == digest.lower() for digest in result["state_hashes"])
    assert result["seconds"] > 0
    assert result["messages_per_second"] > 0


def test_without_json_people_read_it(path, capsys):
    assert main(["replay", path, "--format", "flash", "--nodes", "0"]) == 0
    assert "3 messages, 0 trades" in capsys.readouterr().out


def test_the_batch_size_does_not_change_the_outcome(path, capsys):
    results = []
    for batch in ("1", "2", str(MAX_COMMANDS)):
        assert main(["replay", path, "--format", "flash", "--nodes", "0", "--json", "--batch", batch]) == 0
        results.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert len({(r["reports_sha256"], *r["state_hashes"]) for r in results}) == 1


def test_another_digest_is_a_difference(path, capsys):
    assert main(["replay", path, "--format", "flash", "--nodes", "0", "--expect-sha256", "0" * 64]) == 1
    assert "not 000" in capsys.readouterr().err


def test_the_digest_may_be_in_capitals(path, capsys):
    main(["replay", path, "--format", "flash", "--nodes", "0", "--json"])
    digest = json.loads(capsys.readouterr().out.splitlines()[-1])["reports_sha256"]
    assert main(["replay", path, "--format", "flash", "--nodes", "0", "--expect-sha256", digest.upper()]) == 0


def test_the_report_stream_can_be_written(path, capsys, tmp_path):
    target = tmp_path / "reports.txt"
    assert main(["replay", path, "--format", "flash", "--nodes", "0", "--reports", str(target)]) == 0
    assert target.read_text() == "0,0,0,0,5,1\n0,1,0,1,5,1\n0,2,0,2,5,1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "2"], "--nodes 2: a replay runs on 1 node or 3, or without a cluster (0)"),
        (["--nodes", "-1"], "--nodes -1"),
        (["--nodes", "0", "--batch", "0"], "--batch 0 is not from 1 to"),
        (["--nodes", "0", "--batch", str(MAX_COMMANDS + 1)], f"is not from 1 to {MAX_COMMANDS}"),
        (["--nodes", "0", "--kill-leader-at", "0.5"], "--kill-leader-at needs --nodes 3"),
        (["--nodes", "1", "--kill-leader-at", "0.5"], "--kill-leader-at needs --nodes 3"),
        (["--nodes", "3", "--kill-leader-at", "1.5"], "--kill-leader-at 1.5 is not between 0 and 1"),
        (["--nodes", "3", "--kill-leader-at", "0"], "--kill-leader-at 0 is not between 0 and 1"),
        (["--nodes", "3", "--kill-leader-at", "nan"], "--kill-leader-at nan is not between 0 and 1"),
        (["--nodes", "3", "--kill-leader-at", "0.5,x"], "is not a list of numbers"),
        (["--nodes", "3", "--kill-leader-at", "0.5,0.5"], "names a fraction twice"),
        (["--nodes", "3", "--kill-leader-at", "0.5"], "--kill-leader-at: fewer than 8 messages follow"),
        (["--nodes", "0", "--expect-sha256", "12"], "--expect-sha256 '12' is not 64 hexadecimal digits"),
        (["--nodes", "3", "--kill-leader-at", ""], "--kill-leader-at '' is not a list of numbers"),
        (["--nodes", "3", "--kill-leader-at", "0.3,0.7,"], "is not a list of numbers"),
        (["--nodes", "3", "--kill-leader-at", "1"], "--kill-leader-at 1 is not between 0 and 1"),
        (["--nodes", "0", "--window", "1"], "--window 1 is not from 16"),
        (["--nodes", "0", "--reports", "/"], "--reports /: cannot be written"),
        (["--nodes", "0", "--reports", "/dev/full"], "--reports /dev/full: cannot be written"),
    ],
)
def test_options_that_make_no_sense_are_named(path, capsys, arguments, words):
    assert main(["replay", path, "--format", "flash", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_reports_never_replace_the_recording(path, capsys):
    before = Path(path).read_bytes()
    same = str(Path(path).parent / "." / "some.bin")
    assert main(["replay", path, "--format", "flash", "--nodes", "0", "--reports", same]) == 2
    assert "would overwrite the recording" in capsys.readouterr().err
    folder = Path(path).parent
    assert main(["replay", str(folder), "--format", "lobster", "--nodes", "0", "--reports", path]) == 2
    assert "would overwrite the recording" in capsys.readouterr().err
    other_name = folder.parent / "linked.bin"
    other_name.hardlink_to(path)
    for recording, form in ((path, "flash"), (str(folder), "lobster")):
        assert main(["replay", recording, "--format", form, "--nodes", "0", "--reports", str(other_name)]) == 2
        assert "would overwrite the recording" in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_an_unusable_recording_leaves_earlier_reports_alone(path, tmp_path, capsys):
    reports = tmp_path / "reports.txt"
    reports.write_text("of yesterday")
    assert main(["replay", f"{path}.gone", "--format", "flash", "--nodes", "0", "--reports", str(reports)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert reports.read_text() == "of yesterday"


def test_lobster_has_no_expected_digest(tmp_path, capsys):
    arguments = ["replay", str(tmp_path), "--format", "lobster", "--nodes", "0", "--expect-sha256", "0" * 64]
    assert main(arguments) == 2
    assert "--expect-sha256 is for the flash format" in capsys.readouterr().err


def test_what_the_parser_refuses_is_a_usage_error(path, capsys):
    for arguments in (["replay", path], ["replay", path, "--format", "csv", "--nodes", "0"], ["play"], ["--what"]):
        assert main(arguments) == 2


COMMANDS = (
    *("node", "submit", "cancel", "reduce", "replace", "order", "quote", "book"),
    *("demo", "replay", "raftadmin"),
)
SUBCOMMANDS = (
    *(("instrument", "add"), ("instrument", "list"), ("member", "add"), ("member", "remove"), ("member", "list")),
    ("cluster", "status"),
)


@pytest.mark.parametrize("words", [*((name,) for name in COMMANDS), *SUBCOMMANDS], ids=" ".join)
def test_help_shows_an_example(capsys, words):
    assert main([*words, "--help"]) == 0
    assert f"Example: matchengine {' '.join(words)}" in " ".join(capsys.readouterr().out.split())


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*COMMANDS, "instrument", "member", "cluster"))
    assert "Show an order book as a ladder" in text


def test_no_event_loop_stands_between_ctrl_c_and_what_needs_none(path, monkeypatch):
    def refuse(main):
        main.close()
        raise AssertionError("an event loop was started")

    monkeypatch.setattr("matchengine.cli.replay.run", refuse)
    assert main(["replay", path, "--format", "flash", "--nodes", "0"]) == 0
    with pytest.raises(AssertionError, match="event loop"):
        main(["replay", path, "--format", "flash", "--nodes", "1"])


@pytest.mark.parametrize(("full", "code", "said"), [(False, 141, ""), (True, 3, "No space left on device")])
def test_output_without_a_place_to_go_is_told_in_one_line_and_is_no_difference(path, full, code, said):
    if full:
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        unread, out = os.pipe()
        os.close(unread)
    command = [sys.executable, "-m", "matchengine.cli.main", "replay", path, "--format", "flash", "--nodes", "0"]
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    os.close(out)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == (1 if said else 0)
