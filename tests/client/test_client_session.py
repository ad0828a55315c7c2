"""The client: the leader found and followed, every command exactly once, whatever breaks."""

import asyncio
import gc

import grpc
import pytest

from matchengine.client import Client, NoLeaderError, SessionExpiredError, SessionRefusedError, calls, pursuit
from matchengine.client import leader as leader_module
from matchengine.client.exchange import ExchangeClient
from matchengine.client.leader import parse_addresses
from matchengine.errors import RefusedError, StoppedError, UnknownOutcomeError
from matchengine.sessions import SessionLimits, close_envelope
from matchengine.v1 import exchange_pb2
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import MachineStub


def run(scenario):
    async def bounded():
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


def addresses(cluster):
    return [node.address for node in cluster.nodes]


@pytest.fixture
def impatient(monkeypatch):
    """A silent node is given up after tenths of a second."""
    for module in (calls, pursuit):
        monkeypatch.setattr(module, "ATTEMPT_S", 0.1)


def numbered(count):
    return [b"%d" % number for number in range(count)]


async def send_all(client, commands):
    futures = [await client.submit(command) for command in commands]
    return await asyncio.gather(*futures)


def test_commands_are_answered_in_order(fake_cluster):
    async def scenario():
        async with fake_cluster(3) as cluster, Client(addresses(cluster), window=4) as client:
            assert await send_all(client, numbered(50)) == [b"did %d" % n for n in range(50)]
            assert cluster.recorder.commands == numbered(50)
            assert await client.apply(b"x") == b"did x"

    run(scenario)


@pytest.mark.parametrize("command", ["1", bytearray(b"1"), 1, None])
def test_what_is_not_bytes_is_refused_at_once_and_spoils_nothing(fake_cluster, command):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            with pytest.raises(TypeError, match=f"command: {type(command).__name__} is not bytes"):
                await client.apply(command)
            assert await client.apply(b"x") == b"did x"

    run(scenario)


@pytest.mark.parametrize("batch", [bytearray(56), "D", [exchange_pb2.NewOrder()], [exchange_pb2.Command(), b""]])
def test_what_is_no_batch_gets_no_sequence(batch):
    async def scenario():
        client = ExchangeClient("127.0.0.1:1")  # is never opened
        with pytest.raises(TypeError, match=r"batch: \w+ of \w+ is neither bytes nor commands"):
            await client.submit(batch)
        await client.channels.close()

    run(scenario)


def test_one_follower_is_enough_to_find_the_leader(fake_cluster):
    async def scenario():
        async with fake_cluster(3) as cluster, Client(cluster.nodes[2].address) as client:
            assert await client.apply(b"x") == b"did x"
            assert client.session.leader == cluster.nodes[0].address

    run(scenario)


