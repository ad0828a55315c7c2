"""Throw-away folders on a disk that can lose power: a sync to memory would prove nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matchengine.cluster.processes import ClusterError

_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def file_system(path: Path) -> str:
    """The kind of file system that ``path`` is on, or ``""`` where the system does not say."""
    try:
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    best, kind = -1, ""
    for _, point, name, *_ in mounts:
        if path.resolve().is_relative_to(point) and len(point) >= best:
            best, kind = len(point), name
    return kind


@contextmanager
def work_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder below ``parent``, or below the first usual place on a real disk; removed at the end."""
    folder = _new_folder(_on_disk(parent) if parent else _real_disk())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(parent: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="matchengine-", dir=parent))
    except OSError as error:
        raise ClusterError(f"work folder: nothing can be created in {parent}: {error.strerror}") from error


def _on_disk(place: Path) -> Path:
    kind = file_system(place)
    if kind in _IN_MEMORY:
        raise ClusterError(
            f"work folder: {place} is in memory ({kind}), where a sync proves nothing; name one on a disk"
        )
    return place


def _real_disk() -> Path:
    places = (Path(tempfile.gettempdir()), Path.cwd())
    for place in places:
        if place.is_dir() and file_system(place) not in _IN_MEMORY:
            return place
    names = ", ".join(map(str, places))
    raise ClusterError(f"work folder: none of {names} is on a disk; name one with --work-dir")
