"""Whether a history of concurrent operations could have come from one object that does one thing at a time.

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of
what was tried ("Testing for linearizability", 2017), the way Porcupine does it: take the operations in any
order that their times allow, step a model along, and go back where an answer does not fit.  Linearizability
is local (Herlihy and Wing, 1990, theorem 1), so a history is checked part by part where objects are apart.

A search that would take too long ends with :attr:`Verdict.UNKNOWN`, never with a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

C = TypeVar("C")
R = TypeVar("R")
S = TypeVar("S", bound=Hashable)
K = TypeVar("K", bound=Hashable)
C_contra = TypeVar("C_contra", contravariant=True)

MAX_STEPS: Final = 1_000_000
_MOST_CONFLICTS: Final = 4
_SHOWN_PLACED: Final = 8


class Verdict(StrEnum):
    """``UNKNOWN``: the bound on the search was reached first."""

    LINEARIZABLE = "yes"
    NOT_LINEARIZABLE = "no"
    UNKNOWN = "unknown"


class Operation(msgspec.Struct, Generic[C, R], frozen=True, gc=False):
    """One operation of a history, from ``start`` to ``end`` in any unit that orders all of them.

    ``end`` None says that the outcome is unknown: ``result`` counts for nothing, and the operation may take
    effect at any moment after ``start``, or never.  Operations overlap unless one ends before another starts.
    """

    client: int
    start: int
    call: C
    end: int | None = None
    result: R | None = None


class Model(Protocol[C_contra, S, R]):
    """The object as it behaves when one thing happens at a time.  States are compared and hashed, never changed."""

    def initial(self) -> S:
        """The state before the first operation."""
        ...

    def step(self, state: S, call: C_contra) -> tuple[S, R]:
        """The state after ``call`` in ``state``, and the right result; every call has one in every state."""
        ...

    def agrees(self, right: R, seen: R | None) -> bool:
        """Whether the result that was ``seen`` is as good as the ``right`` one."""
        ...


class Conflict(msgspec.Struct, Generic[S, R], frozen=True):
    """What the model says of the misfit in one of the states that could be reached."""

    state: S
    right: R


class Explanation(msgspec.Struct, Generic[C, S, R], frozen=True):
    """Why a history cannot be explained, as small as it gets.

    Up to just before the end of ``misfit`` the history is linearizable, with it no more.  ``placed`` is an
    order that explains the longest such prefix; ``open`` are the operations that overlapped the misfit's end
    and were tried as well; ``conflicts`` some of the states that were reached, with the result that the
    misfit would have had there.
    """

    placed: tuple[Operation[C, R], ...]
    misfit: Operation[C, R]
    open: tuple[Operation[C, R], ...]
    conflicts: tuple[Conflict[S, R], ...]

    def text(self, show: Callable[[object], str] = repr) -> str:
        """For people; ``show`` puts calls, results and states into words; of a long order only the end is shown."""
        hidden = len(self.placed) - _SHOWN_PLACED
        lines = [f"{len(self.placed)} operations can be put in order" + (", the last of them:" if self.placed else "")]
        lines += ["  ..."] if hidden > 0 else []
        lines += [f"  {_line(operation, show)}" for operation in self.placed[max(0, hidden) :]]
        lines += ["no place is left for:", f"  {_line(self.misfit, show)}"]
        for conflict in self.conflicts:
            lines.append(f"  it should give {show(conflict.right)} in the state {show(conflict.state)}")
        if self.open:
            lines += ["at the same time:", *(f"  {_line(operation, show)}" for operation in self.open)]
        return "\n".join(lines)


class Judgement(msgspec.Struct, frozen=True):
    """What became of one history, or of one part of it; ``steps`` counts calls of the model."""

    verdict: Verdict
    operations: int
    steps: int
    explanation: Explanation[Any, Any, Any] | None = None


class Report(msgspec.Struct, Generic[K], frozen=True):
    """What became of each part of a history."""

    parts: Mapping[K, Judgement]

    @property
    def verdict(self) -> Verdict:
        """No if any part is not linearizable; otherwise unknown if any is; otherwise yes."""
        verdicts = {judgement.verdict for judgement in self.parts.values()}
        for worst in (Verdict.NOT_LINEARIZABLE, Verdict.UNKNOWN):
            if worst in verdicts:
                return worst
        return Verdict.LINEARIZABLE


def check(model: Model[C, S, R], history: Iterable[Operation[C, R]], *, max_steps: int = MAX_STEPS) -> Judgement:
    """Judge one history, with at most ``max_steps`` steps of the model; ValueError for an end before its start."""
    operations = sorted(history, key=lambda operation: operation.start)
    for operation in operations:
        if operation.end is not None and operation.end < operation.start:
            raise ValueError(f"end: {operation.end} is before the operation's start, {operation.start}")
    return _Search(model, operations, max_steps).run()


def check_parts(
    model_of: Callable[[K], Model[C, S, R]],
    history: Iterable[Operation[C, R]],
    part_of: Callable[[Operation[C, R]], K],
    *,
    max_steps: int = MAX_STEPS,
) -> Report[K]:
    """Judge a history of several objects, each by itself; ``max_steps`` holds for each of them."""
    parts: dict[K, list[Operation[C, R]]] = {}
    for operation in history:
        parts.setdefault(part_of(operation), []).append(operation)
    return Report({key: check(model_of(key), part, max_steps=max_steps) for key, part in parts.items()})


def _line(operation: Operation[Any, Any], show: Callable[[object], str]) -> str:
    end, result = ("?", "?") if operation.end is None else (operation.end, show(operation.result))
    return f"client {operation.client} [{operation.start}, {end}] {show(operation.call)} -> {result}"


class _Frame(msgspec.Struct, Generic[S], frozen=True, gc=False):
    """An operation that was placed, and what was before."""

    operation: int
    state: S
    bits: int


class _Search(Generic[C, S, R]):
    """Events stand in time order in lists whose links are cut and mended as operations are placed and taken back.

    The start of operation i is event ``_starts[i]``, its end ``_ends[i]`` (0: none).  Operations of unknown outcome
    have a list of their own, since they are tried last: most of them explain nothing, and each that is placed
    without need doubles what is left to try.  Event 0 is the head of the list of all others, the last one of theirs.
    """

    def __init__(self, model: Model[C, S, R], operations: Sequence[Operation[C, R]], max_steps: int) -> None:
        self._model = model
        self._operations = operations
        self._max_steps = max_steps
        self._steps = 0
        self._link_events()
        self._frames: list[_Frame[S]] = []
        self._missing = sum(operation.end is not None for operation in operations)
        self._farthest = 0
        self._longest: tuple[int, ...] = ()
        self._conflicts: dict[S, R] = {}

    def _link_events(self) -> None:
        # At the same moment starts come first: only what ended before another's start is in order with it.
        events = [(operation.start, 0, i) for i, operation in enumerate(self._operations)]
        events += [(operation.end, 1, i) for i, operation in enumerate(self._operations) if operation.end is not None]
        events.sort()
        self._operation_of = [-1, *(i for _, _, i in events), -1]
        self._is_end = [False, *(bool(kind) for _, kind, _ in events), False]
        self._open_head = len(events) + 1
        self._next = [0] * (self._open_head + 1)
        self._previous = [0] * (self._open_head + 1)
        known = [n for n, (_, _, i) in enumerate(events, 1) if self._operations[i].end is not None]
        unknown = [n for n, (_, _, i) in enumerate(events, 1) if self._operations[i].end is None]
        for ring in ([0, *known], [self._open_head, *unknown]):
            for left, right in zip(ring, [*ring[1:], ring[0]], strict=True):
                self._next[left], self._previous[right] = right, left
        self._starts = [0] * len(self._operations)
        self._ends = [0] * len(self._operations)
        for number, (_, kind, i) in enumerate(events, 1):
            (self._ends if kind else self._starts)[i] = number

    def run(self) -> Judgement:
        """Search until everything that has an end is placed, nothing is left to try, or the bound is reached."""
        state, bits = self._model.initial(), 0
        tried = {(bits, state)}
        event = self._candidate(self._next[0])
        while self._missing:
            if not event:
                self._note(state)
                frame = self._take_back()
                if frame is None:
                    return self._judge(Verdict.NOT_LINEARIZABLE)
                state, bits = frame.state, frame.bits
                event = self._candidate(self._next[self._starts[frame.operation]])
                continue
            if self._steps == self._max_steps:
                return self._judge(Verdict.UNKNOWN)
            i = self._operation_of[event]
            after, fits = self._try(state, i)
            more = bits | 1 << i
            if fits and (more, after) not in tried:
                tried.add((more, after))
                self._place(_Frame(i, state, bits))
                state, bits, event = after, more, self._candidate(self._next[0])
            else:
                event = self._candidate(self._next[event])
        return self._judge(Verdict.LINEARIZABLE)

    def _candidate(self, event: int) -> int:
        """The start to try, from ``event`` on: none after the first end that is left; 0 when there is none."""
        if self._is_end[event]:
            event = self._next[self._open_head]
        if event in (0, self._open_head):
            return 0
        if self._operations[self._operation_of[event]].end is None and event > self._first_end():
            return 0
        return event

    def _first_end(self) -> int:
        event = self._next[0]
        while event and not self._is_end[event]:
            event = self._next[event]
        return event

    def _try(self, state: S, i: int) -> tuple[S, bool]:
        """The state after operation i, and whether it is worth placing here."""
        self._steps += 1
        operation = self._operations[i]
        after, right = self._model.step(state, operation.call)
        if operation.end is None:
            return after, after != state  # nothing tells a change of nothing from one that never was
        return after, self._model.agrees(right, operation.result)

    def _place(self, frame: _Frame[S]) -> None:
        self._frames.append(frame)
        for event in (self._starts[frame.operation], self._ends[frame.operation]):
            if event:
                self._next[self._previous[event]] = self._next[event]
                self._previous[self._next[event]] = self._previous[event]
        self._missing -= self._ends[frame.operation] > 0

    def _take_back(self) -> _Frame[S] | None:
        """Undo the last choice; None when there is none."""
        if not self._frames:
            return None
        frame = self._frames.pop()
        for event in (self._ends[frame.operation], self._starts[frame.operation]):
            if event:
                self._next[self._previous[event]] = event
                self._previous[self._next[event]] = event
        self._missing += self._ends[frame.operation] > 0
        return frame

    # --- explaining ------------------------------------------------------------------------

    def _note(self, state: S) -> None:
        """The search cannot pass the end of an operation that is not placed; remember the farthest such end."""
        event = self._first_end()
        if event < self._farthest:
            return
        if event > self._farthest:
            self._farthest, self._longest = event, ()
            self._conflicts = {}
        if len(self._frames) > len(self._longest) or not self._conflicts:
            self._longest = tuple(frame.operation for frame in self._frames)
        if len(self._conflicts) < _MOST_CONFLICTS and state not in self._conflicts:
            _, self._conflicts[state] = self._model.step(state, self._operations[self._operation_of[event]].call)

    def _judge(self, verdict: Verdict) -> Judgement:
        explanation = self._explain() if verdict is Verdict.NOT_LINEARIZABLE else None
        return Judgement(verdict, len(self._operations), self._steps, explanation)

    def _explain(self) -> Explanation[C, S, R]:
        misfit = self._operation_of[self._farthest]
        moment = self._operations[misfit].end
        assert moment is not None
        overlapping = (
            operation
            for i, operation in enumerate(self._operations)
            if i != misfit and operation.start <= moment and (operation.end is None or operation.end >= moment)
        )
        return Explanation(
            tuple(self._operations[i] for i in self._longest),
            self._operations[misfit],
            tuple(overlapping),
            tuple(Conflict(state, right) for state, right in self._conflicts.items()),
        )
