"""Recordings through real node processes, with the leader killed on the way."""

import contextlib
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-m", "matchengine.cli.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}

NORMAL = "aca87a70eebd11caa0ff5d045535f2f8f6469f118e8bd9f192f374ec697d7854"
FLASH_CRASH = "3f4c9edb931871493c1bebbc45048acd1813c3885a2eb451522933dfab842afb"

# Says what Ctrl-C does, as a terminal or a script's background job would, and becomes the program.  A preexec_fn would
# do it in a fork of this process, and gRPC's threads do not survive a fork.
LAUNCHER = "import os, signal, sys; signal.signal(signal.SIGINT, int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


def test_one_durable_node(shared_data, matchengine, tmp_path):
    path = shared_data / "flash" / "normal-20000-seed1.bin.xz"
    arguments = ("--format", "flash", "--nodes", 1, "--expect-sha256", NORMAL, "--json", "--work-dir", tmp_path)
    done = matchengine("replay", path, *arguments)
    assert done.code == 0, done.err
    assert done.last["reports_sha256"] == NORMAL
    assert len(done.last["state_hashes"]) == 1
    assert done.last["fsync"] is True
    assert done.last["fsync_us"] > 0
    assert list(tmp_path.iterdir()) == []


def test_three_nodes_that_lose_their_leader_twice(shared_data, matchengine, tmp_path):
    path = shared_data / "flash" / "flash-crash-50000-seed3.bin.xz"
    arguments = ("--format", "flash", "--nodes", 3, "--kill-leader-at", "0.3,0.7", "--json", "--work-dir", tmp_path)
    done = matchengine("replay", path, *arguments)
    assert done.code == 0, done.err
    result = done.last
    assert result["reports_sha256"] == FLASH_CRASH
    assert len(result["failover_ms"]) == len(result["in_flight_at_kill"]) == 2
    assert min(result["in_flight_at_kill"]) >= 8
    assert min(result["failover_ms"]) > 0
    assert len(result["state_hashes"]) == 3
    assert len(set(result["state_hashes"])) == 1
    assert list(tmp_path.iterdir()) == []


ENGINES = {"hashicorp": {"hashicorp"}, "mixed": {"matchengine", "hashicorp"}}


@pytest.mark.parametrize("engine", ENGINES)
def test_three_nodes_on_the_other_engine_and_on_both(shared_data, go_programs, matchengine, engine):
    path = shared_data / "flash" / "normal-20000-seed1.bin.xz"
    arguments = ("--format", "flash", "--nodes", 3, "--kill-leader-at", "0.3,0.7", "--batch", 500, "--json")
    done = matchengine("replay", path, *arguments, "--engine", engine, "--expect-sha256", NORMAL)
    assert done.code == 0, done.err
    result = done.last
    assert result["reports_sha256"] == NORMAL
    assert len(result["failover_ms"]) == 2
    assert min(result["in_flight_at_kill"]) >= 8
    assert set(result["leader_engines"]) == ENGINES[engine]
    assert len(set(result["state_hashes"])) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_real_morning_on_the_other_engine_and_on_both(morning, go_programs, matchengine, engine):
    done = matchengine("replay", morning(3_000), "--format", "lobster", "--nodes", 3, "--engine", engine, "--json")
    assert done.code == 0, done.err
    assert (done.last["trade_differences"], done.last["book_differences"]) == (0, 0)
    assert set(done.last["leader_engines"]) == ENGINES[engine]  # without a kill as well
    assert len(set(done.last["state_hashes"])) == 1


@pytest.fixture
def morning(shared_data, tmp_path):
    """The first messages of the real day, in a folder of their own."""

    def write(messages):
        folder = tmp_path / "GOOG_morning"
        folder.mkdir()
        for name in ("commands", "trades", "book"):
            packed = (shared_data / "lobster" / "GOOG_L10" / f"{name}.csv.xz").read_bytes()
            header, *rows = lzma.decompress(packed).decode().splitlines(keepends=True)
            kept = [row for row in rows if int(row.partition(",")[0]) <= messages]
            (folder / f"{name}.csv").write_text("".join([header, *kept]))
        return folder

    return write


def test_a_real_morning_on_three_nodes_with_a_kill(morning, matchengine):
    arguments = ("--format", "lobster", "--nodes", 3, "--kill-leader-at", "0.5", "--json")
    done = matchengine("replay", morning(8_000), *arguments)
    assert done.code == 0, done.err
    result = done.last
    assert (result["trade_differences"], result["book_differences"]) == (0, 0)
    assert result["trades"] > 100
    assert result["in_flight_at_kill"][0] >= 8
    assert len(set(result["state_hashes"])) == 1


def test_a_wrong_fill_is_seen_through_the_nodes(morning, matchengine):
    folder = morning(3_000)
    trades = (folder / "trades.csv").read_text().splitlines(keepends=True)
    (folder / "trades.csv").write_text("".join(trades[:-1]))
    done = matchengine("replay", folder, "--format", "lobster", "--nodes", 1, "--json")
    assert done.code == 1
    assert (done.last["trade_differences"], done.last["book_differences"]) == (1, 0)


@pytest.mark.parametrize("engine", ["matchengine", *ENGINES])
def test_the_demonstration(matchengine, request, engine):
    if engine != "matchengine":
        request.getfixturevalue("go_programs")
    done = matchengine("demo", "--seconds", 4, "--rate", 1000, "--seed", 5, "--engine", engine)
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[-1] == ("sent 4,000, acknowledged 4,000, lost 0, doubled 0, state hashes agree: yes")
    assert "was killed" in done.out


@pytest.mark.parametrize(
    ("number", "ctrl_c"),
    [(signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_IGN)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in the background"],
)
def test_an_interrupted_demonstration_leaves_no_process_behind(tmp_path, number, ctrl_c):
    launcher = [sys.executable, "-c", LAUNCHER, str(int(ctrl_c))]
    arguments = ["demo", "--seconds", "60", "--work-dir", str(tmp_path)]
    process = subprocess.Popen([*launcher, *COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "acknowledged" in line:
            break
    assert processes_that_name(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=200)
    assert process.returncode == 130
    assert processes_that_name(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_that_is_killed_takes_its_nodes_along(tmp_path):
    arguments = ["demo", "--seconds", "60", "--work-dir", str(tmp_path)]
    process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "acknowledged" in line:
            break
    assert processes_that_name(tmp_path)
    process.kill()
    process.communicate(timeout=200)
    deadline = time.monotonic() + 200
    while processes_that_name(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_that_name(folder):
    """Ids of the node processes whose command line names ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{folder}/matchengine-" in (entry / "cmdline").read_text():
                found.append(entry.name)
    return found


def test_a_node_that_dies_by_itself_ends_the_replay(shared_data, tmp_path):
    path = shared_data / "flash" / "normal.bin.xz"
    arguments = ["replay", str(path), "--format", "flash", "--nodes", "1", "--batch", "5", "--work-dir", str(tmp_path)]
    process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    first = process.stderr.readline()
    assert first.startswith("replay:")
    for number in processes_that_name(tmp_path):
        os.kill(int(number), signal.SIGKILL)
    _, rest = process.communicate(timeout=200)
    assert process.returncode == 3
    assert "node1 has ended by itself" in rest
    assert list(tmp_path.iterdir()) == []
