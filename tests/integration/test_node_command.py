"""``matchengine node`` and the commands that talk to it."""

import json
import signal
import subprocess

import grpc
import pytest
from tests.integration.conftest import COMMAND, ENVIRONMENT, PATIENCE_S

from matchengine.v1.machine_pb2 import SESSION_STATUS_ENDED_BY_OPERATOR, KeepAliveRequest, OpenSessionRequest
from matchengine.v1.machine_pb2_grpc import SessionsStub

pytestmark = pytest.mark.integration


def test_a_trading_day_on_the_command_line(start_node, matchengine):
    here = ("--addresses", start_node("nodeA", "--bootstrap").leads().address)
    added = matchengine("instrument", "add", "ACME", "--tick", "0.05", "--lot", "1", *here)
    assert (added.code, added.out) == (0, "ACME is instrument 1\n")
    again = matchengine("instrument", "add", "ACME", *here)
    assert again.code == 1
    assert "DUPLICATE_INSTRUMENT" in again.err
    assert "ACME" in matchengine("instrument", "list", *here).out

    assert "new" in matchengine("submit", "ACME", "sell", "30", "10.10", "--id", 1, *here).out
    assert "new" in matchengine("submit", "ACME", "sell", "30", "--price", "10.05", "--id", 2, *here).out
    taken = matchengine("submit", "ACME", "buy", "40", *here, "--json")
    assert '"last_px":"10.05"' in taken.out
    assert '"last_px":"10.10"' in taken.out

    book = matchengine("book", "ACME", *here, "--json").last
    assert [(level["price"], level["quantity"]) for level in book["asks"]] == [("10.10", "20")]
    assert "10.10" in matchengine("book", "ACME", *here).out

    assert matchengine("cancel", 1, *here).code == 0
    unknown = matchengine("cancel", 1, *here)
    assert unknown.code == 1
    assert "UNKNOWN_ORDER" in unknown.out


def test_open_orders_are_changed_and_looked_at_on_the_command_line(start_node, matchengine):
    address = start_node("nodeA", "--bootstrap").leads().address
    here = ("--target", f"multi:///{address}")
    matchengine("instrument", "add", "ACME", "--tick", "0.05", "--lot", "1", *here)
    placed = matchengine("submit", "ACME", "sell", "30", "10.10", "--id", 1, *here).out
    assert "sell ACME @ 10.10" in placed

    assert "leaves 20, cum 0" in matchengine("reduce", 1, 10, *here).out
    moved = matchengine("replace", 1, 25, "10.15", "--new-id", 2, *here).out
    assert "order 2" in moved and "sell ACME @ 10.15" in moved
    found = matchengine("order", 2, *here).out
    assert found.startswith("order 2 of account 1 (exchange id 1)  sell ACME @ 10.15  leaves 25")
    assert matchengine("order", "--order-id", 1, *here, "--json").last["cl_ord_id"] == "2"
    assert "buy 20 ACME: costs 203.00" in matchengine("quote", "ACME", "buy", 20, *here).out

    thin = matchengine("quote", "ACME", "buy", 26, *here)
    assert (thin.code, thin.err) == (1, "matchengine: the book holds 25 of 26 ACME\n")
    for words in (("order", 1), ("reduce", 1, 5), ("replace", 1, 5, "10.00")):
        gone = matchengine(*words, *here)
        assert (gone.code, gone.err) == (1, "matchengine: order 1 of account 1 is not open\n")


def test_a_book_is_watched_until_the_reader_has_gone(start_node, matchengine):
    here = ("--addresses", start_node("nodeA", "--bootstrap").leads().address)
    matchengine("instrument", "add", "ACME", *here)
    command = [*COMMAND, "book", "ACME", "--watch", "--every", "0.1", "--json", *here]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as watching:
        assert json.loads(watching.stdout.readline())["asks"] == []
        matchengine("submit", "ACME", "sell", "30", "10.10", "--id", 1, *here)
        assert json.loads(watching.stdout.readline())["asks"][0]["quantity"] == "30"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 130


