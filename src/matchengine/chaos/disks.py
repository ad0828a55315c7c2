"""A small disk for each node, and the ballast that fills it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

from matchengine.cluster.processes import ClusterError

SIZE_BYTES: Final = 256 * 1024 * 1024
_BALLAST: Final = "ballast"
_CHUNK: Final = 1024 * 1024


class Disk:
    """A file system of :data:`SIZE_BYTES` below ``folder``: on a loop device, or in memory where there is none."""

    def __init__(self, folder: Path, name: str) -> None:
        self.place = folder / name
        self._image = folder / f"{name}.img"
        self.kind = ""

    def mount(self) -> None:
        """Make it, empty; ClusterError when neither kind can be made."""
        self.place.mkdir()
        self.kind = "ext4 on a loop device" if self._mount_image() else self._mount_memory()

    def unmount(self) -> None:
        """Take it away; the private mount namespace would do so, too."""
        if self.kind:
            subprocess.run(["umount", "--lazy", str(self.place)], capture_output=True, check=False)
            self._image.unlink(missing_ok=True)

    def fill(self) -> None:
        """Leave no block free."""
        with (self.place / _BALLAST).open("wb") as ballast, contextlib.suppress(OSError):
            for size in (_CHUNK, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), size)

    def free(self) -> None:
        """Take the ballast out."""
        (self.place / _BALLAST).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """What is in use, without the ballast."""
        whole = os.statvfs(self.place)
        used = (whole.f_blocks - whole.f_bfree) * whole.f_frsize
        with contextlib.suppress(FileNotFoundError):
            used -= (self.place / _BALLAST).stat().st_blocks * 512
        return used

    def _mount_image(self) -> bool:
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        commands = (
            ["mkfs.ext4", "-q", "-F", "-m", "0", str(self._image)],
            ["mount", "-o", "loop", str(self._image), str(self.place)],
        )
        try:
            return all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in commands)
        except FileNotFoundError:
            return False

    def _mount_memory(self) -> str:
        self._image.unlink(missing_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "mech-disk", str(self.place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{' '.join(words)}: {done.stderr.strip()}")
        return "memory (no loop device here)"
