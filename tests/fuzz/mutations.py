"""Changes to well-formed bytes that decoders tend to stumble over."""

from __future__ import annotations

from random import Random

from decoders import Decoder

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (
    b"\xff",
    b"\0",
    b"-",
    b"\n",
    b",",
    b"9" * 25,
    b"\xed\xa0\x80",
    b"[" * 2000,
    b"\x91" * 3000,
    b"\xdd\xff\xff\xff\xff",
)


def mutated(decoder: Decoder, chance: Random) -> bytes:
    """A seed after one to four changes; every other time with the checksums put right."""
    data = bytearray(chance.choice(decoder.seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(data, chance, decoder)
    return decoder.repair(bytes(data)) if chance.random() < 0.7 else bytes(data)


def _set_bit(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_number(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = chance.randrange(len(data) + 1)
    number = (chance.choice(_NUMBERS) + chance.choice((-1, 0, 0, 1))) % 2 ** (8 * size)
    data[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))


def _insert(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice((*_TEXTS, chance.randbytes(chance.randrange(1, 9))))


def _remove(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.choice((1, 2, 4, 8, 50))]


def _cut(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _repeat(data: bytearray, chance: Random, _decoder: Decoder) -> None:
    at, size = chance.randrange(len(data) + 1), chance.choice((1, 4, 8, 48, 200))
    data[at:at] = data[at : at + size]


def _splice(data: bytearray, chance: Random, decoder: Decoder) -> None:
    other = chance.choice(decoder.seeds)
    at = chance.randrange(len(data) + 1)
    data[at:] = other[chance.randrange(len(other) + 1) :]


_CHANGES = (_set_bit, _set_number, _set_number, _insert, _remove, _cut, _repeat, _splice)
