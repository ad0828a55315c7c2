"""Why an address cannot be bound, and what its operator can do about it."""

from __future__ import annotations

import errno
import socket
from typing import Final

_REASONS: Final = {
    errno.EADDRINUSE: "the port is in use",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.EACCES: "the port is reserved for privileged processes",
}


def bind_failure(field: str, address: str) -> str:
    """The text of the error for ``address``, host:port, which was given as ``field``; blocks to look up a name."""
    reason, is_elsewhere = _reason(address)
    port = address.rpartition(":")[2]
    if is_elsewhere:
        remedy = (
            f"let it listen on an address of this machine, such as 0.0.0.0:{port} (option --listen), "
            "and keep in address what others reach it by"
        )
    else:
        remedy = "end the process that has it, or choose another port"
    return f"{field}: cannot bind {address}: {reason}; {remedy}"


def _reason(address: str) -> tuple[str, bool]:
    """What keeps it from being bound, and whether the address itself is to blame, not its port."""
    host, _, port = address.rpartition(":")
    try:
        places = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return f"the name {host!r} is not known here ({error.strerror or error})", True
    for family, kind, protocol, _, place in places:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            return reason, error.errno == errno.EADDRNOTAVAIL
    return "the port was in use a moment ago", False
