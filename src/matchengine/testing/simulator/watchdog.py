"""What ends a step that would never end by itself: a loop in the product, which nothing in the simulation can stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from matchengine.testing.simulator.invariants import STEPS_END, InvariantError

if TYPE_CHECKING:
    from matchengine.testing.simulator.timeline import Timeline

#: The timer strikes whenever this process has used so much CPU time; a step takes less than a thousandth of that.
_INTERVAL_S: Final = 1.0
_STRIKES: Final = 3


class Watchdog:
    """A context in which a step of ``timeline`` that takes seconds of CPU time fails.

    Only the main thread can be interrupted; elsewhere nothing is watched.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._step = -1
        self._strikes = 0
        self._before: Any = None
        self._is_on = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._is_on:
            self._before = signal.signal(signal.SIGVTALRM, self._look)
            signal.setitimer(signal.ITIMER_VIRTUAL, _INTERVAL_S, _INTERVAL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_on:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, self._before)

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        if self._timeline.steps != self._step:
            self._step, self._strikes = self._timeline.steps, 0
            return
        self._strikes += 1
        if self._strikes >= _STRIKES:
            place = frame.f_code.co_qualname if frame is not None else "an unknown place"
            raise InvariantError(STEPS_END, f"step {self._step} does not end; it is in {place}")
