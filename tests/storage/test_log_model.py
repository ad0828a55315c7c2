"""The log against a list, with reopening and loss of power at any moment.

Property: everything synced is there, and what is there is a prefix of what was appended.
"""

import random
from itertools import count
from pathlib import Path

import logs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from matchengine.raft.types import Entry
from matchengine.storage.simulated import PowerLoss, SimulatedFileSystem, no_fault

DIRECTORY = Path("/data/log")
SEGMENT_BYTES = 2048


def open_log(fs):
    return logs.open_log(DIRECTORY, segment_bytes=SEGMENT_BYTES, fs=fs, new_salt=lambda: 7)


def everything(log):
    return list(log.read(log.first_index, log.last_index))


def lose_power_at(call):
    """A fault that stops the program at the given call, counted from now."""
    calls = count()

    def fault(_operation, _path):
        if next(calls) == call:
            raise PowerLoss

    return fault


class LogMachine(RuleBasedStateMachine):
    """``durable`` is what must survive, ``entries`` what the log says; both begin at ``first``."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed):
        self.random = random.Random(seed)
        self.fs = SimulatedFileSystem()
        self.log = open_log(self.fs)
        self.first, self.entries, self.durable, self.term = 1, [], 0, 0

    @rule(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=4))
    def append(self, sizes):
        self.term += 1
        start = self.first + len(self.entries)
        new = [Entry(start + n, self.term, data=self.random.randbytes(size)) for n, size in enumerate(sizes)]
        self.log.append(new)
        self.entries += new

    @rule()
    def sync(self):
        self.log.sync()
        self.durable = len(self.entries)

    @rule(back=st.integers(0, 6))
    def truncate(self, back):
        kept = max(0, len(self.entries) - back)
        self.log.truncate_from(self.first + kept)
        del self.entries[kept:]
        self.durable = min(self.durable, kept)

    @rule(back=st.integers(0, 6))
    def compact(self, back):
        upto = self.first + self.durable - 1 - back
        self.log.compact_to(upto)
        dropped = self.log.first_index - self.first
        assert 0 <= dropped <= max(0, upto + 1 - self.first)
        del self.entries[:dropped]
        self.first += dropped
        self.durable -= dropped

    @rule(ahead=st.integers(0, 5))
    def reset(self, ahead):
        self.first += len(self.entries) + ahead
        self.log.reset(self.first)
        self.entries, self.durable = [], 0

    @rule()
    def reopen(self):
        self.log.close()
        self.log = open_log(self.fs)
        del self.entries[self.durable :]

    @rule()
    def lose_power(self):
        self.fs.lose_power(self.random)
        self.log = open_log(self.fs)
        self.survivors()

    @rule(call=st.integers(0, 4))
    def lose_power_in_sync(self, call):
        self.fs.fault = lose_power_at(call)
        try:
            self.sync()
        except PowerLoss:
            self.fs.fault = no_fault
            self.lose_power()
        self.fs.fault = no_fault

    def survivors(self):
        """After a crash the log may have kept more than was synced, never less and never anything else."""
        assert self.log.first_index == self.first
        kept = everything(self.log)
        assert len(kept) >= self.durable
        assert kept == self.entries[: len(kept)]
        self.entries, self.durable = kept, len(kept)

    @invariant()
    def agrees(self):
        if hasattr(self, "log"):
            assert (self.log.first_index, self.log.last_index) == (self.first, self.first + len(self.entries) - 1)
            assert everything(self.log) == self.entries


LogMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
test_log_behaves_like_a_list_that_survives = LogMachine.TestCase


SCRIPTS = {
    "append": lambda log, new: (log.append(new), log.sync()),
    "truncate within a frame": lambda log, new: log.truncate_from(11),
    "truncate between frames": lambda log, new: log.truncate_from(10),
    "truncate across segments": lambda log, new: log.truncate_from(3),
    "truncate everything": lambda log, new: log.truncate_from(1),
    "compact": lambda log, new: log.compact_to(9),
    "reset": lambda log, new: log.reset(50),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_power_lost_at_every_call_leaves_the_old_log_or_the_new_one(script, make_entries):
    old = make_entries(1, 12, size=300)
    new = make_entries(13, 18, term=2, size=300)
    after = run(script, old, new, call=10**9, seed=0)[0]
    for call in count():
        finished = [run(script, old, new, call, seed) for seed in range(12)]
        for found, completed in finished:
            if completed:
                assert found == after
            else:
                check_between(found, old, after)
                # Only compaction may take entries away from the front.
                assert script is SCRIPTS["compact"] or found[:1] in ([], old[:1])
        if finished[0][1]:
            return


def run(script, old, new, call, seed):
    """The log after ``script`` on ``old`` with power lost at ``call`` or at the end, and whether it got there."""
    fs = SimulatedFileSystem()
    log = open_log(fs)
    for start in range(0, 12, 3):
        log.append(old[start : start + 3])
        log.sync()
    fs.fault = lose_power_at(call)
    try:
        script(log, new)
        completed = True
    except PowerLoss:
        completed = False
    fs.fault = no_fault
    fs.lose_power(random.Random(seed))
    return everything(open_log(fs)), completed


def check_between(found, before, after):
    """All entries that both states have, none that neither has, and no gap."""
    longest = max(before, after, key=len)
    assert [entry for entry in longest if entry in found] == found
    assert all(entry in found for entry in before if entry in after)
    assert (
        [entry.index for entry in found] == list(range(found[0].index, found[0].index + len(found))) if found else True
    )
