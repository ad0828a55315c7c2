"""Reading recordings, plain or compressed with xz."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

from matchengine.replay.errors import InputError

#: A day of one busy stock is about 100 MiB; more than this is refused rather than swallowed.
MAX_BYTES = 2 * 1024 * 1024 * 1024


def read_recording(path: Path) -> bytes:
    """The whole content of ``path``, decompressed if its name ends with ``.xz``."""
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: holds more than {MAX_BYTES} bytes, the most that is read")
    return content


def read_table(folder: Path, stem: str) -> tuple[Path, Iterator[tuple[int, list[str]]]]:
    """The path of ``stem``.csv or ``stem``.csv.xz in ``folder``, and its lines as (line number from 1, cells)."""
    for name in (f"{stem}.csv", f"{stem}.csv.xz"):
        path = folder / name
        if path.is_file():
            return path, _rows(path)
    raise InputError(f"{folder}: holds neither {stem}.csv nor {stem}.csv.xz")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = read_recording(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: not ASCII text") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line:
            yield number, line.split(",")
