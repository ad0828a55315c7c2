"""The bytes of every message, and what is refused before the core sees it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from matchengine.raft.types import Configuration, Entry, EntryType, Server, SnapshotMeta
from matchengine.transport import wire
from matchengine.transport.wire import WireError
from matchengine.wire import raft_transport_pb2 as pb

HEADER = wire.make_header("n1", "h:1")
#: protocol version 3, id, address.
HEADER_BYTES = bytes.fromhex("0a0b 0803 1202 6e31 1a03 683a31")
GO_ZERO_TIME = -62_135_596_800 * 1_000_000_000
CONFIGURATION_BYTES = "81a7536572766572739183a741646472657373a3683a31a24944a26e31a8537566667261676500"
SNAPSHOT = SnapshotMeta(9, 4, Configuration((Server("n1", "h:1"),)), 2, 5)


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (wire.encode_append_entries(HEADER, AppendEntries(5)), "1005 1a03683a31"),
        (
            wire.encode_append_entries(
                HEADER, AppendEntries(5, 2, 1, (Entry(3, 5, EntryType.BARRIER, b"d", b"e", 1_000_000_002),), 2)
            ),
            "1005 1a03683a31 2002 2801 3212 0803 1005 1804 220164 2a0165 3204 0801 1002 3802",
        ),
        (wire.encode_request_vote(HEADER, RequestVote(5, 3, 2, True)), "1005 1a03683a31 2003 2802 3001"),
        (wire.encode_request_pre_vote(HEADER, RequestPreVote(5, 3, 2)), "1005 1803 2002"),
        (wire.encode_timeout_now(HEADER, TimeoutNow()), ""),
        (wire.encode_response(HEADER, AppendEntriesResponse(5, 2, False, True)), "1005 1802 2801"),
        (wire.encode_response(HEADER, AppendEntriesResponse(5, 2, True)), "1005 1802 2001"),
        (wire.encode_response(HEADER, RequestVoteResponse(5, True)), "1005 2001"),
        (wire.encode_response(HEADER, RequestPreVoteResponse(5, True)), "1005 1801"),
        (wire.encode_response(HEADER, TimeoutNowResponse()), ""),
        (wire.encode_response(HEADER, InstallSnapshotResponse(5, True)), "1005 1801"),
        (
            wire.encode_install_snapshot(HEADER, InstallSnapshot(5, SNAPSHOT), 5),
            f"1005 1a03683a31 2009 2804 3205 91a3683a31 3a27 {CONFIGURATION_BYTES} 4002 4805 5801",
        ),
    ],
)
def test_golden_bytes(message, golden):
    assert message.SerializeToString(deterministic=True) == HEADER_BYTES + bytes.fromhex(golden)


def test_a_header_stands_even_where_it_is_empty():
    assert wire.encode_snapshot_data(b"ab").SerializeToString() == bytes.fromhex("0a00 5202 6162")


#: Entry 1 as HashiCorp Raft founds a cluster with it: a configuration, stamped with Go's zero time.
FOUNDING_BYTES = bytes.fromhex(f"0801 1001 1805 2227 {CONFIGURATION_BYTES} 320b 088092b8c398feffffff01")
#: What Go still puts into ``peers``: the voters' addresses in msgpack; and nobody's.
LEGACY_PEERS = "92af3132372e302e302e313a3530303531af3132372e302e302e313a3530303532"
LEGACY_NOBODY = "c0"


def test_the_entry_that_founds_a_cluster_keeps_its_bytes():
    message = pb.AppendEntriesRequest(rpc_header=HEADER, term=1, entries=[pb.Log.FromString(FOUNDING_BYTES)])
    request = wire.decode_append_entries(message)
    founding = Entry(1, 1, EntryType.CONFIGURATION, bytes.fromhex(CONFIGURATION_BYTES), b"", GO_ZERO_TIME)
    assert request.entries == (founding,)
    passed_on = wire.encode_append_entries(HEADER, request)
    assert passed_on.entries[0].SerializeToString(deterministic=True) == FOUNDING_BYTES


@pytest.mark.parametrize("peers", [LEGACY_PEERS, LEGACY_NOBODY])
def test_legacy_peers_beside_a_configuration_change_nothing(peers):
    message = wire.encode_install_snapshot(HEADER, InstallSnapshot(5, SNAPSHOT), 5)
    message.peers = bytes.fromhex(peers)
    assert wire.decode_install_snapshot(message) == InstallSnapshot(5, SNAPSHOT)


@pytest.mark.parametrize(
    ("request_", "kind", "data", "response"),
    [
        (TimeoutNow(), pb.TimeoutNowResponse, "0a00", TimeoutNowResponse()),
        (
            InstallSnapshot(5, SNAPSHOT),
            pb.InstallSnapshotResponse,
            "0a00 1005 1801",
            InstallSnapshotResponse(5, True),
        ),
    ],
)
def test_the_empty_headers_of_gos_answers_are_no_error(request_, kind, data, response):
    assert wire.decode_response("n2", request_, kind.FromString(bytes.fromhex(data))) == response


numbers = st.integers(0, wire.MAX_NUMBER - 100)
stamps = st.integers(GO_ZERO_TIME, 2**62)


@given(st.lists(st.tuples(numbers, st.sampled_from(EntryType), st.binary(), st.binary(), stamps)), numbers, numbers)
def test_what_is_encoded_is_decoded(rows, prev, term):
    entries = tuple(Entry(prev + 1 + i, *row) for i, row in enumerate(rows))
    request = AppendEntries(term, prev, term, entries, prev)
    data = wire.encode_append_entries(HEADER, request).SerializeToString()
    assert wire.decode_append_entries(pb.AppendEntriesRequest.FromString(data)) == request


def test_snapshot_offer_is_decoded():
    request = InstallSnapshot(5, SNAPSHOT)
    assert wire.decode_install_snapshot(wire.encode_install_snapshot(HEADER, request, 5)) == request


def test_entry_without_stamp_carries_none():
    message = wire.encode_append_entries(HEADER, AppendEntries(1, 0, 0, (Entry(1, 1),)))
    assert not message.entries[0].HasField("appended_at")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (None, "rpc_header is missing"),
        (pb.RPCHeader(), "operation not supported with current protocol version"),
        (pb.RPCHeader(protocol_version=1), "operation not supported with current protocol version"),
        (pb.RPCHeader(protocol_version=4), "operation not supported with current protocol version"),
        (pb.RPCHeader(protocol_version=3, id=b"x" * 1025), "rpc_header.id: 1025 bytes are more than 1024"),
        (pb.RPCHeader(protocol_version=3, addr=b"\xff"), "rpc_header.addr: not UTF-8"),
        (pb.RPCHeader(protocol_version=3, id=b"\0h:1"), "rpc_header.id: .* contains NUL"),
    ],
)
def test_refused_headers(header, text):
    with pytest.raises(WireError, match=text):
        wire.decode_header(pb.TimeoutNowRequest(rpc_header=header))


def test_older_nodes_announce_their_address_in_the_request():
    header = pb.RPCHeader(protocol_version=2)
    assert wire.decode_header(pb.RequestVoteRequest(rpc_header=header, candidate=b"h:2")) == ("", "h:2")
    assert wire.decode_header(pb.AppendEntriesRequest(rpc_header=header, leader=b"h:3")) == ("", "h:3")
    assert wire.decode_header(pb.TimeoutNowRequest(rpc_header=header)) == ("", "")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (pb.AppendEntriesRequest(entries=[pb.Log(index=1, type=6)]), "entry 1: log type 6 is unknown"),
        (pb.AppendEntriesRequest(prev_log_entry=4, entries=[pb.Log(index=6)]), "index 6 where 5 is due"),
        (pb.AppendEntriesRequest(entries=[pb.Log(index=1), pb.Log(index=1)]), "index 1 where 2 is due"),
        (pb.AppendEntriesRequest(entries=[pb.Log()] * 1025), "1025 are more than 1024"),
        (
            pb.AppendEntriesRequest(entries=[pb.Log(index=1, data=bytes(2**22 - 2**13), extensions=b"x")]),
            "entry 1: 4186113 bytes are more than 4186112",
        ),
        (pb.AppendEntriesRequest(term=2**63), "term: 9223372036854775808 is out of range"),
        (pb.AppendEntriesRequest(entries=[pb.Log(index=1, appended_at={"nanos": -1})]), "not within a second"),
    ],
)
def test_refused_appends(message, text):
    with pytest.raises(WireError, match=text):
        wire.decode_append_entries(message)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (pb.InstallSnapshotRequest(snapshot_version=2), "unsupported snapshot version 2"),
        (pb.InstallSnapshotRequest(snapshot_version=-1), "unsupported snapshot version -1"),
        (pb.InstallSnapshotRequest(size=-1), "size: -1 is negative"),
        (pb.InstallSnapshotRequest(configuration=b"\x81"), "configuration"),
        (pb.InstallSnapshotRequest(), "configuration"),
    ],
)
def test_refused_snapshots(message, text):
    with pytest.raises(WireError, match=text):
        wire.decode_install_snapshot(message)


@pytest.mark.parametrize("given", [None, "-tcp_frame_size_tuning"])
def test_settings_are_made_before_grpc_is_imported(given):
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_EXPERIMENTS"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"GRPC_EXPERIMENTS": given} if given else {})
    code = "import sys, os, matchengine; print('grpc' in sys.modules, os.environ['GRPC_EXPERIMENTS'])"
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", given or "-event_engine_client,-event_engine_listener"]
