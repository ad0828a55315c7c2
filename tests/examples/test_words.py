"""The word tracker: its slots, its snapshot's bytes, and what its service answers."""

import asyncio
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchengine import BusyError, NotLeaderError, RefusedError, StateMachine, StoppedError, UnknownOutcomeError
from matchengine.node.engine import Outcome
from matchengine.raft.types import Entry, EntryType
from matchengine.wire.example_pb2 import AddWordRequest, GetWordsRequest

LINES = st.binary(max_size=4).map(lambda word: word.replace(b"\n", b""))


@pytest.fixture(scope="session")
def tracker_of(words_module):
    def make(*words):
        tracker = words_module.WordTracker()
        entries = [Entry(n, 1, EntryType.COMMAND, word, b"", n) for n, word in enumerate(words, 1)]
        assert tracker.apply(entries) == [b""] * len(words)
        return tracker

    return make


def snapshot_of(tracker):
    return b"".join(tracker.snapshot())


@pytest.mark.parametrize(
    ("words", "best"),
    [
        ([], (b"", b"", b"")),
        ([b"one"], (b"one", b"", b"")),
        ([b"aa", b"b", b"ccc", b"dddd"], (b"dddd", b"ccc", b"aa")),
        ([b"bb", b"ab", b"ba", b"aa"], (b"aa", b"ab", b"ba")),
        ([b"twice", b"a", b"twice"], (b"twice", b"twice", b"a")),
        # Bytes count, not letters: six against five.
        (["ëëë".encode(), b"eeeee"], ("ëëë".encode(), b"eeeee", b"")),
        ([b"\xff\xff", b"zz"], (b"zz", b"\xff\xff", b"")),
    ],
)
def test_the_longest_come_first(tracker_of, words, best):
    assert tracker_of(*words).words == best


@given(st.lists(LINES, max_size=12))
def test_the_order_of_adding_does_not_matter(tracker_of, words):
    rule = sorted([*words, b"", b"", b""], key=lambda word: (-len(word), word))
    assert list(tracker_of(*words).words) == rule[:3]


def test_an_entry_does_not_change_a_snapshot_taken_before(tracker_of):
    tracker = tracker_of(b"short")
    taken = tracker.snapshot()
    tracker.apply([Entry(2, 1, EntryType.COMMAND, b"longer word", b"", 2)])
    assert b"".join(taken) == b"short\n\n"


@pytest.mark.parametrize(
    ("words", "snapshot"),
    [([], b"\n\n"), ([b"vier"], b"vier\n\n"), ([b"drie", "één".encode(), b"tien"], b"\xc3\xa9\xc3\xa9n\ndrie\ntien")],
)
def test_the_bytes_of_a_snapshot(tracker_of, words, snapshot):
    assert snapshot_of(tracker_of(*words)) == snapshot


@given(st.lists(LINES, max_size=5), st.lists(LINES, max_size=5), st.integers(1, 5))
def test_a_snapshot_replaces_everything(tracker_of, words, others, size):
    source, target = tracker_of(*words), tracker_of(*others)
    data = snapshot_of(source)
    target.restore(data[start : start + size] for start in range(0, len(data), size))
    assert target.words == source.words


def test_a_tracker_is_a_state_machine(tracker_of):
    assert isinstance(tracker_of(), StateMachine)


def test_the_example_is_short(words_module):
    assert len(Path(words_module.__file__).read_text().splitlines()) <= 61


class Aborted(Exception):  # noqa: N818 - not an error of the test
    pass


class Context:
    async def abort(self, code, text, metadata):
        raise Aborted(code, text, dict(metadata))


class FakeNode:
    """Proposals end in ``outcome``, reads in ``applied``, or in the exception that stands there."""

    machine_is_readable = True

    def __init__(self, machine, outcome=None, applied=0):
        self.machine, self.outcome, self.applied, self.proposed = machine, outcome, applied, []

    def propose(self, data):
        self.proposed.append(data)
        future = asyncio.get_running_loop().create_future()
        if isinstance(self.outcome, Exception):
            future.set_exception(self.outcome)
        else:
            future.set_result(self.outcome)
        return future

    async def read_index(self):
        if isinstance(self.applied, Exception):
            raise self.applied
        return self.applied