def test_a_member_is_removed_on_the_command_line(start_node, matchengine):
    here = ("--addresses", start_node("nodeA", "--bootstrap").leads().address)
    unknown = matchengine("member", "remove", "nodeB", *here)
    assert (unknown.code, unknown.err) == (1, "matchengine: id: 'nodeB' is not one of the members nodeA\n")
    assert matchengine("member", "add", "nodeB", start_node("nodeB").address, *here).code == 0
    assert "nodeB is not a member since index" in matchengine("member", "remove", "nodeB", *here).out
    assert [each["id"] for each in matchengine("member", "list", *here, "--json").last["servers"]] == ["nodeA"]


def test_sessions_are_listed_and_closed_on_the_command_line(start_node, matchengine):
    node = start_node("nodeA", "--bootstrap").leads()
    here = ("--addresses", node.address)
    with grpc.insecure_channel(node.address) as channel:
        sessions = SessionsStub(channel)
        opened = [sessions.Open(OpenSessionRequest(client_name=name)) for name in ("desk", "other", "desk")]
        listed = [json.loads(line) for line in matchengine("session", "list", *here, "--json").out.splitlines()]
        assert [each["client_name"] for each in listed] == ["desk", "other", "desk"]
        assert not {str(session.session_id) for session in opened} & {str(each["number"]) for each in listed}
        first, number = opened[0].session_id, str(listed[0]["number"])
        assert matchengine("session", "close", number, *here).out == "1 session closed\n"
        assert sessions.KeepAlive(KeepAliveRequest(session_id=first)).status == SESSION_STATUS_ENDED_BY_OPERATOR
    again = matchengine("session", "close", number, *here)
    assert (again.code, again.err) == (1, f"matchengine: number: no session {number} is open\n")
    assert matchengine("session", "close", "--name", "desk", *here, "--json").last == {"closed": 1}
    nobody = matchengine("session", "close", "--name", "desk", *here)
    assert (nobody.code, nobody.err) == (1, "matchengine: name: no session of a client 'desk' is open\n")
    table = matchengine("session", "list", *here)
    assert table.code == 0
    assert "other" in table.out
    assert max(map(len, table.out.splitlines())) <= 80


REJECTS = [
    (("ACME", "buy", "1", "10.03"), "PRICE_OFF_TICK"),
    (("ACME", "buy", "1", "10.051"), "PRICE_TOO_PRECISE"),
    (("ACME", "buy", "0", "10.05"), "QUANTITY_ZERO"),
    (("ACME", "buy", "1", "ten"), "PRICE_MALFORMED"),
    (("ACME", "buy", "1", ""), "PRICE_MALFORMED"),
    (("NONE", "buy", "1", "10.05"), "UNKNOWN_INSTRUMENT"),
]


def test_rejects_are_named_and_change_nothing(start_node, matchengine):
    here = ("--addresses", start_node("nodeA", "--bootstrap").leads().address)
    matchengine("instrument", "add", "ACME", "--tick", "0.05", *here)
    for order, reason in REJECTS:
        done = matchengine("submit", *order, *here)
        assert done.code == 1
        assert reason in done.out
    assert matchengine("book", "ACME", *here, "--json").last["bids"] == []
    missing = matchengine("book", "NONE", *here)
    assert missing.code == 1
    assert "NONE" in missing.err


def test_a_node_restarts_with_its_state_and_bootstrapping_again_is_a_notice(start_node, matchengine):
    node = start_node("nodeA", "--bootstrap").leads()
    assert matchengine("instrument", "add", "ACME", "--addresses", node.address).code == 0
    assert node.stop() == 0
    again = start_node("nodeA", "--bootstrap", address=node.address).leads()
    assert "nothing is bootstrapped" in again.log.read_text()
    assert "ACME" in matchengine("instrument", "list", "--addresses", node.address).out
    assert again.stop(signal.SIGKILL) == -signal.SIGKILL
    start_node("nodeA", address=node.address).leads()
    assert "ACME" in matchengine("instrument", "list", "--addresses", node.address).out


