"""The process that runs HashiCorp Raft: where its program is, how it is started, and how it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matchengine.errors import EngineError
from matchengine.runtime.config import NodeConfig

PROGRAM: Final = "matchengine-hashicorp"
PROGRAM_VARIABLE: Final = "MATCHENGINE_HASHICORP"
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_STOP_S: Final = 10.0
#: The most entries that stay in the log behind a snapshot: Raft does not count their bytes, so this bounds the disk.
_MOST_TRAILING_ENTRIES: Final = 2048
#: The policy of snapshots is kept by the other half, where bytes are counted as well.
_NEVER: Final = 2**62


def find_program(named: Path | None = None) -> Path:
    """The program: as named, in the environment, built beside the sources, beside the package, or on the path.

    Raises EngineError, which says how to build it.
    """
    for source, path in (("engine_program", named), (PROGRAM_VARIABLE, os.environ.get(PROGRAM_VARIABLE))):
        if path:
            if not os.access(path, os.X_OK) or Path(path).is_dir():
                raise EngineError(f"{source}: {path} is no program")
            return Path(path)
    for candidate in (_PACKAGE.parents[1] / "build" / "engine" / PROGRAM, _PACKAGE / PROGRAM):
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(
            f"there is no program {PROGRAM}; install Go 1.22 or newer and build it with `make engine`, "
            f"or name it in {PROGRAM_VARIABLE}"
        )
    return Path(found)


def command_line(program: Path, config: NodeConfig, *, bridge: Path, data: Path) -> list[str]:
    """How the program is called: ``bridge`` is the folder of the sockets, ``data`` is its own."""
    timing = config.timing
    options = {
        "bridge": bridge,
        "raft_id": config.id,
        "address": config.address,
        "listen": config.listen_address,
        "raft_data_dir": data,
        "raft_bootstrap": str(config.bootstrap).lower(),
        "heartbeat_timeout": f"{timing.heartbeat_timeout_ms}ms",
        "election_timeout": f"{timing.election_timeout_ms}ms",
        "leader_lease_timeout": f"{timing.leader_lease_timeout_ms}ms",
        "commit_timeout": f"{timing.commit_interval_ms}ms",
        "patience": f"{2 * timing.election_timeout_ms}ms",
        "snapshot_threshold": _NEVER,
        "trailing_logs": min(config.trailing_entries, _MOST_TRAILING_ENTRIES),
    }
    return [str(program), *(f"--{name}={value}" for name, value in options.items())]


class EngineProcess:
    """A child that nobody else waits for; ``ended`` has its exit code once it is gone.

    It inherits ``lock``: a data directory is in use until both halves of its node are gone.
    """

    def __init__(self, command: Sequence[str], lock: int, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[int] = loop.create_future()
        self._loop = loop
        try:
            # No shell, and a program of ours.
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(lock,)
            )
        except OSError as error:
            raise EngineError(f"{command[0]}: cannot be started: {error}") from error
        threading.Thread(target=self._watch, name="matchengine-engine", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def close(self) -> None:
        """Wait until it has ended; kill it when that takes too long."""
        done, _ = await asyncio.wait([self.ended], timeout=_STOP_S)
        if not done:
            self._process.kill()
            await self.ended

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def _watch(self) -> None:
        code = self._process.wait()
        try:
            self._loop.call_soon_threadsafe(self._note, code)
        except RuntimeError:
            return  # the loop is closed: nobody is left to hear of it

    def _note(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


def how_it_ended(code: int) -> str:
    """For an error's text."""
    return f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
