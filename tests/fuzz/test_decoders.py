"""No bytes make a decoder do anything but take them or refuse them as documented.

``make fuzz`` looks further, led by the code that an input reaches.
"""

import logging
import tracemalloc
from random import Random

import pytest
from decoders import DECODERS
from found import FOUND
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import mutated

#: Far above what a seed's decoding takes, far below what a length field can ask for.
MEMORY_BYTES = 48 * 1024 * 1024
#: These go through files or decompress; each run costs a hundred times another one's.
SLOW = {"flash recording", "compressed recording", "lobster recording", "packed batch", "session entry"}


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Thousands of warnings about damage are nothing to keep."""
    caplog.set_level(logging.ERROR, "matchengine")


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_well_formed_is_taken(name):
    decoder = DECODERS[name]
    for seed in decoder.seeds:
        assert decoder.check(seed)
        assert decoder.repair(seed) == seed


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_is_refused(what):
    name, data = FOUND[what]
    assert DECODERS[name].check(data) is False


@pytest.mark.parametrize("name", DECODERS)
def test_changed_bytes_are_taken_or_refused(name):
    decoder = DECODERS[name]

    @settings(max_examples=60 if name in SLOW else 300, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64 - 1))
    def run(seed):
        decoder.check(mutated(decoder, Random(seed)))

    run()


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_are_taken_or_refused(name):
    decoder = DECODERS[name]

    @settings(max_examples=30 if name in SLOW else 100, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    @example(b"")
    def run(data):
        decoder.check(data)
        decoder.check(decoder.repair(data))

    run()


@pytest.mark.parametrize("name", DECODERS)
def test_no_length_field_gets_the_memory_that_it_asks_for(name):
    """Every field of four or eight bytes in turn is as large as it can be, and just below 4 GiB and 2 GiB."""
    decoder = DECODERS[name]
    step = 7 if name in SLOW else 2
    tracemalloc.start()
    try:
        for at in range(0, len(decoder.seeds[0]), step):
            for field in (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"):
                data = decoder.seeds[0][:at] + field + decoder.seeds[0][at + len(field) :]
                decoder.check(data)
                decoder.check(decoder.repair(data))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
