"""The members that an operator forces: HashiCorp's two forms of the file, and every slip of the pen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchengine.raft.peers_json import parse_peers
from matchengine.raft.types import Configuration, Server, Suffrage

A = {"id": "a", "address": "h:1"}
B = {"id": "b", "address": "h:2", "non_voter": True}


def test_the_newer_form() -> None:
    """A server votes unless it says that it does not."""
    voter = Server("c", "h:3")
    expected = Configuration((Server("a", "h:1"), Server("b", "h:2", Suffrage.NONVOTER), voter))
    peers = [A, B, {"id": "c", "address": "h:3", "non_voter": False}]
    assert parse_peers(json.dumps(peers, indent=2).encode()) == expected


def test_the_older_form() -> None:
    """Addresses alone: all vote, and have their addresses as ids."""
    assert parse_peers(b'["h:1", "h:2"]') == Configuration((Server("h:1", "h:1"), Server("h:2", "h:2")))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "Expecting value"),
        ("[", "Expecting value"),
        ('[{"id": "a", "address": "h:1"},]', "line 1 column"),
        ('["h:1"] ["h:2"]', "Extra data"),
        ("\xff", "codec can't decode"),
        ("[" * 100_000, "nested too deeply"),
        ("null", "Expected `array`, got `null`"),
        ('{"id": "a"}', "Expected `array`, got `object`"),
        ("[1]", r"Expected `str \| object`, got `int` - at `\$\[0\]`"),
        ('[{"id": "a"}]', r"missing required field `address` - at `\$\[0\]`"),
        ('[{"address": "h:1"}]', r"missing required field `id` - at `\$\[0\]`"),
        ('[{"id": 7, "address": "h:1"}]', r"Expected `str`, got `int` - at `\$\[0\].id`"),
        ('[{"id": "a", "address": "h:1", "non_voter": "yes"}]', r"Expected `bool`, got `str` - at `\$\[0\].non_voter`"),
        ('[{"id": "a", "address": "h:1", "nonvoter": true}]', r"unknown field `nonvoter` - at `\$\[0\]`"),
        ('[{"ID": "a", "address": "h:1"}]', r"unknown field `ID`|missing required field `id`"),
        ('[{"id": "a", "address": "h:1", "id": "b"}]', "key 'id' stands twice"),
        ('["h:1", {"id": "a", "address": "h:2"}]', "side by side"),
        ('[{"id": "a", "address": "h:1"}, {"id": "a", "address": "h:2"}]', "duplicate ID in configuration: a"),
        ('[{"id": "a", "address": "h:1"}, {"id": "b", "address": "h:1"}]', "duplicate address in configuration: h:1"),
        ('["h:1", "h:1"]', "duplicate ID in configuration: h:1"),
        ('[{"id": "", "address": "h:1"}]', "empty ID"),
        ('[{"id": "a", "address": ""}]', "empty address"),
        ("[]", "at least one voter"),
        ('[{"id": "a", "address": "h:1", "non_voter": true}]', "at least one voter"),
    ],
)
def test_slips_are_named(text: str, error: str) -> None:
    """Nothing is passed over, and the text says where it stands."""
    with pytest.raises(ValueError, match=error):
        parse_peers(text.encode("latin-1"))


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_anything_else_is_a_value_error(data: bytes | str) -> None:
    """No other exception, whatever the bytes are."""
    try:
        parse_peers(data if isinstance(data, bytes) else data.encode())
    except ValueError:
        return
