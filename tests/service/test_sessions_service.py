"""The Sessions service from library level 1 on, and what it refuses without an entry in the log."""

from __future__ import annotations

import grpc
import pytest

from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.errors import NotLeaderError, RefusedError
from matchengine.levels import Levels
from matchengine.service import exchange_services, machine_services
from matchengine.service.machine import machine_group
from matchengine.service.sessions import SERVICE, SessionsService, draw_session_id
from matchengine.sessions import (
    SessionLimits,
    SessionMachine,
    close_envelope,
    open_envelope,
    raise_levels_envelope,
)
from matchengine.v1 import exchange_pb2
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.exchange_pb2_grpc import OrderEntryStub
from matchengine.v1.machine_pb2_grpc import MachineStub, SessionsStub, add_SessionsServicer_to_server

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def bounded(node):
    """A node at library level 1; ``bounded(**limits)`` sets limits."""

    def make(**limits):
        node.machine = SessionMachine(node.machine.inner, SessionLimits(**limits) if limits else None)
        node.propose(raise_levels_envelope(Levels(1, 0)))
        node.proposed.clear()
        return node

    return make


async def opened(channel, name="tester"):
    response = await SessionsStub(channel).Open(pb.OpenSessionRequest(client_name=name))
    assert (response.status, response.detail) == (pb.SESSION_STATUS_OK, "")
    return response.session_id


def apply(session, sequence, acknowledged=0):
    return pb.ApplyRequest(session_id=session, sequence=sequence, acknowledged=acknowledged, command=b"1")


def drawing(*ids):
    """The Sessions service whose new sessions get these ids."""

    def add(node, server):
        left = iter(ids)
        add_SessionsServicer_to_server(SessionsService(node, lambda: next(left)), server)
        return (SERVICE,)

    return add


# --- ids -----------------------------------------------------------------------------------


def test_ids_use_all_64_bits_and_are_never_0():
    drawn = [draw_session_id() for _ in range(2000)]
    assert len(set(drawn)) == 2000
    assert all(0 < number < 2**64 for number in drawn)
    assert all(any(number >> bit & 1 for number in drawn) for bit in range(64))


async def test_a_number_that_is_taken_is_drawn_again(bounded, serving):
    node = bounded()
    async with serving(node, drawing(7, 7, 2**64 - 1), machine_group()) as channel:
        assert [await opened(channel), await opened(channel)] == [7, 2**64 - 1]
        assert len(node.proposed) == 3
        assert (await MachineStub(channel).Apply(apply(2**64 - 1, 1))).answer == b"1"


async def test_a_source_of_ids_that_repeats_itself_is_not_asked_for_ever(bounded, serving):
    node = bounded()
    async with serving(node, drawing(7, *[7] * 4)) as channel:
        await opened(channel)
        response = await SessionsStub(channel).Open(pb.OpenSessionRequest())
        assert response.status == pb.SESSION_STATUS_ID_TAKEN


async def test_a_stranger_who_guesses_small_numbers_writes_in_no_session(bounded, serving):
    node = bounded()
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        session = await opened(channel)
        (listed,) = (await SessionsStub(channel).List(pb.ListSessionsRequest())).sessions
        for guess in (*range(1, node.index + 2), listed.number):
            assert (await machine.Apply(apply(guess, 1))).status == pb.SESSION_STATUS_UNKNOWN_SESSION
        assert (await machine.Apply(apply(session, 1))).answer == b"1"


# --- limits --------------------------------------------------------------------------------


async def test_the_limit_of_one_name_is_told_with_name_limit_and_remedy_and_costs_no_entry(bounded, serving):
    node = bounded(sessions_per_name=2)
    async with serving(node, machine_services) as channel:
        for _ in range(2):
            await opened(channel, "desk")
        proposed = len(node.proposed)
        response = await SessionsStub(channel).Open(pb.OpenSessionRequest(client_name="desk"))
        assert response.status == pb.SESSION_STATUS_TOO_MANY_OF_NAME
        assert response.detail == (
            "2 sessions are open under the client name 'desk', and that is the limit for one name; "
            "close them (`matchengine session close --name NAME`) or use another name"
        )
        assert len(node.proposed) == proposed
        await opened(channel, "another")


async def test_the_limit_of_all_sessions_is_told_in_words(bounded, serving):
    node = bounded(sessions=1)
    async with serving(node, machine_services) as channel:
        await opened(channel)
        proposed = len(node.proposed)
        response = await SessionsStub(channel).Open(pb.OpenSessionRequest(client_name="another"))
        assert response.status == pb.SESSION_STATUS_TOO_MANY_SESSIONS
        assert response.detail.startswith("1 sessions are open, and that is the limit of a cluster; close those")
        assert len(node.proposed) == proposed


