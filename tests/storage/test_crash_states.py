"""After a crash at any call, in whatever state it leaves the disk, the stores have all that they had acknowledged.

``make crash`` looks much further than ``make test``.
"""

import os

import msgspec
import pytest
from crash_bugs import BUGS, LOSSES
from crash_explorer import CrashError, Effort, Explorer
from crash_workloads import WORKLOADS, random_life
from version_1 import directory_1, version_1

FURTHER = os.environ.get("MATCHENGINE_CRASH") == "further"
EFFORT = Effort(states=2000, recoveries=3, kills=2) if FURTHER else Effort(states=1024, recoveries=8, kills=6)
LIVES = range(24 if FURTHER else 4)
#: Here the recovery is what counts.
UPGRADES = msgspec.structs.replace(EFFORT, recoveries=1 if FURTHER else 2)
SEARCH = Effort(states=64, recoveries=1, kills=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """A snapshot of several chunks and syncs must not need megabytes."""
    monkeypatch.setattr("matchengine.storage.snapshot_file.CHUNK_BYTES", 600)
    monkeypatch.setattr("matchengine.storage.snapshot_file._SYNC_BYTES", 1000)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_crash_of_a_workload_is_survived(name, record_property):
    explorer = Explorer(name, EFFORT)
    explorer.power_losses(WORKLOADS[name])
    explorer.kills(WORKLOADS[name])
    record_property("counted", str(explorer.counts))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
def test_every_crash_of_a_random_life_is_survived(part, record_property):
    explorer = Explorer("", EFFORT)
    for seed in LIVES[part::4]:
        explorer.name = f"random life {seed}"
        explorer.power_losses(random_life(seed))
        explorer.kills(random_life(seed))
    record_property("counted", str(explorer.counts))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("append", version_1),
        ("append over segments", version_1),
        ("truncate over segments", version_1),
        ("snapshot install", version_1),
        ("creation", directory_1),
        ("stable store", directory_1),
        ("append", directory_1),
        ("snapshot install", directory_1),
    ],
)
def test_every_crash_before_and_during_an_upgrade_is_survived(name, program, record_property):
    """The files are those of an older program; the next process upgrades them, and loses its power at every call."""
    explorer = Explorer(f"{name}, upgraded", UPGRADES)
    explorer.power_losses(WORKLOADS[name], program)
    assert explorer.counts.recoveries
    record_property("counted", str(explorer.counts))


def test_an_upgrade_in_place_is_found(monkeypatch):
    BUGS["truncation in place"][0](monkeypatch)
    with pytest.raises(CrashError):
        Explorer("upgraded in place", SEARCH).power_losses(WORKLOADS["append"], version_1)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, monkeypatch, record_property):
    plant, names = BUGS[bug]
    plant(monkeypatch)
    find(names, (Explorer.power_losses, Explorer.kills), record_property)


@pytest.mark.parametrize("bug", LOSSES)
def test_a_planted_bug_that_hides_a_loss_is_found(bug, monkeypatch, record_property):
    plant, names = LOSSES[bug]
    plant(monkeypatch)
    find(names, (Explorer.losses,), record_property)


def find(names, ways, record_property):
    tried = 0
    for way in ways:
        for name in names:
            explorer = Explorer(name, SEARCH)
            try:
                way(explorer, WORKLOADS[name])
            except CrashError as failure:
                tried += explorer.counts.tried
                record_property("counted" if FURTHER else "found", f"found after {tried:,} states, {failure.headline}")
                return
            tried += explorer.counts.tried
    pytest.fail(f"not found in {tried} states")
