"""Chaos on real processes: a minute of it holds, broken rules are found out, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "matchengine.cli.main", "chaos"]
FAULTY = Path(__file__).with_name("faulty_run.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
PATIENCE_S = 100

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("namespaces"), pytest.mark.timeout(420)]


def run(command):
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False)
    report = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
    return done.returncode, report, f"\n{done.stderr[-6000:]}\n{done.stdout[-6000:]}"


def test_a_minute_of_chaos_under_a_fresh_seed(tmp_path) -> None:
    code, report, story = run([*COMMAND, "--minutes", "1", "--json", "--work-dir", str(tmp_path)])
    assert code == 0, story  # the seed is its first line
    print(story)
    assert report["linearizability"]["verdict"] == "yes"
    assert (report["balance"]["lost"], report["balance"]["doubled"]) == (0, 0)
    assert report["clients"] >= 8
    assert sum(report["faults"].values()) >= 10
    assert report["operations"]["writes"] > 50 and report["operations"]["reads"] > 20
    assert {"n1", "n2", "n3"} <= set(report["memory"]) <= set(report["disk"]) == {"n1", "n2", "n3", "n4"}
    assert list(tmp_path.iterdir()) == []


def not_linearizable(report) -> bool:
    return report["linearizability"]["verdict"] == "no"


BUGS = {
    "reads without a read index": not_linearizable,
    "retries are executed again": lambda report: report["balance"] is not None and report["balance"]["doubled"] > 0,
    # Nodes whose logs have parted may never come together again: then there is no balance, and that is found out, too.
    "one node is a majority": lambda report: not_linearizable(report) or report["balance"] is None,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_broken_rule_is_found_out(bug, tmp_path) -> None:
    stories = []
    for seed in (11, 12, 13):
        code, report, story = run([sys.executable, str(FAULTY), bug, "0.2", str(seed), str(tmp_path)])
        if code == 1 and report is not None and BUGS[bug](report):
            return
        stories.append(story)
    pytest.fail("nobody noticed:" + "".join(stories))


def processes_with(text: str):
    """Command lines that name ``text``, other than this process's."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) != os.getpid() and text.encode() in (folder / "cmdline").read_bytes():
                yield folder.name


def wait_until(check, what) -> None:
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE_S, deadline.set)
    timer.start()
    try:
        while not check():
            assert not deadline.wait(0.05), what
    finally:
        timer.cancel()


def test_a_cluster_that_does_not_come_back_is_judged_all_the_same(tmp_path) -> None:
    code, report, story = run(
        [sys.executable, str(FAULTY), "nothing is committed behind entry 60", "0.1", "7", str(tmp_path)]
    )
    assert code == 1, story
    assert (report["balance"], report["recovery_s"], report["hashes_agree"]) == (None, None, False)
    assert report["linearizability"]["verdict"] == "yes"
    assert report["operations"]["writes"] > 0
    (problem,) = report["problems"]
    assert problem.startswith("the cluster has no end state: waited")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_behind(number, code, tmp_path) -> None:
    command = [*COMMAND, "--minutes", "5", "--seed", "3", "--work-dir", str(tmp_path)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr.readline, "")
        story = next(line for line in lines if " killed: " in line or "acknowledged" in line)
        assert list(processes_with(str(tmp_path))), story
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode == code
    wait_until(lambda: not list(processes_with(str(tmp_path))), "processes are left")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    names = Path("/run/netns")
    assert not [each for each in names.iterdir() if each.name.startswith("mech-")] if names.is_dir() else True