async def test_a_place_that_was_freed_behind_the_applied_entries_is_seen(bounded, serving):
    """A refusal waits for the point that a linearizable read would."""
    node = bounded(sessions=1)
    node.propose(open_envelope("", 7))

    async def catch_up():
        node.propose(close_envelope(7))
        return node.index

    node.read_index = catch_up
    async with serving(node, machine_services) as channel:
        await opened(channel)


# --- refusals without an entry -------------------------------------------------------------


async def test_a_full_session_costs_no_entry_until_it_acknowledges(bounded, serving):
    node = bounded(answers_per_session=2)
    async with serving(node, machine_services) as channel:
        machine = MachineStub(channel)
        session = await opened(channel)
        for sequence in (1, 2):
            await machine.Apply(apply(session, sequence))
        proposed = len(node.proposed)
        for sequence in (3, 4):
            assert (await machine.Apply(apply(session, sequence))).status == pb.SESSION_STATUS_SESSION_FULL
        assert len(node.proposed) == proposed
        assert (await machine.Apply(apply(session, 2))).answer == b"2"
        assert (await machine.Apply(apply(session, 3, acknowledged=1))).answer == b"3"


async def test_an_ended_session_costs_no_entry_and_is_told_why(bounded, serving):
    node = bounded()
    async with serving(node, machine_services) as channel:
        sessions = SessionsStub(channel)
        session = await opened(channel)
        await sessions.Close(pb.CloseSessionRequest(client_name="tester"))
        proposed, reads = len(node.proposed), node.read_indexes
        for call in (
            MachineStub(channel).Apply(apply(session, 1)),
            sessions.KeepAlive(pb.KeepAliveRequest(session_id=session)),
            sessions.Close(pb.CloseSessionRequest(session_id=session)),
        ):
            assert (await call).status == pb.SESSION_STATUS_ENDED_BY_OPERATOR
        assert (len(node.proposed), node.read_indexes) == (proposed, reads)


async def test_a_session_that_never_was_costs_a_read_and_no_entry(bounded, serving):
    node = bounded()
    async with serving(node, machine_services) as channel:
        sessions = SessionsStub(channel)
        for call in (
            MachineStub(channel).Apply(apply(5, 1)),
            sessions.KeepAlive(pb.KeepAliveRequest(session_id=5)),
            sessions.Close(pb.CloseSessionRequest(session_id=5)),
        ):
            assert (await call).status == pb.SESSION_STATUS_UNKNOWN_SESSION
        assert node.proposed == []
        assert node.read_indexes == 3


async def test_a_session_that_was_opened_behind_the_applied_entries_is_no_stranger(bounded, serving):
    """A new leader has not applied everything that its predecessor has answered."""
    node = bounded()

    async def catch_up():
        node.propose(open_envelope("", 7))
        return node.index

    node.read_index = catch_up
    async with serving(node, machine_services) as channel:
        assert (await MachineStub(channel).Apply(apply(7, 1))).answer == b"1"


async def test_a_node_that_does_not_lead_refuses_nobody_in_its_own_name(bounded, serving, failing):
    node = bounded(answers_per_session=1, sessions=1)
    async with serving(node, machine_services) as channel:
        session = await opened(channel)
        machine, sessions = MachineStub(channel), SessionsStub(channel)
        await machine.Apply(apply(session, 1))
        node.lead(False)
        for call in (
            machine.Apply(apply(session, 2)),
            machine.Apply(apply(5, 1)),
            sessions.KeepAlive(pb.KeepAliveRequest(session_id=5)),
            sessions.Open(pb.OpenSessionRequest()),
            sessions.List(pb.ListSessionsRequest()),
            sessions.Close(pb.CloseSessionRequest(number=5)),
        ):
            _, metadata = await failing(call, grpc.StatusCode.UNAVAILABLE)
            assert metadata["matchengine-reason"] == "not-leader"


async def test_a_leader_that_cannot_confirm_its_place_refuses_nobody(bounded, serving, failing):
    node = bounded()

    async def deposed():
        raise NotLeaderError("node2", "127.0.0.1:7002")

    node.read_index = deposed
    async with serving(node, machine_services) as channel:
        _, metadata = await failing(MachineStub(channel).Apply(apply(5, 1)), grpc.StatusCode.UNAVAILABLE)
        assert metadata["matchengine-leader"] == "127.0.0.1:7002"
        assert node.proposed == []


async def test_orders_and_instruments_of_a_stranger_cost_no_entry(exchange_node, serving):
    async with serving(exchange_node, exchange_services) as channel:
        entry = OrderEntryStub(channel)
        command = exchange_pb2.Command(cancel=exchange_pb2.CancelOrder(orig_cl_ord_id=1))
        response = await entry.Submit(exchange_pb2.SubmitRequest(session_id=5, sequence=1, commands=[command]))
        assert response.status == pb.SESSION_STATUS_UNKNOWN_SESSION
        request = exchange_pb2.AddInstrumentRequest(session_id=5, sequence=1, symbol="X", tick_size="1", lot_size="1")
        assert (await entry.AddInstrument(request)).status == pb.SESSION_STATUS_UNKNOWN_SESSION
        assert exchange_node.proposed == []


