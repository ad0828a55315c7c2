"""Programs of format version 1: today's with the log's writer of that time."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from matchengine.storage import frames
from matchengine.testing.simulator.version_1 import VERSION, encode_frame


def write_version_1(patch: pytest.MonkeyPatch) -> None:
    """The log writes and reads files of version 1 only."""
    patch.setattr(frames, "FORMAT_VERSION", VERSION)
    patch.setattr(frames, "encode_frame", encode_frame)


@contextmanager
def version_1() -> Iterator[None]:
    """A program of that time."""
    with pytest.MonkeyPatch.context() as patch:
        write_version_1(patch)
        yield
