"""Reading recordings, plain or compressed with xz."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from matchengine.replay.errors import InputError

#: A day of one busy stock is about 100 MiB; more than this is refused rather than swallowed.
MAX_BYTES = 2 * 1024 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
#: What decompressing may take beside its result: ``xz -9`` asks for 65 MiB, a header may ask for 4 GiB.
_MEMORY_BYTES = 256 * 1024 * 1024


def read_recording(path: Path) -> bytes:
    """The whole content of ``path``, decompressed if its name ends with ``.xz``."""
    try:
        with path.open("rb") as file:
            content = _bounded(file)
        if path.suffix == ".xz":
            content = _decompressed(content)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: holds more than {MAX_BYTES} bytes, the most that is read")
    return content


def _bounded(file: BinaryIO) -> bytes:
    """The file, or a little more than ``MAX_BYTES`` of it, in pieces: asking for all at once would allocate all."""
    content = bytearray()
    while len(content) <= MAX_BYTES and (piece := file.read(_PIECE_BYTES)):
        content += piece
    return bytes(content)


def _decompressed(packed: bytes) -> bytes:
    """All streams of an xz file, or a little more than ``MAX_BYTES`` of them."""
    content = bytearray()
    while packed and len(content) <= MAX_BYTES:
        decompressor = lzma.LZMADecompressor(memlimit=_MEMORY_BYTES)
        content += decompressor.decompress(packed, MAX_BYTES + 1 - len(content))
        if not decompressor.eof and len(content) <= MAX_BYTES:
            raise EOFError("the compressed data end too early")
        packed = decompressor.unused_data.lstrip(b"\0")
    return bytes(content)


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
