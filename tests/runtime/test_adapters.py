"""The adapters that bring threads and the event loop's clock to the node's logic."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from matchengine.raft.ready import Write
from matchengine.raft.types import HardState
from matchengine.runtime.binding import bind_failure
from matchengine.runtime.config import NodeConfig, is_loopback
from matchengine.runtime.disk import DiskThread
from matchengine.runtime.ticker import Ticker
from matchengine.runtime.worker import WorkerThread


class FakeStorage:
    """Records batches; blocks while ``gate`` is closed; fails at ``fail_at``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.fail_at: int | None = None

    def perform(self, writes: Sequence[Write]) -> None:
        self.started.set()
        self.gate.wait(30)
        numbers = [w.number for w in writes]
        if self.fail_at in numbers:
            raise OSError("disk on fire")
        self.batches.append(numbers)


def _write(number: int) -> Write:
    return Write(number, hard_state=HardState(number, "a"))


def test_writes_are_performed_in_order_and_reported_on_the_loop():
    async def main() -> None:
        storage, loop = FakeStorage(), asyncio.get_running_loop()
        disk = DiskThread(storage, loop)
        done: list[tuple[int, Exception | None, int]] = []
        for number in range(1, 6):
            disk.submit(_write(number), lambda e, n=number: done.append((n, e, threading.get_ident())))
        assert not done
        assert await disk.close()
        await asyncio.sleep(0)
        assert [n for batch in storage.batches for n in batch] == [1, 2, 3, 4, 5]
        assert done == [(n, None, threading.get_ident()) for n in range(1, 6)]

    asyncio.run(main())


def test_writes_that_wait_share_one_sync():
    async def main() -> None:
        storage, loop = FakeStorage(), asyncio.get_running_loop()
        disk = DiskThread(storage, loop)
        storage.gate.clear()
        disk.submit(_write(1), lambda e: None)
        await asyncio.to_thread(storage.started.wait, 30)
        for number in range(2, 50):
            disk.submit(_write(number), lambda e: None)
        storage.gate.set()
        assert await disk.close()
        assert storage.batches == [[1], list(range(2, 50))]

    asyncio.run(main())


def test_after_a_failed_write_nothing_is_written():
    async def main() -> None:
        storage, loop = FakeStorage(), asyncio.get_running_loop()
        storage.fail_at = 1
        disk = DiskThread(storage, loop)
        failed: asyncio.Future[Exception] = loop.create_future()
        disk.submit(_write(1), failed.set_result)
        assert "fire" in str(await failed)
        disk.submit(_write(2), lambda e: pytest.fail("performed after a failure"))
        assert await disk.close()
        assert storage.batches == []

    asyncio.run(main())


def test_a_hanging_disk_does_not_hang_the_end():
    async def main() -> None:
        storage, loop = FakeStorage(), asyncio.get_running_loop()
        storage.gate.clear()
        disk = DiskThread(storage, loop)
        disk.submit(_write(1), lambda e: None)
        assert not await disk.close(timeout_s=0.01)
        storage.gate.set()

    asyncio.run(main())


def test_work_and_its_errors_come_back_on_the_loop():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        worker = WorkerThread(loop)
        results: asyncio.Queue[tuple[Any, Exception | None]] = asyncio.Queue()
        here = threading.get_ident()

        def done(result: Any, error: Exception | None) -> None:
            assert threading.get_ident() == here
            results.put_nowait((result, error))

        worker.run(threading.get_ident, done)
        result, error = await results.get()
        assert error is None
        assert result != here
        worker.run(lambda: 1 // 0, done)
        result, error = await results.get()
        assert isinstance(error, ZeroDivisionError)
        worker.close()

    asyncio.run(main())


class FakeLoop:
    """A loop's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        self.due.append((when, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def move_to(self, now: float) -> None:
        self.now = now
        while self.due and self.due[0][0] <= now:
            self.due.pop(0)[1]()


def test_ticks_come_at_their_interval():
    loop, ticks = FakeLoop(), []
    Ticker(loop, 0.01, lambda: ticks.append(loop.now))
    for step in range(1, 101):
        loop.move_to(step * 0.01 + 1e-9)
    assert len(ticks) == 100


def test_ticks_missed_in_a_stall_are_dropped():
    loop, ticks = FakeLoop(), []
    Ticker(loop, 0.01, lambda: ticks.append(loop.now))
    loop.move_to(5.0)
    assert len(ticks) <= 2


def test_a_stall_is_told_in_the_log_and_the_next_one_only_after_a_while(caplog):
    caplog.set_level("INFO")
    loop = FakeLoop()
    Ticker(loop, 0.01, lambda: None)
    for now in (0.31, 1.0, 9.0, 11.0):
        loop.move_to(now)
    assert caplog.messages == [f"the event loop stood still for {ms} ms" for ms in (300, 1990)]


def test_a_stopped_ticker_is_silent():
    loop, ticks = FakeLoop(), []
    ticker = Ticker(loop, 0.01, lambda: ticks.append(1))
    ticker.stop()
    loop.move_to(1.0)
    assert ticks == []


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("address", "nowhere", "host:port"),
        ("address", ":50051", "host:port"),
        ("address", "ipv4:localhost:50051", "host:port"),
        ("address", "::1:50051", "host:port"),
        ("address", "[]:50051", "host:port"),
        ("address", "localhost:" + "9" * 5000, "port"),
        ("address", "h:0", "1 to 65535"),
        ("address", "h:65536", "1 to 65535"),
        ("address", "h:port", "1 to 65535"),
        ("address", "0.0.0.0:1", "every address of a machine.*listen on this one"),
        ("address", "[::]:1", "every address of a machine"),
        ("listen", "nowhere", "host:port"),
        ("id", "", "empty"),
        ("session_idle_s", 0.0, "above 0"),
        ("trailing_entries", -1, "below 0"),
    ],
)
def test_a_bad_setting_is_refused_by_name(field, value, rule, tmp_path):
    settings = {"id": "a", "address": "127.0.0.1:1", "data_dir": tmp_path, field: value}
    with pytest.raises(ValueError, match=f"{field}.*{rule}"):
        NodeConfig(**settings)


def test_every_address_can_be_listened_on(tmp_path):
    assert NodeConfig("a", "127.0.0.1:1", tmp_path, listen="0.0.0.0:1").listen_address == "0.0.0.0:1"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (
            "no-such-name.invalid",
            r"the name 'no-such-name.invalid' is not known here \(.+\); let it listen on an address of",
        ),
        (
            "192.0.2.1",
            r"it is no address of this machine; let it listen on .+, such as 0.0.0.0:\d+ \(option --listen\)",
        ),
        ("127.0.0.1", "the port is in use; end the process that has it, or choose another port"),
        ("[::ffff:127.0.0.1]", "the port is in use"),
    ],
)
def test_what_cannot_be_bound_says_why_and_what_to_do(host, reason):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{host}:{other.getsockname()[1]}"
        text = bind_failure("listen", address)
    assert re.match(f"listen: cannot bind {re.escape(address)}: {reason}", text), text


@pytest.mark.parametrize(
    ("address", "answer"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("example.net:1", False)],
)
def test_loopback_is_told_from_the_rest(address, answer):
    assert is_loopback(address) is answer