def test_dead_addresses_do_no_harm(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(["127.0.0.1:1", cluster.nodes[0].address]) as client:
            assert await client.apply(b"x") == b"did x"

    run(scenario)


def test_no_leader_within_the_time_allowed_is_an_error():
    async def scenario():
        with pytest.raises(NoLeaderError, match=r"127\.0\.0\.1:1"):
            async with Client("127.0.0.1:1", timeout_s=0.2):
                pass

    run(scenario)


@pytest.mark.parametrize("fault", ["drop", "refuse"])
def test_a_moving_leader_executes_everything_once(fake_cluster, fault):
    """Each node breaks off at its first command of every ten, after or before the log took it."""

    async def scenario():
        async with fake_cluster(3) as cluster:
            broken = set()

            def break_off(node, sequence):
                if sequence % 10 == 5 and sequence not in broken:
                    broken.add(sequence)
                    here = cluster.nodes.index(node)
                    cluster.leader = cluster.nodes[(here + 1) % 3]
                    return fault
                return ""

            cluster.fault = break_off
            async with Client(addresses(cluster), window=8) as client:
                assert await send_all(client, numbered(60)) == [b"did %d" % n for n in range(60)]
                assert client.session.streams == 7
            assert cluster.recorder.commands == numbered(60)
            assert len(broken) == 6

    run(scenario)


def test_an_answer_to_something_else_is_not_taken(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster:
            seen = []

            def mislabel(node, sequence):
                seen.append(sequence)
                return "mislabel" if seen.count(3) == 1 and sequence == 3 else ""

            cluster.fault = mislabel
            async with Client(addresses(cluster), window=1) as client:
                assert await send_all(client, numbered(5)) == [b"did %d" % n for n in range(5)]
                assert client.session.streams == 2
            assert cluster.recorder.commands == numbered(5)

    run(scenario)


def test_a_killed_leader_is_replaced(fake_cluster):
    async def scenario():
        async with fake_cluster(2) as cluster, Client(addresses(cluster)) as client:
            await client.apply(b"before")
            await cluster.nodes[0].stop()
            cluster.leader = cluster.nodes[1]
            assert await client.apply(b"after") == b"did after"
            assert cluster.recorder.commands == [b"before", b"after"]

    run(scenario)


def test_a_hung_leader_is_left_for_one_that_leads(fake_cluster, impatient):
    async def scenario():
        async with fake_cluster(2) as cluster, Client(addresses(cluster)) as client:
            await client.apply(b"before")
            cluster.nodes[0].awake.clear()
            waiting = await client.submit(b"x")
            cluster.leader = cluster.nodes[1]
            assert await waiting == b"did x"
            assert cluster.recorder.commands == [b"before", b"x"]

    run(scenario)


def test_acknowledgements_free_the_cluster_of_answers(fake_cluster):
    async def scenario():
        limits = SessionLimits(answers_per_session=6)
        async with fake_cluster(1, limits=limits) as cluster, Client(addresses(cluster), window=3) as client:
            assert len(await send_all(client, numbered(100))) == 100
            assert client.session.streams == 1

    run(scenario)


def test_a_full_session_is_resumed_with_newer_acknowledgements(fake_cluster):
    async def scenario():
        limits = SessionLimits(answers_per_session=2)
        async with fake_cluster(1, limits=limits) as cluster, Client(addresses(cluster), window=16) as client:
            assert await send_all(client, numbered(40)) == [b"did %d" % n for n in range(40)]
            assert cluster.recorder.commands == numbered(40)

    run(scenario)


def test_an_expired_session_is_a_clear_error_and_executes_nothing(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            await client.apply(b"before")
            cluster.apply(close_envelope(client.session.session_id))
            for _ in range(2):
                with pytest.raises(SessionExpiredError, match="unknown"):
                    await client.apply(b"after")
            assert cluster.recorder.commands == [b"before"]

    run(scenario)


def test_an_open_session_is_not_opened_again_and_an_ended_one_says_why(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            await client.apply(b"before")
            await client.open()
            assert await client.apply(b"after") == b"did after"
            assert client.session.streams == 1
            cluster.apply(close_envelope(client.session.session_id))
            for attempt in (client.apply(b"never"), client.open()):
                with pytest.raises(SessionExpiredError):
                    await attempt

    run(scenario)


def test_an_opening_that_was_stopped_at_the_last_moment_is_made_good(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            client.session._stop()
            await client.open()
            assert await client.apply(b"x") == b"did x"

    run(scenario)


def test_an_opening_that_was_stopped_at_the_last_moment_is_kept_alive(fake_cluster, monkeypatch):
    monkeypatch.setattr(pursuit, "KEEP_ALIVE_S", 0.01)

    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            client.session._stop()
            while not cluster.keep_alives.empty():
                cluster.keep_alives.get_nowait()
            await client.open()
            async with asyncio.timeout(5):
                assert await cluster.keep_alives.get() == client.session.session_id

    run(scenario)


def test_a_call_alone_that_cannot_be_made_ends_the_session(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:

            async def wrong(*_):
                raise TypeError("no message")

            with pytest.raises(TypeError):
                await client.session.alone(wrong)
            with pytest.raises(UnknownOutcomeError, match="sequence 1 was given up"):
                await client.apply(b"y")

    run(scenario)


def test_a_refused_command_ends_the_session_with_the_nodes_words(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster:
            cluster.fault = lambda node, sequence: "invalid" if sequence == 2 else ""
            async with Client(addresses(cluster)) as client:
                assert await client.apply(b"1") == b"did 1"
                with pytest.raises(SessionRefusedError, match="not to my taste"):
                    await client.apply(b"2")

    run(scenario)


def test_too_many_sessions_is_a_clear_error(fake_cluster):
    async def scenario():
        async with fake_cluster(1, limits=SessionLimits(sessions=1)) as cluster, Client(addresses(cluster)):
            with pytest.raises(SessionRefusedError, match="TOO_MANY_SESSIONS"):
                async with Client(addresses(cluster)):
                    pass

    run(scenario)


def test_no_answer_in_time_leaves_the_outcome_open_and_the_session_usable(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.leader = None
            client.timeout_s = 0.1  # only now: a busy machine may need longer to open the session
            with pytest.raises(UnknownOutcomeError, match="may still take effect"):
                await client.apply(b"1")
            cluster.leader = cluster.nodes[0]
            later = await client.submit(b"2")
            assert await later == b"did 2"
            assert cluster.recorder.commands == [b"1", b"2"]

    run(scenario)


def test_the_window_bounds_what_is_under_way(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster), window=3) as client:
            cluster.leader = None
            for command in numbered(3):
                await client.submit(command)
            fourth = asyncio.ensure_future(client.submit(b"3"))
            done, _ = await asyncio.wait((fourth,), timeout=0.05)
            assert not done
            cluster.leader = cluster.nodes[0]
            assert await (await fourth) == b"did 3"

    run(scenario)


def test_closing_fails_what_is_under_way_and_ends_the_session(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster:
            client = Client(addresses(cluster))
            await client.open()
            assert len(cluster.machine) == 1
            cluster.leader = None
            waiting = await client.submit(b"x")
            cluster.leader = cluster.nodes[0]
            await client.close()
            with pytest.raises(StoppedError):
                await waiting
            assert len(cluster.machine) == 0
            with pytest.raises(StoppedError):
                await client.submit(b"y")

    run(scenario)


def alone(command):
    async def call(channel, session_id, sequence, acknowledged):
        request = pb.ApplyRequest(session_id=session_id, sequence=sequence, acknowledged=acknowledged, command=command)
        return await MachineStub(channel).Apply(request, timeout=1)

    return call


def test_a_command_alone_shares_the_sequences_and_follows_the_leader(fake_cluster):
    async def scenario():
        async with fake_cluster(2) as cluster, Client(addresses(cluster), window=4) as client:
            broken = set()

            def break_off(node, sequence):
                if sequence in (11, 12) and sequence not in broken:
                    broken.add(sequence)
                    cluster.leader = cluster.nodes[sequence % 2]
                    return "drop" if sequence == 11 else "refuse"
                return ""

            cluster.fault = break_off
            futures = [await client.submit(command) for command in numbered(10)]
            for number in (10, 11):
                assert (await client.session.alone(alone(b"%d" % number))).answer == b"did %d" % number
            assert all(future.done() for future in futures)
            assert await client.apply(b"12") == b"did 12"
            assert cluster.recorder.commands == numbered(13)
            assert broken == {11, 12}

    run(scenario)


def test_two_commands_alone_at_once_are_sent_one_after_the_other(fake_cluster):
    """Each needs the whole window; taken bit by bit by both, neither would have it."""

    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster), window=4) as client:
            futures = [await client.submit(command) for command in numbered(3)]
            async with asyncio.timeout(5):
                await asyncio.gather(*(client.session.alone(alone(b"%d" % number)) for number in (3, 4)))
            assert all(future.done() for future in futures)
            assert cluster.recorder.commands == numbered(5)

    run(scenario)


def test_a_command_alone_that_is_refused_leaves_no_gap(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            with pytest.raises(RefusedError, match="not to my taste"):
                await client.session.alone(alone(b"bad"))
            assert await client.apply(b"good") == b"did good"

    run(scenario)


def test_a_number_whose_command_may_be_in_the_log_is_never_used_again(fake_cluster):
    """The second command would be told the first one's answer and never be executed."""

    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            attempts = []

            async def call(channel, session_id, sequence, acknowledged):
                attempts.append(sequence)
                command = b"bad" if len(attempts) > 1 else b"first"
                response = await alone(command)(channel, session_id, sequence, acknowledged)
                raise_unavailable(response)

            with pytest.raises(UnknownOutcomeError, match="not to my taste"):
                await client.session.alone(call)
            assert cluster.recorder.commands == [b"first"]
            with pytest.raises(UnknownOutcomeError, match="sequence 1 was refused after a failure"):
                await client.session.alone(alone(b"second"))
            assert cluster.recorder.commands == [b"first"]

    def raise_unavailable(_response):
        nothing = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details="the answer was lost")

    run(scenario)


def test_a_command_alone_that_is_given_up_ends_the_session(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.leader = None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.session.alone(alone(b"x")), 0.1)
            with pytest.raises(UnknownOutcomeError, match="sequence 1 was given up"):
                await client.apply(b"y")

    run(scenario)


def test_an_idle_session_is_kept_alive(fake_cluster, monkeypatch):
    monkeypatch.setattr(pursuit, "KEEP_ALIVE_S", 0.01)

    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            for _ in range(2):
                assert await cluster.keep_alives.get() == client.session.session_id

    run(scenario)


def test_a_read_in_vain_tells_what_the_nodes_that_run_said():
    async def leaderless(channel):
        if channel == "127.0.0.1:1":
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "refused")
        reason = grpc.aio.Metadata(("matchengine-reason", "no-quorum"))
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), reason, "no leader is known")

    class Addresses:
        def get(self, address):
            return address

    async def scenario():
        for order in (("127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:2", "127.0.0.1:1")):
            with pytest.raises(NoLeaderError, match=r"no node could answer within 0.1 s: no leader is known"):
                await leader_module.read_any(order, Addresses(), leaderless, 0.1)

    run(scenario)


def test_queries_go_to_any_node_that_answers(fake_cluster, monkeypatch):
    from matchengine.client import session

    monkeypatch.setattr(session, "ATTEMPT_S", 0.1)

    async def scenario():
        async with fake_cluster(2) as cluster, Client(addresses(cluster)) as client:
            await client.apply(b"x")
            assert await client.query(b"count") == b"1"
            cluster.nodes[0].awake.clear()
            assert await client.query(b"count") == b"1"
            cluster.nodes[0].awake.set()
            with pytest.raises(RefusedError, match="'bad' is none"):
                await client.query(b"bad")

    run(scenario)


def test_addresses_and_window_are_checked():
    assert parse_addresses(" a:1, b:2,a:1 ") == ("a:1", "b:2")
    with pytest.raises(ValueError, match="at least one"):
        parse_addresses(" , ")
    with pytest.raises(ValueError, match="window: 0"):
        Client("a:1", window=0)


# --- answers in slices ---------------------------------------------------------------------

LONG = b"a command whose answer has many slices"


def test_an_answer_in_slices_is_put_together(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.slice_bytes = 5
            assert await send_all(client, [LONG, b"x", LONG]) == [b"did " + LONG, b"did x", b"did " + LONG]
            assert len(cluster.sent) == 9 + 1 + 9

    run(scenario)


@pytest.mark.parametrize("knows_slices", [True, False])
def test_a_broken_answer_goes_on_where_it_stopped_whoever_leads(fake_cluster, knows_slices):
    """Also at a node from before slices, which sends everything again."""

    async def scenario():
        async with fake_cluster(3) as cluster, Client(addresses(cluster)) as client:
            cluster.slice_bytes = 5
            first, second, _ = cluster.nodes

            def cut(node, position):
                if node is not first or position != 20:
                    return False
                cluster.leader = second
                cluster.slice_bytes = 5 if knows_slices else 0
                return True

            cluster.cut = cut
            assert await client.apply(LONG) == b"did " + LONG
            assert cluster.recorder.commands == [LONG]
            sent = [position for node, position in cluster.sent if node is second]
            assert sent == ([20, 25, 30, 35, 40] if knows_slices else [0])

    run(scenario)


@pytest.mark.parametrize("slice_bytes", [0, 5])
def test_slices_are_there_as_they_come(fake_cluster, slice_bytes):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.slice_bytes = slice_bytes
            parts = [part async for part in client.slices(LONG)]
            assert b"".join(parts) == b"did " + LONG
            assert len(parts) == (9 if slice_bytes else 1)
            with pytest.raises(TypeError, match="command: int is not bytes"):
                await anext(client.slices(3))

    run(scenario)


def test_slices_that_nobody_wants_any_more_do_no_harm(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.slice_bytes = 5
            parts = client.slices(LONG)
            assert await anext(parts) == b"did a"
            await parts.aclose()
            assert await client.apply(b"x") == b"did x"
            cluster.cut = lambda node, position: True
            parts, complaints = client.slices(LONG), []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(parts), 0.05)
            client.session.pursuit.end(StoppedError("enough"))
            await asyncio.sleep(0)
            gc.collect()
            assert not complaints

    run(scenario)


class ShiftedLoop(asyncio.SelectorEventLoop):
    """Time passes when the test says so."""

    now = 0.0

    def time(self):
        return self.now

    async def passes(self, seconds):
        self.now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["apply", "slices"])
def test_the_time_allowed_is_for_each_slice(monkeypatch, how):
    async def scenario():
        loop = asyncio.get_running_loop()
        client, listeners = Client("127.0.0.1:1", timeout_s=10), []

        async def submit(command, heard, *, keeps=True):
            listeners.append(heard)
            return loop.create_future()

        async def consume():
            if how == "apply":
                return await client.apply(b"x")
            return [part async for part in client.slices(b"x")]

        monkeypatch.setattr(client.session, "submit", submit)
        task = asyncio.create_task(consume())
        await loop.passes(1)
        for _ in range(5):
            listeners[0](pb.ApplyResponse(answer=b"x"))
            await loop.passes(0)
            await loop.passes(9)
            assert not task.done()
        await loop.passes(2)
        assert task.done()
        with pytest.raises(UnknownOutcomeError, match="no answer within 10 s"):
            await task
        await client.channels.close()

    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        runner.run(scenario())


def test_a_session_that_ends_in_the_middle_of_slices_says_so(fake_cluster):
    async def scenario():
        async with fake_cluster(1) as cluster, Client(addresses(cluster)) as client:
            cluster.slice_bytes = 5

            def cut(node, position):
                if position == 20:
                    cluster.apply(close_envelope(client.session.session_id))
                return position == 20

            cluster.cut = cut
            parts = client.slices(LONG)
            assert [await anext(parts) for _ in range(4)] == [b"did a", b" comm", b"and w", b"hose "]
            with pytest.raises(SessionExpiredError):
                await anext(parts)

    run(scenario)
