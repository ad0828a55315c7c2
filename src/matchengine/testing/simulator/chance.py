"""Chance out of one seed, the same on every machine and Python version.

Only ``random.Random.random`` is used, whose sequence Python promises to keep for a seed, and arithmetic that IEEE
754 fixes.  Every part of a simulation draws from a stream of its own, so that taking one fault out of a schedule
leaves what the others draw alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """A stream of chance, named by ``parts``."""

    __slots__ = ("random",)

    def __init__(self, *parts: object) -> None:
        digest = sha256("/".join(map(str, parts)).encode()).digest()
        #: A number in [0, 1).
        self.random = random.Random(int.from_bytes(digest[:8], "big")).random

    def randrange(self, start: int, stop: int) -> int:
        """A number in [start, stop)."""
        return start + int(self.random() * (stop - start))

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``, which are not none."""
        return items[int(self.random() * len(items))]

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.random() < probability

    def skewed(self, low: int, high: int) -> int:
        """A number in [low, high), mostly near ``low``."""
        x = self.random()
        return low + int(x * x * x * (high - low))

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different ones of ``items``."""
        left = list(items)
        return [left.pop(int(self.random() * len(left))) for _ in range(min(count, len(left)))]
