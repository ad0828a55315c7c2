"""Who sent a request.

HashiCorp Raft announces its id in every header since 1.3.7.  Older servers tell their address only, in the field
``leader`` or ``candidate`` of the request; their TimeoutNow tells nothing at all.
"""

from __future__ import annotations

from typing import Final

import msgspec

from matchengine.raft.core import Core
from matchengine.raft.messages import Received
from matchengine.raft.types import ServerId

#: No id that a peer announces contains it.
_NO_ID: Final = "\0"


def identified(core: Core, received: Received) -> Received:
    """The same call with its sender's id, where only the address was announced.

    A leader that has removed itself is a member no more, and still known.  Any other server that is no member goes by
    its address: a follower that was never told its cluster has no configuration to look into.
    """
    address = received.sender_address
    if received.sender or not address:
        return received
    leader = core.leader_id if core.leader_address == address else ""
    sender = core.membership.at(address) or leader or address
    return msgspec.structs.replace(received, sender=sender, is_nameless=True)


def ballot_name(received: Received) -> ServerId:
    """The name under which a vote for the sender is kept.

    An address that took the place of an unknown id must not pass for the id of another server, which could then be
    given the vote of the same term again.
    """
    if received.is_nameless and received.sender == received.sender_address:
        return _NO_ID + received.sender
    return received.sender


def may_hand_over(core: Core, received: Received) -> bool:
    """Whether a TimeoutNow comes from the server that leads the current term, or led it and was forgotten since.

    Without a name it is taken for the leader's if that leader announces no id either.
    """
    if not core.leader_of_term:
        return False
    return received.sender == core.leader_of_term or (not received.sender and core.leader_is_nameless)
