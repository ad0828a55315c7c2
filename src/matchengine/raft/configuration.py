"""The cluster's membership: HashiCorp's bytes for it, and the rules for changing it.

The bytes are msgpack as go-msgpack writes it: a map with the one key ``Servers``, an array of
maps whose keys stand in alphabetical order, strings in the old raw family only (there is no
``str8``).  A reader that meets wrong key case silently gets an empty cluster in Go; here every
deviation that could lose a member is an error instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import MAX_ENTRY_BYTES, Configuration, Server, ServerId, Suffrage

#: Bounds on what is decoded: bytes of the whole, members, and nesting of keys that we do not know.
MAX_ENCODED_BYTES = 1024 * 1024
MAX_SERVERS = 1024
#: What the old raw family can write again.
MAX_TEXT_BYTES = 0xFFFF
_MAX_DEPTH = 8


# --- encoding -----------------------------------------------------------------------------


def encode_configuration(configuration: Configuration) -> bytes:
    """The bytes that HashiCorp Raft writes for this configuration, exactly."""
    out = bytearray(b"\x81")
    _put_raw(out, b"Servers")
    if not configuration.servers:
        out.append(0xC0)
        return bytes(out)
    _put_head(out, len(configuration.servers), 0x90, 0xDC)
    for server in configuration.servers:
        out.append(0x83)
        _put_raw(out, b"Address")
        _put_raw(out, server.address.encode())
        _put_raw(out, b"ID")
        _put_raw(out, server.id.encode())
        _put_raw(out, b"Suffrage")
        out.append(server.suffrage)
    return bytes(out)


def encode_peers(configuration: Configuration) -> bytes:
    """The addresses of the voters, in the bytes that HashiCorp Raft had for a membership before its protocol 2.

    Version 1.1.2 over the gRPC transport of its day reads nothing else of a snapshot, and dies of nothing at all.
    """
    addresses = [server.address.encode() for server in configuration.servers if server.suffrage is Suffrage.VOTER]
    if not addresses:
        return b"\xc0"
    out = bytearray()
    _put_head(out, len(addresses), 0x90, 0xDC)
    for address in addresses:
        _put_raw(out, address)
    return bytes(out)


def _put_head(out: bytearray, length: int, fix: int, wide: int) -> None:
    if length < 16:
        out.append(fix | length)
    else:
        out.append(wide)
        out += length.to_bytes(2, "big")


def _put_raw(out: bytearray, data: bytes) -> None:
    if len(data) < 32:
        out.append(0xA0 | len(data))
    else:
        out.append(0xDA)
        out += len(data).to_bytes(2, "big")
    out += data


# --- decoding -----------------------------------------------------------------------------


def decode_configuration(data: bytes) -> Configuration:
    """Read a configuration; ValueError for anything malformed, missing or out of bounds.

    Accepts raw, str and bin strings, nil for no servers, any key order and unknown keys.
    """
    if len(data) > MAX_ENCODED_BYTES:
        raise ValueError(f"configuration: {len(data)} bytes are more than {MAX_ENCODED_BYTES}")
    reader = _Reader(data)
    fields = reader.struct({"Servers": reader.servers})
    if reader.at != len(data):
        raise ValueError(f"configuration: {len(data) - reader.at} bytes follow the value")
    return Configuration(fields["Servers"])


# Length bytes that follow the lead byte of each msgpack family.
_RAW_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY_WIDTHS = {0xDC: 2, 0xDD: 4}
_MAP_WIDTHS = {0xDE: 2, 0xDF: 4}
_UINT_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_INT_WIDTHS = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SKIPPED_WIDTHS = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, **_UINT_WIDTHS, **_INT_WIDTHS}


class _Reader:
    """A cursor over msgpack bytes; every method raises ValueError for what it cannot read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def servers(self) -> tuple[Server, ...]:
        if self._peek() == 0xC0:
            self.at += 1
            return ()
        count = self._length(0x90, 0x0F, _ARRAY_WIDTHS, "array")
        if count > MAX_SERVERS:
            raise ValueError(f"configuration: {count} servers are more than {MAX_SERVERS}")
        return tuple(self._server() for _ in range(count))

    def _server(self) -> Server:
        fields = self.struct({"Address": self._text, "ID": self._text, "Suffrage": self._integer})
        try:
            suffrage = Suffrage(fields["Suffrage"])
        except ValueError:
            raise ValueError(f"configuration: suffrage {fields['Suffrage']} is unknown") from None
        return Server(fields["ID"], fields["Address"], suffrage)

    def struct(self, readers: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """A map in which every key of ``readers`` stands exactly once; other keys are skipped."""
        values: dict[str, Any] = {}
        for _ in range(self._length(0x80, 0x0F, _MAP_WIDTHS, "map")):
            key = self._text()
            if key in values:
                raise ValueError(f"configuration: key {key!r} appears twice")
            if key in readers:
                values[key] = readers[key]()
            else:
                self._skip(0)
        for key in readers:
            if key not in values:
                raise ValueError(f"configuration: key {key!r} is missing")
        return values

    def _text(self) -> str:
        length = self._length(0xA0, 0x1F, _RAW_WIDTHS, "string")
        if length > MAX_TEXT_BYTES:
            raise ValueError(f"configuration: a string of {length} bytes is longer than {MAX_TEXT_BYTES}")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise ValueError("configuration: a string is not UTF-8") from None

    def _integer(self) -> int:
        lead = self._take(1)[0]
        if lead < 0x80:
            return lead
        if lead in _UINT_WIDTHS:
            return int.from_bytes(self._take(_UINT_WIDTHS[lead]), "big")
        if lead in _INT_WIDTHS:
            return int.from_bytes(self._take(_INT_WIDTHS[lead]), "big", signed=True)
        raise ValueError(f"configuration: expected an integer, found byte {lead:#04x}")

    def _skip(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError(f"configuration: nested deeper than {_MAX_DEPTH}")
        lead = self._peek()
        if 0x80 <= lead <= 0x8F or lead in _MAP_WIDTHS:
            self._skip_many(2 * self._length(0x80, 0x0F, _MAP_WIDTHS, "map"), depth)
        elif 0x90 <= lead <= 0x9F or lead in _ARRAY_WIDTHS:
            self._skip_many(self._length(0x90, 0x0F, _ARRAY_WIDTHS, "array"), depth)
        elif 0xA0 <= lead <= 0xBF or lead in _RAW_WIDTHS:
            self._take(self._length(0xA0, 0x1F, _RAW_WIDTHS, "string"))
        elif lead < 0x80 or lead >= 0xE0:
            self.at += 1
        elif lead in _SKIPPED_WIDTHS:
            self._take(1 + _SKIPPED_WIDTHS[lead])
        else:
            raise ValueError(f"configuration: byte {lead:#04x} starts nothing known")

    def _skip_many(self, count: int, depth: int) -> None:
        if count > len(self.data) - self.at:
            raise ValueError("configuration: truncated")
        for _ in range(count):
            self._skip(depth + 1)

    def _length(self, fix: int, mask: int, widths: dict[int, int], what: str) -> int:
        lead = self._take(1)[0]
        if lead & ~mask == fix:
            return lead & mask
        if lead in widths:
            return int.from_bytes(self._take(widths[lead]), "big")
        raise ValueError(f"configuration: expected a {what}, found byte {lead:#04x}")

    def _peek(self) -> int:
        if self.at >= len(self.data):
            raise ValueError("configuration: truncated")
        return self.data[self.at]

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise ValueError("configuration: truncated")
        taken = self.data[self.at : end]
        self.at = end
        return taken


# --- changes ------------------------------------------------------------------------------


def check_configuration(configuration: Configuration) -> None:
    """ValueError unless the members are sound (see :func:`check_members`) and every server can read the whole."""
    if len(configuration.servers) > MAX_SERVERS:
        raise ValueError(f"{len(configuration.servers)} servers in configuration are more than {MAX_SERVERS}")
    check_members(configuration)
    size = len(encode_configuration(configuration))
    if size > MAX_ENTRY_BYTES:
        raise ValueError(f"configuration of {size} bytes is larger than an entry may be, {MAX_ENTRY_BYTES}")


def check_members(configuration: Configuration) -> None:
    """ValueError unless ids and addresses are present, unique and short enough, and somebody votes."""
    ids: set[str] = set()
    addresses: set[str] = set()
    for server in configuration.servers:
        _check_name("ID", server.id, ids)
        _check_name("address", server.address, addresses)
    if not configuration.voters():
        raise ValueError("need at least one voter in configuration")


def _check_name(what: str, name: str, seen: set[str]) -> None:
    if not name:
        raise ValueError(f"empty {what} in configuration")
    if len(name.encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"{what} in configuration is longer than {MAX_TEXT_BYTES} bytes")
    if name in seen:
        raise ValueError(f"found duplicate {what} in configuration: {name}")
    seen.add(name)


def changed(configuration: Configuration, change: ChangeMembership) -> Configuration:
    """The configuration after one change; ValueError when it would break a rule.

    Demoting or removing an absent server changes nothing, like in HashiCorp Raft.
    """
    match change.kind:
        case ChangeKind.ADD_VOTER:
            servers = _put(configuration, Server(change.server_id, change.address))
        case ChangeKind.ADD_NONVOTER:
            servers = _put(configuration, _nonvoter(configuration, change))
        case ChangeKind.DEMOTE_VOTER:
            servers = tuple(_demoted(s) if s.id == change.server_id else s for s in configuration.servers)
        case ChangeKind.REMOVE_SERVER:
            servers = _without(configuration, change.server_id)
    result = Configuration(servers)
    check_configuration(result)
    return result


def _nonvoter(configuration: Configuration, change: ChangeMembership) -> Server:
    """A voter that is added as a non-voter keeps its vote; only its address is new."""
    present = configuration.get(change.server_id)
    suffrage = Suffrage.NONVOTER if present is None else present.suffrage
    return Server(change.server_id, change.address, suffrage)


def _put(configuration: Configuration, server: Server) -> tuple[Server, ...]:
    if configuration.get(server.id) is None:
        return (*configuration.servers, server)
    return tuple(server if s.id == server.id else s for s in configuration.servers)


def _demoted(server: Server) -> Server:
    return Server(server.id, server.address, Suffrage.NONVOTER)


def _without(configuration: Configuration, server_id: ServerId) -> tuple[Server, ...]:
    return tuple(s for s in configuration.servers if s.id != server_id)
