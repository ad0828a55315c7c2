"""Running one simulation: faults for so many steps, then peace, in which the cluster has to recover."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from matchengine.testing.simulator.faults import ALL, Fault, Schedule
from matchengine.testing.simulator.host import End
from matchengine.testing.simulator.invariants import (
    AGREEMENT,
    IDLE_SESSIONS,
    MEMORY,
    PROGRESS,
    UNEXPECTED,
    InvariantError,
)
from matchengine.testing.simulator.node_rules import held_by
from matchengine.testing.simulator.oracle import digest
from matchengine.testing.simulator.process import Process
from matchengine.testing.simulator.session_rules import idle_longer_than
from matchengine.testing.simulator.timeline import SECOND
from matchengine.testing.simulator.trace import WORLD
from matchengine.testing.simulator.watchdog import Watchdog
from matchengine.testing.simulator.workloads import ExchangeWorkload, Workload
from matchengine.testing.simulator.world import World

#: Within this time after the last fault everything has to work again, in microseconds.
RECOVERY_US: Final = 60 * SECOND
#: Within this time an operator gets an answer in a cluster at rest.
_ANSWERED_US: Final = 10 * SECOND
#: Whether sessions that are idle for longer end is not waited for.
_LONGEST_IDLE_US: Final = 20 * SECOND
DEFAULT_STEPS: Final = 20_000
#: As many as the seed says.
DEFAULT_NODES: Final = 0


class Plan(msgspec.Struct, frozen=True):
    """What one run is made of; equal plans give equal runs.

    ``steps`` are events under faults, ``nodes`` the voters at the start, 0: as many as the seed says.
    ``keep`` names the faults of the schedule that happen, None all of them.
    ``without`` names checkers that are left out.
    """

    seed: int
    steps: int = DEFAULT_STEPS
    nodes: int = DEFAULT_NODES
    faults: tuple[Fault, ...] = ALL
    keep: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """How a run went; ``failure`` is None when every rule held."""

    plan: Plan
    failure: InvariantError | None
    steps: int
    simulated_us: int
    counts: dict[str, int]
    faults: Sequence[tuple[int, int, str]]
    trace: Sequence[str]


def run(plan: Plan, workload: Workload | None = None, *, traced: bool = False) -> Result:
    """Run one plan, of the exchange unless ``workload`` says otherwise."""
    world = World(plan.seed, plan.nodes, workload or ExchangeWorkload(), traced=traced, without=frozenset(plan.without))
    simulation = _Simulation(world, plan)
    failure = None
    with _quiet(), Watchdog(world.timeline):
        try:
            simulation.run()
        except InvariantError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whoever raised it, the seed and the schedule have to be told
            failure = _unexpected(error)
    if failure is not None:
        world.note(WORLD, f"FAILED: {failure}")
    return Result(
        plan,
        failure,
        world.timeline.steps,
        world.timeline.now,
        dict(world.counts),
        simulation.faults,
        world.trace.lines() if traced else (),
    )


def _unexpected(error: Exception) -> InvariantError:
    """An error as a broken rule; of its traceback only the last line, since paths differ from machine to machine."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    failure = InvariantError(UNEXPECTED, f"{error!r} in {last.name}, {Path(last.filename).name}:{last.lineno}")
    failure.__cause__ = error
    return failure


@contextmanager
def _quiet() -> Iterator[None]:
    """What the storage would log about crashes is in the trace, if anywhere."""
    logger = logging.getLogger("matchengine")
    was = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(was)