# --- operators -----------------------------------------------------------------------------


async def test_the_list_shows_what_closes_a_session_and_nothing_that_writes_in_it(bounded, serving):
    node = bounded()
    async with serving(node, machine_services) as channel:
        session = await opened(channel, "desk")
        await MachineStub(channel).Apply(apply(session, 1))
        response = await SessionsStub(channel).List(pb.ListSessionsRequest())
        (info,) = response.sessions
        assert info == pb.SessionInfo(
            number=node.index - 1, client_name="desk", idle_seconds=2.5, answers=1, answer_bytes=13
        )
        assert session.to_bytes(8, "little") not in response.SerializeToString()
        assert node.read_indexes == 1


async def test_the_list_comes_in_pages(bounded, serving, failing, monkeypatch):
    monkeypatch.setattr("matchengine.service.sessions.MAX_LISTED", 2)
    node = bounded()
    async with serving(node, machine_services) as channel:
        sessions = SessionsStub(channel)
        for name in ("a", "b", "a", "a", "b"):
            await opened(channel, name)
        numbers = list(range(node.index - 4, node.index + 1))
        page = await sessions.List(pb.ListSessionsRequest(after=numbers[0]))
        assert ([info.number for info in page.sessions], page.more) == (numbers[1:3], True)
        page = await sessions.List(pb.ListSessionsRequest(limit=1, client_name="b"))
        assert ([info.number for info in page.sessions], page.more) == ([numbers[1]], True)
        page = await sessions.List(pb.ListSessionsRequest(after=numbers[2]))
        assert ([info.number for info in page.sessions], page.more) == (numbers[3:], False)
        text, _ = await failing(sessions.List(pb.ListSessionsRequest(limit=3)), INVALID)
        assert text == "limit: 3 sessions are above the limit of 2; ask again with `after`"

        channels = Channels()
        admin = Admin(channels)
        assert [info.number for info in await admin.sessions(node.served_at)] == numbers
        assert [info.client_name for info in await admin.sessions(node.served_at, client_name="b")] == ["b", "b"]
        await channels.close()


async def test_an_operator_closes_by_number_or_by_name(bounded, serving):
    node = bounded()
    async with serving(node, machine_services) as channel:
        for name in ("a", "b", "", "a"):
            await opened(channel, name)
        first = node.index - 3
        channels = Channels()
        admin = Admin(channels)
        await admin.close_session(node.served_at, first)
        with pytest.raises(RefusedError, match=f"number: no session {first} is open"):
            await admin.close_session(node.served_at, first)
        assert await admin.close_sessions_of(node.served_at, "") == 1
        assert await admin.close_sessions_of(node.served_at, "nobody") == 0
        assert [info.client_name for info in await admin.sessions(node.served_at)] == ["b", "a"]
        await channels.close()


@pytest.mark.parametrize(
    "request_",
    [
        pb.CloseSessionRequest(),
        pb.CloseSessionRequest(session_id=1, number=1),
        pb.CloseSessionRequest(number=1, client_name=""),
    ],
)
async def test_a_close_has_exactly_one_target(bounded, serving, failing, request_):
    node = bounded()
    async with serving(node, machine_services) as channel:
        text, _ = await failing(SessionsStub(channel).Close(request_), INVALID)
        assert text == "session_id, number, client_name: a request has exactly one of the three"
        text, _ = await failing(SessionsStub(channel).Close(pb.CloseSessionRequest(client_name="é" * 33)), INVALID)
        assert text == "client_name: 66 bytes are above the limit of 64"
        assert node.proposed == []


async def test_at_level_0_an_operator_is_told_what_is_missing(node, serving, failing):
    async with serving(node, machine_services) as channel:
        await opened(channel, "desk")
        (info,) = (await SessionsStub(channel).List(pb.ListSessionsRequest())).sessions
        assert (info.number, info.client_name) == (node.index, "desk")
        proposed = len(node.proposed)
        for request in (pb.CloseSessionRequest(number=info.number), pb.CloseSessionRequest(client_name="desk")):
            text, metadata = await failing(SessionsStub(channel).Close(request), grpc.StatusCode.FAILED_PRECONDITION)
            assert text == (
                "closing sessions by number or name: this needs feature level 1.0, and the cluster is at 0.0; "
                "`matchengine cluster upgrade` raises it once every member runs a program that is new enough"
            )
            assert metadata["matchengine-reason"] == "refused"
        assert len(node.proposed) == proposed
