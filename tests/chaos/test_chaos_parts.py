"""The parts of a chaos run that need no process: schedule, relay, requirements and command line."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
from random import Random

import pytest

from matchengine.chaos import network, sandbox
from matchengine.chaos.network import Network, Shape
from matchengine.chaos.relay import Relay
from matchengine.chaos.schedule import LANES, Kind
from matchengine.cli import chaos as command
from matchengine.cli.main import main


def test_a_schedule_comes_from_its_seed() -> None:
    for lane in LANES:
        first = list(itertools.islice(lane.faults(7), 50))
        assert first == list(itertools.islice(lane.faults(7), 50))
        assert first != list(itertools.islice(lane.faults(8), 50))
        assert {fault.kind for fault in first} == set(lane.deck)
        assert all(lane.pause_s[0] <= fault.pause_s <= lane.pause_s[1] for fault in first)
        assert all(lane.hold_s[0] <= fault.hold_s <= lane.hold_s[1] for fault in first)
    assert {kind for lane in LANES for kind in lane.deck} == set(Kind)


HOSTS = {"10.77.0.1": "02:00:00:00:00:01", "10.77.0.11": "02:00:00:00:00:0b"}
RELAY = "02:00:00:00:ff:01"


def frame(target=RELAY, ethertype="0800", source_ip="10.77.0.1", target_ip="10.77.0.11", body=b"hello"):
    addresses = bytes.fromhex(target.replace(":", "") + "020000000001" + ethertype)
    ips = bytes(map(int, f"{source_ip}.{target_ip}".split(".")))
    return addresses + bytes(12) + ips + body


BACK = frame(source_ip="10.77.0.11", target_ip="10.77.0.1", body=b"back")


class Line:
    """A relay whose device is a socket: what it sends can be read at the other end."""

    def __init__(self) -> None:
        self.relay = Relay(Random(1))
        self.end, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.setblocking(False)
        device.setblocking(False)
        self.relay._serve(device.detach(), HOSTS, RELAY)

    async def passes_on(self, *frames):
        """What comes out; a frame that nothing is done to shows that no more comes."""
        for each in (*frames, BACK):
            self.end.send(each)
        got = [await self.receive()]
        while got[-1][12:] != BACK[12:]:
            got.append(await self.receive())
        return got[:-1]

    async def receive(self):
        async with asyncio.timeout(30):
            return await asyncio.get_running_loop().sock_recv(self.end, 2000)

    def close(self) -> None:
        self.relay.close()
        self.end.close()


def on_a_line(scenario):
    async def run():
        line = Line()
        try:
            await scenario(line)
        finally:
            line.close()

    asyncio.run(run())


def test_the_relay_passes_frames_on_to_the_host_that_they_are_for() -> None:
    async def scenario(line):
        (got,) = await line.passes_on(frame())
        assert got[:6] == bytes.fromhex("02000000000b")
        assert got[6:12] == bytes.fromhex("02000000ff01")
        assert got[12:] == frame()[12:]

    on_a_line(scenario)


def test_the_relay_ignores_what_is_not_for_it() -> None:
    async def scenario(line):
        strange = (frame(target="02:00:00:00:00:0b"), frame(ethertype="86dd"), frame(target_ip="10.77.0.99"), b"x")
        assert await line.passes_on(*strange) == []

    on_a_line(scenario)


def test_the_relay_loses_a_share_of_one_hosts_frames() -> None:
    async def scenario(line):
        line.relay.shape("10.77.0.1", (0.0, 0.0, 0.5))
        mine = [frame(body=bytes([n])) for n in range(100)]
        got = [await line.passes_on(*mine[start : start + 5]) for start in range(0, 100, 5)]
        assert 30 < sum(map(len, got)) < 70
        line.relay.shape("10.77.0.1", None)
        assert len(await line.passes_on(*mine[:5])) == 5

    on_a_line(scenario)


def test_the_relay_delays_frames() -> None:
    async def scenario(line):
        line.relay.shape("10.77.0.1", (300.0, 0.0, 0.0))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        line.end.send(frame())
        await line.receive()
        assert loop.time() - begun >= 0.29

    on_a_line(scenario)


@pytest.fixture
def tc(tmp_path, monkeypatch):
    """A kernel with netem, as far as ``tc`` tells: it writes down what it is asked and says yes."""
    asked = tmp_path / "asked"
    program = tmp_path / "tc"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return lambda: asked.read_text().splitlines()


def test_netem_shapes_what_leaves_a_host_and_nothing_stays(tc, tmp_path, monkeypatch) -> None:
    routed = []
    monkeypatch.setattr(network, "_batch", lambda where, lines: routed.append(where))
    monkeypatch.setattr(Network, "_place_relay", lambda self: pytest.fail("there is netem"))
    monkeypatch.setattr(network, "_NAMES", tmp_path / "names")
    monkeypatch.setattr(network, "_run", tc_alone(network._run))
    built = Network(["n1", "n2"], Relay(Random(1)))
    built.build()
    assert built.shaper == "tc netem"
    routed.clear()
    first, second = built.hosts
    built.shape(first, Shape(37.5, 18.75, 0.0))
    built.shape(second, Shape(0.5, 0.0, 0.0125))
    built.shape(first, None)
    assert not routed  # the way stays what it is: no relay
    assert tc() == [
        "-n mech-hub qdisc replace dev br0 root netem delay 1ms",
        "-n mech-hub qdisc del dev br0 root",
        "-n mech-n1 qdisc replace dev eth0 root netem delay 37.5ms 18.75ms loss 0.0000%",
        "-n mech-n2 qdisc replace dev eth0 root netem delay 0.5ms 0ms loss 1.2500%",
        "-n mech-n1 qdisc del dev eth0 root",
    ]


def tc_alone(run):
    return lambda *words, text="": run(*words, text=text) if words[0] == "tc" else None


@pytest.mark.skipif(shutil.which("tc") is None, reason="no tc")
def test_what_netem_is_asked_is_what_tc_understands() -> None:
    """It reads all words before it looks for the device, which does not exist."""

    def complaint(loss):
        words = f"qdisc replace dev mech-nothing root netem delay 37.5ms 18.75ms loss {loss}"
        return subprocess.run(["tc", *words.split()], capture_output=True, text=True, check=False).stderr

    assert "Cannot find device" in complaint("1.2500%")
    assert "Illegal" in complaint("1.2500x")


def test_without_netem_or_tc_there_is_the_relay(tmp_path, monkeypatch) -> None:
    (tmp_path / "tc").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "tc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not network._has_netem()
    (tmp_path / "tc").unlink()
    assert not network._has_netem()


def test_without_namespaces_the_command_says_what_is_missing(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    assert main(["chaos", "--minutes", "1"]) == 3
    assert "network namespaces need root" in capsys.readouterr().err
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 0)
    monkeypatch.setattr(sandbox.shutil, "which", lambda tool: None if tool == "ip" else tool)
    assert main(["chaos", "--minutes", "1"]) == 3
    assert "not installed: ip (Debian: iproute2, util-linux)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--minutes", "0"], "--minutes 0 is not from 0.05 to 1440"),
        (["--nodes", "2"], "--nodes 2 is not from 3 to 7"),
        (["--clients", "0"], "--clients 0 is not from 1 to 64"),
        (["--engine", "raft"], "--engine 'raft' is none of"),
        (["--seed", "-1"], "--seed -1 is not from 0"),
    ],
)
def test_unusable_options(arguments, complaint, capsys) -> None:
    assert main(["chaos", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_the_run_inside_gets_all_that_was_asked_for(monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(command, "what_is_missing", str)
    monkeypatch.setattr(command, "run_inside", lambda words: commands.append(words) or 0)
    arguments = ["--minutes", "2.5", "--seed", "9", "--nodes", "5", "--clients", "3", "--rate", "40", "--json"]
    main(["chaos", *arguments, "--work-dir", "a", "--history", "b", "--engine", "matchengine,matchengine"])
    words = commands[0][3:]
    seen = []
    monkeypatch.setattr(command, "stop_at_eof", lambda: None)
    monkeypatch.setattr(command, "run_and_print", lambda options, json: seen.append((options, json)) or 0)
    main(words)
    options, json = seen[0]
    assert (options.minutes, options.seed, options.nodes, options.clients, options.rate) == (2.5, 9, 5, 3, 40)
    assert (str(options.work_dir), str(options.history), len(options.engines), json) == ("a", "b", 2, True)