@pytest.fixture
def call(words_module):
    """Calls a method of the service of a node."""

    def run(node, method, request):
        service = words_module.Example()
        service.node = node
        return asyncio.run(getattr(service, method)(request, Context()))

    return run


def test_a_word_is_answered_with_its_index(call):
    node = FakeNode(None, Outcome(7, b""))
    assert call(node, "AddWord", AddWordRequest(word="één")).commit_index == 7
    assert node.proposed == ["één".encode()]


def test_three_words_are_always_answered(call, tracker_of):
    answer = call(FakeNode(tracker_of(b"\xff"), applied=9), "GetWords", GetWordsRequest())
    assert answer.read_at_index == 9
    assert list(answer.best_words) == ["\N{REPLACEMENT CHARACTER}", "", ""]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotLeaderError("b", "host:1"), grpc.StatusCode.UNAVAILABLE, "not-leader"),
        (NotLeaderError(), grpc.StatusCode.UNAVAILABLE, "no-quorum"),
        # What its users retry is UNAVAILABLE; the reason still says what happened.
        (UnknownOutcomeError("leadership was lost"), grpc.StatusCode.UNAVAILABLE, "unknown-outcome"),
        (StoppedError("the node was asked to stop"), grpc.StatusCode.UNAVAILABLE, "stopped"),
        (BusyError("leadership transfer in progress"), grpc.StatusCode.UNAVAILABLE, "busy"),
        (RefusedError("too long"), grpc.StatusCode.FAILED_PRECONDITION, "refused"),
    ],
)
def test_what_failed_says_whether_to_retry(call, error, code, reason):
    with pytest.raises(Aborted) as added:
        call(FakeNode(None, error), "AddWord", AddWordRequest(word="a"))
    with pytest.raises(Aborted) as read:
        call(FakeNode(None, applied=error), "GetWords", GetWordsRequest())
    for refused in (added, read):
        assert refused.value.args[0] is code
        assert refused.value.args[1] == str(error)
        assert refused.value.args[2]["matchengine-reason"] == reason


def test_two_lines_are_no_word(call):
    node = FakeNode(None, Outcome(1, b""))
    with pytest.raises(Aborted) as refused:
        call(node, "AddWord", AddWordRequest(word="two\nlines" + "!" * 100_000))
    code, text, _ = refused.value.args
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(text) < 100, "a status that is too long for gRPC's headers never arrives"
    assert node.proposed == []


def test_no_words_while_a_snapshot_replaces_them(call, tracker_of):
    node = FakeNode(tracker_of(), applied=3)
    node.machine_is_readable = False
    with pytest.raises(Aborted) as refused:
        call(node, "GetWords", GetWordsRequest())
    assert refused.value.args[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        ({"raft_id": ""}, 2, "id: '' is empty; a node needs an id"),
        ({"raft_id": "a", "address": "nowhere"}, 2, "address: 'nowhere' is not of the form host:port"),
        ({"raft_id": "a", "listen": "nowhere"}, 2, "listen: 'nowhere' is not of the form host:port"),
        ({"raft_id": "a", "address": "0.0.0.0:50051"}, 2, "address: '0.0.0.0:50051' is every address of a machine"),
        ({"raft_id": "a", "address": "192.0.2.1:1"}, 1, "cannot bind 192.0.2.1:1: it is no address of this machine"),
        ({"raft_id": "a", "engine": "steam"}, 2, "engine: 'steam' is none of matchengine, hashicorp"),
        ({"raft_id": "."}, 1, "is not empty and has no node.json (found somebody-else's)"),
    ],
)
def test_wrong_flags_are_told_in_one_line(words_module, tmp_path, capsys, flags, code, text):
    (tmp_path / "somebody-else's").touch()
    assert words_module.main(raft_data_dir=tmp_path, **flags) == code
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert text in told[0]
