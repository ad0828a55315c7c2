"""Memory, descriptors, threads and disk of each node, over time."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from matchengine.chaos.nodes import Place
from matchengine.cluster.processes import process_stat

EVERY_S: Final = 2.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_THREADS: Final = 17
_RESIDENT: Final = 21
_MIB: Final = 1024 * 1024
#: A process that has lived for fewer samples is still filling its windows and caches.
_LONG_LIFE: Final = 60

#: One life of a node: its place, and the number of its process.
Life: TypeAlias = tuple[str, int]


class Series(msgspec.Struct, frozen=True):
    """What was measured: bytes, or a number of descriptors or threads."""

    least: int
    median: int
    most: int
    last: int


class _Allowance(msgspec.Struct, frozen=True):
    """How far a gauge may rise within one life: by this factor, and by this much on top."""

    factor: float
    extra: int


_MEMORY: Final = _Allowance(1.5, 64 * _MIB)
_DESCRIPTORS: Final = _Allowance(1.25, 16)
_THREAD_COUNT: Final = _Allowance(1.25, 4)


class Gauges:
    """Samples every :data:`EVERY_S` seconds."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._memory: dict[Life, list[int]] = defaultdict(list)
        self._descriptors: dict[Life, list[int]] = defaultdict(list)
        self._threads: dict[Life, list[int]] = defaultdict(list)
        self._disk: dict[str, list[int]] = defaultdict(list)

    async def run(self, also: Callable[[], None]) -> None:
        """Until cancelled; ``also`` is called each time."""
        while True:
            self._sample()
            also()
            await asyncio.sleep(EVERY_S)

    def memory(self) -> dict[str, Series]:
        """Resident bytes of the node in each place, with the process that it has started if there is one."""
        return _by_place(self._memory)

    def descriptors(self) -> dict[str, Series]:
        """Open descriptors of the node in each place, counted like its memory."""
        return _by_place(self._descriptors)

    def threads(self) -> dict[str, Series]:
        """Threads of the node in each place, counted like its memory."""
        return _by_place(self._threads)

    def disk(self) -> dict[str, Series]:
        """Bytes in use on each place's disk."""
        return {name: _series(samples) for name, samples in self._disk.items()}

    def growth(self) -> list[str]:
        """A sentence for each gauge that went on rising through one long life of a node."""
        gauges = (
            ("resident bytes", self._memory, _MEMORY),
            ("descriptors", self._descriptors, _DESCRIPTORS),
            ("threads", self._threads, _THREAD_COUNT),
        )
        return [
            f"{place}: {what} of process {pid} rose from {early:,} to {late:,}"
            for what, lives, allowance in gauges
            for (place, pid), samples in lives.items()
            for early, late in rises(samples, allowance)
        ]

    def _sample(self) -> None:
        for place in self._places:
            self._disk[place.name].append(place.disk.used_bytes())
            process = place.process
            if process is not None and process.running:
                family = process.family()
                life = (place.name, process.pid)
                self._memory[life].append(_PAGE * sum(process_stat(pid, _RESIDENT) for pid in family))
                self._descriptors[life].append(sum(open_descriptors(pid) for pid in family))
                self._threads[life].append(sum(process_stat(pid, _THREADS) for pid in family))


def open_descriptors(pid: int) -> int:
    """How many descriptors the process has open; 0 for a process that is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def rises(samples: Sequence[int], allowance: _Allowance) -> list[tuple[int, int]]:
    """The medians of the second and the last quarter of a long life, if the gauge rose by more than is allowed.

    The first quarter is left out: a node that has just started fills its windows and caches.
    """
    if len(samples) < _LONG_LIFE:
        return []
    quarter = len(samples) // 4
    early = int(statistics.median(samples[quarter : 2 * quarter]))
    late = int(statistics.median(samples[-quarter:]))
    return [(early, late)] if late > allowance.factor * early + allowance.extra else []


def _by_place(lives: dict[Life, list[int]]) -> dict[str, Series]:
    samples: dict[str, list[int]] = defaultdict(list)
    for (place, _), values in lives.items():
        samples[place] += values
    return {place: _series(values) for place, values in samples.items()}


def _series(samples: Sequence[int]) -> Series:
    return Series(min(samples), int(statistics.median(samples)), max(samples), samples[-1])
