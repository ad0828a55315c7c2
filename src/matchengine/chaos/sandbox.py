"""A world of its own: private processes, mounts and networks, which the kernel clears away with the first process.

Whatever happens to the program inside, a SIGKILL included, nothing of it outlives it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final

_UNSHARE: Final = (
    *("unshare", "--mount", "--propagation", "private", "--net"),
    *("--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--"),
)
_TOOLS: Final = ("unshare", "ip", "bridge", "mount")
_PROBE: Final = (
    "ip link add mech-a type veth peer name mech-b && ip link add mech-c type bridge"
    " && ip tuntap add mode tap name mech-d && mount -t tmpfs none /run"
)
_PROBE_S: Final = 20.0
#: After the first SIGTERM the program inside has this long to tell what it saw.
_GRACE_S: Final = 30.0


def what_is_missing() -> str:
    """Why no such world can be made here, or ``""``."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: iproute2, util-linux)"
    probe = subprocess.run(
        [*_UNSHARE, "sh", "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S, check=False
    )
    if probe.returncode:
        return f"no namespaces, veth pairs, bridges or TAP devices here: {probe.stderr.strip()[:200]}"
    return ""


def run_inside(command: Sequence[str]) -> int:
    """Run ``command`` in a new world until it ends; its exit code.  SIGINT and SIGTERM are passed on to it.

    Its standard input is a pipe that breaks when this process ends.
    """
    process = subprocess.Popen([*_UNSHARE, *command], stdin=subprocess.PIPE, start_new_session=True)
    with _passing_on(process):
        return process.wait()


@contextlib.contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    stops = 0

    def pass_on(number: int, _frame: object) -> None:
        # unshare itself ignores SIGTERM while it waits, so the group's only hearer is the program inside.
        nonlocal stops
        stops += 1
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM if stops == 1 else signal.SIGKILL)
        if stops == 1:
            signal.alarm(int(_GRACE_S))
        del number

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, pass_on) for number in handled}
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()