def test_sigterm_hands_leadership_over(start_node, matchengine):
    first = start_node("nodeA", "--bootstrap").leads()
    others = [start_node(name) for name in ("nodeB", "nodeC")]
    for node in others:
        added = matchengine("member", "add", node.id, node.address, "--addresses", first.address)
        assert added.code == 0, added.err
    assert matchengine("instrument", "add", "ACME", "--addresses", first.address).code == 0
    members = matchengine("member", "list", "--addresses", others[0].address)
    assert all(name in members.out for name in ("nodeA", "nodeB", "nodeC"))
    assert first.stop() == 0
    done = matchengine("submit", "ACME", "buy", "1", "5.00", "--addresses", ",".join(n.address for n in others))
    assert done.code == 0, done.err


def test_whoever_is_not_meant_is_not_added(start_node, matchengine):
    first, stranger = start_node("nodeA", "--bootstrap").leads(), start_node("nodeB", "--bootstrap").leads()
    for node_id, words in (("nodeC", "is node 'nodeB', not 'nodeC'"), ("nodeB", "belongs to another cluster")):
        refused = matchengine("member", "add", node_id, stranger.address, "--addresses", first.address)
        assert refused.code == 1
        assert words in refused.err
    assert "nodeB" not in matchengine("member", "list", "--addresses", first.address).out
    assert "node nodeA runs at" in first.log.read_text()


def test_a_directory_has_one_owner_and_one_id(start_node):
    node = start_node("nodeA", "--bootstrap").leads()
    second = start_node("nodeA")
    assert second.ended() == 1
    assert "nodeA" in second.log.read_text()
    node.stop()
    (node.folder / "nodeA").rename(node.folder / "nodeB")
    other = start_node("nodeB")
    assert other.ended() == 1
    assert "nodeA" in other.log.read_text()


def test_an_address_that_is_taken_is_an_error(start_node):
    node = start_node("nodeA", "--bootstrap").leads()
    other = start_node("nodeB", address=node.address)
    assert other.ended() == 1
    assert node.address in other.log.read_text()


def test_the_survivor_of_a_lost_quorum_goes_on_with_the_members_in_peers_json(start_node, matchengine):
    first, second = start_node("nodeA", "--bootstrap").leads(), start_node("nodeB")
    assert matchengine("member", "add", second.id, second.address, "--addresses", first.address).code == 0
    assert matchengine("instrument", "add", "ACME", "--addresses", first.address).code == 0
    for node in (first, second):
        node.stop(signal.SIGKILL)
    peers = first.folder / "nodeA" / "peers.json"

    peers.write_text('[{"id": "nodeA", "addres": "127.0.0.1:1"}]')
    refused = start_node("nodeA", address=first.address)
    assert refused.ended() == 1
    assert "peers.json: Object" in refused.log.read_text()
    assert "nothing was changed" in refused.log.read_text()

    peers.write_text(json.dumps([{"id": "nodeA", "address": first.address}]))
    survivor = start_node("nodeA", address=first.address).leads()
    assert "count as committed from now on" in survivor.log.read_text()
    assert "ACME" in matchengine("instrument", "list", "--addresses", first.address).out
    joined = start_node("nodeD")
    added = matchengine("member", "add", "nodeD", joined.address, "--addresses", first.address)
    assert added.code == 0, added.err
    members = matchengine("member", "list", "--addresses", joined.address).out
    assert "nodeD" in members
    assert "nodeB" not in members


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("node", "--id", "", "--data-dir", "d"), "id: ''"),
        (("node", "--id", "a", "--data-dir", "d", "--address", "nowhere"), "address: 'nowhere'"),
        (("node", "--id", "a", "--data-dir", "d", "--address", "h:99999"), "port '99999'"),
        (("book", "ACME", "--addresses", ","), "addresses: there is none"),
        (("demo", "--seconds", "0"), "--seconds 0"),
    ],
)
def test_unusable_options_are_named(matchengine, arguments, words):
    done = matchengine(*arguments)
    assert done.code == 2
    assert words in done.err


def test_nobody_there_is_an_environment_failure(matchengine):
    done = matchengine("cluster", "status", "--addresses", "127.0.0.1:1")
    assert done.code == 3
    assert "no answer" in done.out
