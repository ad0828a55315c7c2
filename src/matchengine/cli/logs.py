"""The log of a node process: one line an event on stderr, with time, zone, level and text."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime


class _Lines(logging.Formatter):
    """ISO 8601 times in UTC with milliseconds, so that the logs of several machines can be merged."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the name in logging
        del datefmt
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def log_to_stderr(level: str) -> None:
    """Write what this process logs from ``level`` on; ``level`` is a name of :mod:`logging` in lower case."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
