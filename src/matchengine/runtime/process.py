"""Settings of a process that is there for one node."""

from __future__ import annotations

import gc
from typing import Final

_GC_THRESHOLDS: Final = (20_000, 5, 2000)


def calm_the_collector() -> None:
    """Make the collection of the oldest generation rare: it looks at every order in every book.

    What exists now is taken out of all collections.  Nothing on the hot path makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
