"""What a run takes for a leak, and which faults it can be asked for."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from matchengine.chaos import gauges
from matchengine.chaos.gauges import Gauges, open_descriptors
from matchengine.chaos.schedule import LANES, lanes_named
from matchengine.cli.main import main


class Node:
    """A process that uses what it is told to."""

    running = True
    pid = 7

    def family(self) -> list[int]:
        return [self.pid]


@pytest.fixture
def usage(monkeypatch):
    """What the one node uses from now on: resident pages, descriptors, threads."""
    now = SimpleNamespace(pages=20_000, descriptors=30, threads=10)
    fields = {gauges._RESIDENT: "pages", gauges._THREADS: "threads"}
    monkeypatch.setattr(gauges, "process_stat", lambda _pid, field: getattr(now, fields[field]))
    monkeypatch.setattr(gauges, "open_descriptors", lambda _pid: now.descriptors)
    return now


@pytest.fixture
def place():
    return SimpleNamespace(name="n1", process=Node(), disk=SimpleNamespace(used_bytes=lambda: 5))


def sampled(place, samples, change=lambda number: None) -> Gauges:
    watched = Gauges([place])
    for number in range(samples):
        change(number)
        watched._sample()
    return watched


def test_a_node_that_uses_the_same_all_the_time_does_not_grow(usage, place):
    assert sampled(place, 200).growth() == []


@pytest.mark.parametrize(
    ("gauge", "step", "text"),
    [
        ("pages", 1000, "resident bytes"),
        ("descriptors", 1, "descriptors"),
        ("threads", 1, "threads"),
    ],
)
def test_what_goes_on_rising_through_a_long_life_is_told(usage, place, gauge, step, text):
    def rise(_number: int) -> None:
        setattr(usage, gauge, getattr(usage, gauge) + step)

    (sentence,) = sampled(place, 200, rise).growth()
    assert sentence.startswith(f"n1: {text} of process 7 rose from ")


def test_a_start_that_fills_caches_is_not_taken_for_growth(usage, place):
    def settle(number: int) -> None:
        usage.descriptors = min(30 + number, 79)

    assert sampled(place, 200, settle).growth() == []


def test_every_process_has_a_life_of_its_own(usage, place):
    """Short lives do not add up: a node that is killed again and again starts afresh."""

    def live_shortly(number: int) -> None:
        place.process.pid = number // 50
        usage.descriptors = 30 + number

    watched = sampled(place, 200, live_shortly)
    assert watched.growth() == []
    assert watched.descriptors()["n1"].most == 229


def test_descriptors_are_counted():
    before = open_descriptors(os.getpid())
    ends = os.pipe()
    assert open_descriptors(os.getpid()) == before + 2
    for end in ends:
        os.close(end)
    assert open_descriptors(2**22 + 1) == 0


def test_lanes_are_chosen_by_name():
    assert [lane.name for lane in lanes_named(["network", "clients"])] == ["network", "clients"]
    assert lanes_named([lane.name for lane in LANES]) == LANES


@pytest.mark.parametrize(("faults", "text"), [("network,power", "'power' is not one of"), ("clients,clients", "twice")])
def test_an_unknown_sort_of_fault_is_refused_by_name(faults, text, capsys):
    assert main(["chaos", "--faults", faults]) == 2
    assert text in capsys.readouterr().err
