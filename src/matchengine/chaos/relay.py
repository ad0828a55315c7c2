"""Delay and loss where the kernel has no netem: a host on the bridge that passes frames on, late or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from collections.abc import Mapping
from random import Random
from typing import Final, TypeAlias

#: Delay and jitter in milliseconds, share of frames lost.
Rule: TypeAlias = tuple[float, float, float]

DEVICE: Final = "mech-relay"
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI: Final = 0x0002 | 0x1000
_FRAME_BYTES: Final = 65536
_FRAMES_AT_ONCE: Final = 64
_MOST_WAITING: Final = 20_000
_IPV4: Final = b"\x08\x00"


class Relay:
    """Reads the frames that are sent to it, and sends each to the hardware address of its IP destination."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._rules: dict[bytes, Rule] = {}
        self._hosts: dict[bytes, bytes] = {}
        self._mac = b""
        self._device = -1
        self._waiting = 0

    def open(self, hosts: Mapping[str, str], mac: str) -> str:
        """Make the device, serving it on the running event loop; ``hosts`` are hardware addresses by IP.  Its name."""
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TAP_NO_PI))
        self._serve(device, hosts, mac)
        return DEVICE

    def _serve(self, device: int, hosts: Mapping[str, str], mac: str) -> None:
        self._device = device
        self._hosts = {_packed_ip(ip): _packed_mac(each) for ip, each in hosts.items()}
        self._mac = _packed_mac(mac)
        asyncio.get_running_loop().add_reader(device, self._readable)

    def close(self) -> None:
        """Take the device away."""
        if self._device >= 0:
            asyncio.get_running_loop().remove_reader(self._device)
            os.close(self._device)
            self._device = -1

    def shape(self, ip: str, rule: Rule | None) -> None:
        """What happens to frames that come from ``ip``; None: they are passed on at once."""
        if rule is None:
            self._rules.pop(_packed_ip(ip), None)
        else:
            self._rules[_packed_ip(ip)] = rule

    def _readable(self) -> None:
        for _ in range(_FRAMES_AT_ONCE):
            try:
                self._take(os.read(self._device, _FRAME_BYTES))
            except BlockingIOError:
                return

    def _take(self, frame: bytes) -> None:
        if frame[:6] != self._mac or frame[12:14] != _IPV4:
            return  # flooded by the bridge
        target = self._hosts.get(frame[30:34])
        if target is None:
            return
        delay_ms, jitter_ms, loss = self._rules.get(frame[26:30], (0.0, 0.0, 0.0))
        if self._chance.random() < loss or self._waiting >= _MOST_WAITING:
            return
        # From the relay's own address: the bridge would otherwise learn that the sender lives here.
        passed_on = target + self._mac + frame[12:]
        late_s = max(0.0, delay_ms + self._chance.uniform(-jitter_ms, jitter_ms)) / 1000
        self._waiting += 1
        asyncio.get_running_loop().call_later(late_s, self._send, passed_on)

    def _send(self, frame: bytes) -> None:
        self._waiting -= 1
        if self._device >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._device, frame)


def _packed_ip(ip: str) -> bytes:
    return bytes(map(int, ip.split(".")))


def _packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
