"""What happened, line by line, in one column for each node."""

from __future__ import annotations

from typing import Final

_WIDTH: Final = 36
#: The column for what happens to no single node: faults, clients, operators.
WORLD: Final = ""


class Trace:
    """Keeps every note if ``on``; whoever writes a note asks first, as forming the text costs time."""

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self._notes: list[tuple[int, str, str]] = []

    def note(self, now: int, column: str, text: str) -> None:
        """``text`` at simulated time ``now`` about the node ``column``."""
        self._notes.append((now, column, text))

    def lines(self) -> list[str]:
        """One line a note: the time in seconds, then the columns."""
        columns = sorted({column for _, column, _ in self._notes} - {WORLD})
        places = {column: number for number, column in enumerate(columns)}
        head = "        time  " + "".join(column.ljust(_WIDTH) for column in columns) + "faults, clients and operators"
        return [head, *(_line(now, places.get(column, len(columns)), text) for now, column, text in self._notes)]


def _line(now: int, place: int, text: str) -> str:
    return f"{now // 1_000_000:>5}.{now % 1_000_000:06d}  {' ' * (_WIDTH * place)}{text}"
