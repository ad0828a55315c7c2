"""One gRPC channel per node, tuned so that a node that comes back is noticed within milliseconds."""

from __future__ import annotations

from typing import Final

import grpc

from matchengine.answers import MAX_MESSAGE_BYTES

_MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    # What an attempt to connect may take: a busy or distant node needs more than a pause between attempts.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 200),
    # A name that has moved to another address is looked up again this often, not every 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Nodes from before slices send the answer to a sweep through a large book in one message.
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_REQUEST_BYTES),
    # Answers are larger than the default of 64 KiB.
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
    # Channels to one address otherwise share one connection, and with it one back-off.
    ("grpc.use_local_subchannel_pool", 1),
)


class Channels:
    """Opens a channel at the first use of an address and keeps it."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    def get(self, address: str) -> grpc.aio.Channel:
        """The channel to ``address``."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return channel

    async def close(self) -> None:
        """Close all of them."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
