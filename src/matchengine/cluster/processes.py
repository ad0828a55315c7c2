"""One node as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

from matchengine.errors import MatchEngineError
from matchengine.runtime.config import EngineName

_TAIL_BYTES: Final = 2000

#: Below those that the system gives to outgoing connections, which could take a port before its node does.
_PORTS: Final = range(10_000, 32_000)
#: Processes that run side by side begin far from each other.
_position = count(os.getpid() * 997)


class ClusterError(MatchEngineError):
    """The nodes could not be run, or made no progress; the text ends with their last words."""


class Process:
    """One command with its log; it can be killed and started again.  Its standard input is a pipe that says nothing."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.id = name
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process, or 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    def family(self) -> list[int]:
        """The numbers of the process and of those that it has started."""
        everyone = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [self.pid, *(pid for pid in everyone if process_stat(pid, 1) == self.pid)]

    @property
    def exit_code(self) -> int | None:
        """How the process ended (-9: SIGKILL), or None."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start the process; it does not get the terminal's Ctrl-C, which is for whoever started it.

        A node stops by itself when the pipe to it breaks, as it does when this process is killed.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()

    def freeze(self) -> None:
        """SIGSTOP: the process does nothing more until it is thawed or killed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: the process goes on as if no time had passed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of the process's log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
        return ""


class NodeProcess(Process):
    """``matchengine node`` with a fixed id, address, engine and data directory."""

    def __init__(
        self,
        node_id: str,
        address: str,
        folder: Path,
        *,
        bootstrap: bool,
        engine: EngineName = "matchengine",
        profile: str = "",
    ) -> None:
        command = node_command(node_id, address, folder / node_id, bootstrap=bootstrap, engine=engine, profile=profile)
        super().__init__(node_id, command, folder / f"{node_id}.log")
        self.address = address
        self.engine = engine


def node_command(
    node_id: str,
    address: str,
    data_dir: Path,
    *,
    bootstrap: bool,
    engine: EngineName = "matchengine",
    profile: str = "",
) -> list[str]:
    """The command line of one node that ends with the program that starts it; no ``profile``: the engine's own."""
    command = [sys.executable, "-m", "matchengine.cli.main", "node"]
    command += ["--id", node_id, "--address", address, "--data-dir", str(data_dir), "--until-eof", "--engine", engine]
    command += ["--profile", profile] if profile else []
    return [*command, "--bootstrap"] if bootstrap else command


def process_stat(pid: int, field: int) -> int:
    """A field of the process's stat, counted from behind its name (1: its parent); 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field])
    except OSError:
        return 0


def _environment() -> dict[str, str]:
    """This process's, with the package importable as it is here."""
    package = Path(__file__).resolve().parent.parent.parent
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}


def free_addresses(number: int) -> list[str]:
    """Loopback addresses whose ports are free now, each given out once by this process."""
    found: list[str] = []
    for _ in _PORTS:
        if len(found) == number:
            return found
        port = _PORTS[next(_position) % len(_PORTS)]
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(f"127.0.0.1:{port}")
    raise ClusterError(f"fewer than {number} of the ports from {_PORTS[0]} to {_PORTS[-1]} are free")
