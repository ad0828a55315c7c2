"""HashiCorp's bytes for a configuration, and the rules for changing one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matchengine.raft.configuration import (
    MAX_ENCODED_BYTES,
    changed,
    check_configuration,
    decode_configuration,
    encode_configuration,
    encode_peers,
)
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Configuration, Server, Suffrage

TWO = Configuration((Server("nodeA", "127.0.0.1:50051"), Server("nodeB", "127.0.0.1:50052", Suffrage.NONVOTER)))
LONG = Configuration((Server("x" * 40, "h:1", Suffrage.STAGING),))
EMPTY = Configuration()

SERVERS_OF_TWO = (
    "81a75365727665727392"
    "83a741646472657373af3132372e302e302e313a3530303531a24944a56e6f646541a8537566667261676500"
    "83a741646472657373af3132372e302e302e313a3530303532a24944a56e6f646542a8537566667261676501"
)
GOLDEN = {
    "two": (
        TWO,
        SERVERS_OF_TWO,
    ),
    "long": (
        LONG,
        "81a7536572766572739183a741646472657373a3683a31a24944da0028" + "78" * 40 + "a8537566667261676502",
    ),
    "empty": (EMPTY, "81a753657276657273c0"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    """Byte for byte what go-msgpack writes, and back."""
    configuration, data = GOLDEN[name]
    assert encode_configuration(configuration).hex() == data
    assert decode_configuration(bytes.fromhex(data)) == configuration


@pytest.mark.parametrize(
    ("configuration", "data"),
    [
        (
            Configuration((*TWO.servers[:1], Server("nodeB", "127.0.0.1:50052"))),
            "92af3132372e302e302e313a3530303531af3132372e302e302e313a3530303532",
        ),
        (TWO, "91af3132372e302e302e313a3530303531"),
        (EMPTY, "c0"),
    ],
    ids=["two voters", "a voter and a non-voter", "empty"],
)
def test_the_peers_of_old_versions_are_the_voters_addresses(configuration: Configuration, data: str) -> None:
    assert encode_peers(configuration).hex() == data


NAMES = st.text(min_size=1, max_size=50)
SERVERS = st.builds(Server, NAMES, NAMES, st.sampled_from(Suffrage))


@settings(max_examples=30, deadline=None)
@given(st.lists(SERVERS, max_size=20).map(tuple))
def test_round_trip(servers: tuple[Server, ...]) -> None:
    """Any members survive, more than 15 and long names included."""
    configuration = Configuration(servers)
    assert decode_configuration(encode_configuration(configuration)) == configuration


@given(st.binary(max_size=80))
def test_arbitrary_bytes_never_do_more_than_fail(data: bytes) -> None:
    """The only exception is ValueError."""
    try:
        decode_configuration(data)
    except ValueError:
        return


@given(st.data())
def test_every_truncation_is_an_error(data: st.DataObject) -> None:
    """No prefix passes for the whole."""
    whole = encode_configuration(TWO)
    with pytest.raises(ValueError, match="configuration"):
        decode_configuration(whole[: data.draw(st.integers(0, len(whole) - 1))])


def _map(*pairs: bytes) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(pairs)


def _servers(*servers: bytes) -> bytes:
    return _map(b"\xa7Servers" + bytes([0x90 | len(servers)]) + b"".join(servers))


ID, ADDRESS, SUFFRAGE = b"\xa2ID\xa1a", b"\xa7Address\xa1h", b"\xa8Suffrage\x01"
ONE = Configuration((Server("a", "h", Suffrage.NONVOTER),))


@pytest.mark.parametrize(
    "data",
    [
        _servers(_map(SUFFRAGE, ID, ADDRESS)),
        _servers(_map(b"\xa2ID\xd9\x01a", b"\xd9\x07Address\xd9\x01h", SUFFRAGE)),
        _servers(_map(b"\xa2ID\xc4\x01a", b"\xa7Address\xc4\x01h", SUFFRAGE)),
        _servers(_map(b"\xa2ID\xda\x00\x01a", b"\xa7Address\xdb\x00\x00\x00\x01h", SUFFRAGE)),
        _servers(_map(ID, ADDRESS, b"\xa8Suffrage\xcc\x01")),
        _servers(_map(ID, ADDRESS, b"\xa8Suffrage\xd3\x00\x00\x00\x00\x00\x00\x00\x01")),
        _servers(_map(ID, ADDRESS, SUFFRAGE, b"\xa3New\x82\xa1a\x93\x01\xff\xc0\xa1b\xcb12345678")),
        _map(b"\xa3New\xc2", _servers(_map(ID, ADDRESS, SUFFRAGE))[1:]),
        b"\xde\x00\x01\xa7Servers\xdc\x00\x01" + _map(ID, ADDRESS, SUFFRAGE),
        b"\xdf\x00\x00\x00\x01\xa7Servers\xdd\x00\x00\x00\x01" + _map(ID, ADDRESS, SUFFRAGE),
    ],
)
def test_other_spellings_are_read(data: bytes) -> None:
    """Key order, string families, integer widths and unknown keys make no difference."""
    assert decode_configuration(data) == ONE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "truncated"),
        (b"\xc0", "expected a map"),
        (b"\x80", "'Servers' is missing"),
        (_map(b"\xa7servers\xc0"), "'Servers' is missing"),
        (_servers(_map(b"\xa2id\xa1a", ADDRESS, SUFFRAGE)), "'ID' is missing"),
        (_servers(_map(ID, ADDRESS, b"\xa8suffrage\x01")), "'Suffrage' is missing"),
        (_servers(_map(ID, ID, ADDRESS, SUFFRAGE)), "appears twice"),
        (_servers(_map(b"\xa2ID\xc0", ADDRESS, SUFFRAGE)), "expected a string"),
        (_servers(_map(b"\xa2ID\xa1\xff", ADDRESS, SUFFRAGE)), "not UTF-8"),
        (_servers(_map(ID, ADDRESS, b"\xa8Suffrage\x03")), "suffrage 3 is unknown"),
        (_servers(_map(ID, ADDRESS, b"\xa8Suffrage\xa1a")), "expected an integer"),
        (_servers(_map(ID, ADDRESS, SUFFRAGE)) + b"\x00", "1 bytes follow"),
        (_servers(_map(ID, ADDRESS, SUFFRAGE, b"\xa3New" + b"\x91" * 20 + b"\x01")), "nested deeper"),
        (_servers(_map(ID, ADDRESS, SUFFRAGE, b"\xa3New\xdd\xff\xff\xff\xff")), "truncated"),
        (_servers(_map(ID, ADDRESS, SUFFRAGE, b"\xa3New\xc1")), "starts nothing known"),
        (b"\x81\xa7Servers\xdd\xff\xff\xff\xff", "more than 1024"),
        (b"\x81" * (MAX_ENCODED_BYTES + 1), "bytes are more than"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, text: str) -> None:
    """Above all, nothing decodes to an empty membership by mistake."""
    with pytest.raises(ValueError, match=text):
        decode_configuration(data)


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        ((), "at least one voter"),
        ((Server("a", "h", Suffrage.NONVOTER),), "at least one voter"),
        ((Server("", "h"),), "empty ID"),
        ((Server("a", ""),), "empty address"),
        ((Server("a", "h"), Server("a", "i")), "duplicate ID"),
        ((Server("a", "h"), Server("b", "h")), "duplicate address"),
        ((Server("a" * 65536, "h"),), "longer than 65535"),
    ],
)
def test_validity_rules(servers: tuple[Server, ...], text: str) -> None:
    """What a leader checks before it appends a configuration."""
    with pytest.raises(ValueError, match=text):
        check_configuration(Configuration(servers))


A, B, B_SILENT = Server("a", "ha"), Server("b", "hb"), Server("b", "hb", Suffrage.NONVOTER)


@pytest.mark.parametrize(
    ("before", "kind", "server", "after"),
    [
        ((A,), ChangeKind.ADD_VOTER, ("b", "hb"), (A, B)),
        ((A, B), ChangeKind.ADD_VOTER, ("b", "new"), (A, Server("b", "new"))),
        ((A, B_SILENT), ChangeKind.ADD_VOTER, ("b", "new"), (A, Server("b", "new"))),
        ((A,), ChangeKind.ADD_NONVOTER, ("b", "hb"), (A, B_SILENT)),
        ((A, B_SILENT), ChangeKind.ADD_NONVOTER, ("b", "new"), (A, Server("b", "new", Suffrage.NONVOTER))),
        ((A, B), ChangeKind.ADD_NONVOTER, ("b", "new"), (A, Server("b", "new"))),
        ((A, B), ChangeKind.DEMOTE_VOTER, ("b", ""), (A, B_SILENT)),
        ((A,), ChangeKind.DEMOTE_VOTER, ("b", ""), (A,)),
        ((A, B), ChangeKind.REMOVE_SERVER, ("b", ""), (A,)),
        ((A,), ChangeKind.REMOVE_SERVER, ("b", ""), (A,)),
    ],
)
def test_changes(
    before: tuple[Server, ...], kind: ChangeKind, server: tuple[str, str], after: tuple[Server, ...]
) -> None:
    """HashiCorp's table of one-server changes."""
    assert changed(Configuration(before), ChangeMembership(kind, *server)).servers == after


def test_the_last_voter_stays() -> None:
    """A change that leaves no voter is refused."""
    with pytest.raises(ValueError, match="at least one voter"):
        changed(Configuration((A,)), ChangeMembership(ChangeKind.DEMOTE_VOTER, "a"))
