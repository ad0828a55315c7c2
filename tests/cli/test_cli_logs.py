"""The lines that a node's operator reads."""

from __future__ import annotations

import logging
import re

import pytest

from matchengine.cli.logs import log_to_stderr


@pytest.fixture
def root():
    """The root logger, with its level and handlers put back afterwards."""
    logger = logging.getLogger()
    level, handlers = logger.level, logger.handlers[:]
    logger.handlers[:] = []
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_line_has_its_time_with_zone_its_level_and_its_text(root, capsys):
    log_to_stderr("info")
    logging.getLogger("matchengine.x").warning("peer %s", "n2")
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 WARNING peer n2\n", line)


def test_lines_below_the_level_are_left_out(root, capsys):
    log_to_stderr("warning")
    logging.getLogger("matchengine.x").info("quiet")
    assert capsys.readouterr().err == ""
