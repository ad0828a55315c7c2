"""Memory and disk of each node, over time."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from matchengine.chaos.nodes import Place
from matchengine.cluster.processes import process_stat

EVERY_S: Final = 2.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_RESIDENT: Final = 21


class Series(msgspec.Struct, frozen=True):
    """Bytes, as they were measured."""

    least: int
    median: int
    most: int
    last: int


class Gauges:
    """Samples every :data:`EVERY_S` seconds."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._memory: dict[str, list[int]] = defaultdict(list)
        self._disk: dict[str, list[int]] = defaultdict(list)

    async def run(self, also: Callable[[], None]) -> None:
        """Until cancelled; ``also`` is called each time."""
        while True:
            self._sample()
            also()
            await asyncio.sleep(EVERY_S)

    def memory(self) -> dict[str, Series]:
        """Resident bytes of the node in each place, with the process that it has started if there is one."""
        return {name: _series(samples) for name, samples in self._memory.items()}

    def disk(self) -> dict[str, Series]:
        """Bytes in use on each place's disk."""
        return {name: _series(samples) for name, samples in self._disk.items()}

    def _sample(self) -> None:
        for place in self._places:
            self._disk[place.name].append(place.disk.used_bytes())
            process = place.process
            if process is not None and process.running:
                pages = sum(process_stat(pid, _RESIDENT) for pid in process.family())
                self._memory[place.name].append(pages * _PAGE)


def _series(samples: Sequence[int]) -> Series:
    return Series(min(samples), int(statistics.median(samples)), max(samples), samples[-1])