class _Simulation:
    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self.faults: Sequence[tuple[int, int, str]] = ()

    def run(self) -> None:
        world, plan = self._world, self._plan
        world.start()
        schedule = Schedule(world, plan.faults, None if plan.keep is None else frozenset(plan.keep))
        self.faults = schedule.log
        world.timeline.run_to(plan.steps)
        schedule.stop()
        world.note(WORLD, "the faults are over")
        world.sleeps = False
        self._recover()

    def _recover(self) -> None:
        """Everybody gets an answer to a command given from now on, and all members agree."""
        world = self._world
        self._ended = world.timeline.now
        bound = self._ended + RECOVERY_US
        wanted = {client: client.answered + 3 for client in world.clients}

        def all_have_answers() -> bool:
            return all(client.answered >= goal for client, goal in wanted.items())

        if self._comes_true(all_have_answers, bound, "a client gets no answers"):
            world.is_closing = True
            if self._comes_true(self._all_are_as_far, bound, "the members do not come equally far"):
                self._compare()
                self._comes_true(self._nothing_is_held, bound, "something is kept for nobody", MEMORY)
                self._comes_true(self._idle_sessions_are_over, bound, "an idle session stays", IDLE_SESSIONS)
                self._ask_a_restarted_node()

    def _ask_a_restarted_node(self) -> None:
        """In a cluster at rest, a node that has just started answers an operator who wants a snapshot."""
        world = self._world
        members = self._members()
        host = next((p.host for p in members if not p.leads), members[0].host if members else None)
        if host is None:
            return
        host.end_soon(End.KILLED, 0)
        host.start()
        answers: list[object] = []
        if host.process is not None:
            host.process.enter(host.process.replica.snapshot, lambda *answer: answers.append(answer))
            bound = world.timeline.now + _ANSWERED_US
            self._comes_true(lambda: bool(answers), bound, f"{host.id} owes an operator a snapshot")

    def _comes_true(self, condition: Callable[[], bool], bound: int, complaint: str, rule: str = PROGRESS) -> bool:
        timeline = self._world.timeline
        while not condition():
            if timeline.now > bound:
                self._world.fail(rule, f"{complaint}, {self._since(timeline.now)} s after the last fault")
                return False
            timeline.step()
        return True

    def _since(self, now: int) -> int:
        return (now - self._ended) // SECOND

    def _nothing_is_held(self) -> bool:
        """Whether no member keeps anything for a peer or a client; those that are none wait for what never comes."""
        return not any(held_by(process) for process in self._members())

    def _idle_sessions_are_over(self) -> bool:
        """Whether the leader has ended what was idle; stamps tell nothing once a clock has jumped."""
        world = self._world
        leader = world.leader()
        if (
            leader is None
            or leader.process is None
            or world.counts[Fault.CLOCK_JUMP]
            or world.session_idle_us > _LONGEST_IDLE_US
        ):
            return leader is not None
        return not idle_longer_than(leader.process, world.session_idle_us * 11 // 10 + SECOND)

    def _members(self) -> list[Process]:
        world = self._world
        leader = world.leader()
        if leader is None or leader.process is None:
            return []
        hosts = [world.hosts[server.id] for server in leader.process.core.membership.latest.servers]
        return [host.process for host in hosts if host.process is not None]

    def _all_are_as_far(self) -> bool:
        """Whether clients rest, and every member has applied all that its leader has."""
        world = self._world
        if not all(client.is_resting for client in world.clients):
            return False
        leader = world.leader()
        if leader is None or leader.process is None:
            return False
        core = leader.process.replica.core
        log = core.log
        if log.commit != log.last_index or log.applied != log.commit or not core.membership.is_settled:
            return False
        hosts = [world.hosts[server.id] for server in core.membership.latest.servers]
        return all(
            h.process is not None
            and h.process.replica.applied == log.commit
            and not h.process.replica.core.log.restoring
            for h in hosts
        )

    def _compare(self) -> None:
        world = self._world
        leader = world.leader()
        assert leader is not None
        assert leader.process is not None
        process = leader.process
        membership = process.replica.core.membership
        for server in membership.latest.servers:
            other = world.hosts[server.id].process
            assert other is not None
            if digest(other.sessions) != digest(process.sessions):
                world.fail(AGREEMENT, f"{server.id} and {leader.id} differ at {process.replica.applied}")
            if other.replica.core.membership.latest != membership.latest:
                world.fail(AGREEMENT, f"{server.id} and {leader.id} know different members")


def named(kinds: Sequence[str]) -> tuple[Fault, ...]:
    """Kinds of faults by their names, in this order, which is part of the run; ValueError for one that is none."""
    known = {kind.value: kind for kind in Fault}
    unknown = sorted(set(kinds) - known.keys())
    if unknown:
        raise ValueError(f"faults: {', '.join(unknown)} is none of {', '.join(known)}")
    return tuple(known[kind] for kind in dict.fromkeys(kinds))
