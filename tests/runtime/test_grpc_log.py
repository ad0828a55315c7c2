"""What gRPC may put into a node's log."""

from __future__ import annotations

import logging

import pytest
from grpc._cython.cygrpc import ExecuteBatchError

from matchengine.runtime.grpc_log import quiet_grpc

GRPC = logging.getLogger("grpc._cython.cygrpc")


def log_as_grpc_does(error: Exception) -> None:
    try:
        raise error
    except (ExecuteBatchError, ValueError):
        GRPC.exception("%s raised in core by servicer method [/RaftTransport/AppendEntries]", type(error).__name__)


def test_an_answer_to_a_caller_that_has_gone_leaves_no_error(caplog: pytest.LogCaptureFixture) -> None:
    quiet_grpc()
    quiet_grpc()
    with caplog.at_level(logging.DEBUG):
        log_as_grpc_does(ExecuteBatchError("SendMessageOperation"))
    assert [(r.levelname, r.exc_info) for r in caplog.records] == [("DEBUG", None)]
    assert "AppendEntries" in caplog.text


def test_any_other_error_stays(caplog: pytest.LogCaptureFixture) -> None:
    quiet_grpc()
    log_as_grpc_does(ValueError("a fault of ours"))
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "a fault of ours" in caplog.text
