"""``peers.json``: the members that an operator forces upon nodes whose quorum is lost, in HashiCorp Raft's two forms.

The newer form is an array of objects with ``id``, ``address`` and, for a server without a vote, ``"non_voter": true``.
The older one is an array of addresses, of voters whose ids are their addresses.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from matchengine.raft.configuration import check_configuration
from matchengine.raft.types import Configuration, Server, Suffrage


class _Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    address: str
    non_voter: bool = False


def parse_peers(data: bytes) -> Configuration:
    """The configuration that a peers.json means; ValueError names what is wrong with it, and where.

    Stricter than HashiCorp Raft, which passes over unknown and repeated keys: a key with a slip of the pen
    would give a vote to a server that was to have none.
    """
    try:
        peers = msgspec.convert(json.loads(data, object_pairs_hook=_object), list[_Peer | str])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    forms = {type(peer) for peer in peers}
    if len(forms) > 1:
        raise ValueError("objects and plain addresses stand side by side; all must have one form")
    configuration = Configuration(tuple(map(_server, peers)))
    check_configuration(configuration)
    return configuration


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _server(peer: _Peer | str) -> Server:
    if isinstance(peer, str):
        return Server(peer, peer)
    return Server(peer.id, peer.address, Suffrage.NONVOTER if peer.non_voter else Suffrage.VOTER)
