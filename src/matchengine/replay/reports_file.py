"""The file that ``--reports`` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from matchengine.replay.errors import InputError


class ReportsFile:
    """ASCII text on its way to a file; raises InputError, with the path, when it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._named():
            self._file = path.open("w", encoding="ascii", newline="")

    def write(self, text: str) -> None:
        """Append ``text``."""
        with self._named():
            self._file.write(text)

    def close(self) -> None:
        """Write what is still in memory."""
        with self._named():
            self._file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"--reports {self._path}: cannot be written: {error}") from error


@contextlib.contextmanager
def open_reports(path: Path | None) -> Iterator[ReportsFile | None]:
    """Open before anything is run: an unwritable place must not cost a whole replay."""
    if path is None:
        yield None
        return
    with contextlib.closing(ReportsFile(path)) as file:
        yield file
