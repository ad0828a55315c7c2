"""What goes wrong, and when: a schedule of faults out of the seed.

Every fault of the schedule has a number and draws from a stream of its own, so that the schedule can be run with any
of its faults left out, and the rest stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from matchengine.raft.types import Suffrage
from matchengine.testing.simulator.ambush import Ambushes
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.host import End
from matchengine.testing.simulator.moments import Moment
from matchengine.testing.simulator.timeline import MS, SECOND
from matchengine.testing.simulator.trace import WORLD

if TYPE_CHECKING:
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.world import World


class Fault(StrEnum):
    """The kinds of faults."""

    DELAY = "delay"
    LOSS = "loss"
    DUPLICATION = "duplication"
    REORDERING = "reordering"
    PARTITION = "partition"
    ONE_WAY = "one-way"
    PARTIAL = "partial"
    SLOW_LINK = "slow-link"
    BROKEN_STREAM = "broken-stream"
    POWER = "power"
    TORN_SECTOR = "torn-sector"
    ROT = "rot"
    WRITE_ERROR = "write-error"
    SYNC_ERROR = "sync-error"
    FULL_DISK = "full-disk"
    HANGING_DISK = "hanging-disk"
    KILL = "kill"
    PAUSE = "pause"
    ROLLBACK = "rollback"
    UPGRADE = "upgrade"
    WIPE = "wipe"
    DRIFT = "drift"
    CLOCK_JUMP = "clock-jump"
    MEMBERSHIP = "membership"
    REJOIN = "rejoin"
    TRANSFER = "transfer"
    SNAPSHOT = "snapshot"
    HELD = "held"
    SLOW_DISK = "slow-disk"
    AMBUSH = "ambush"
    REFOUND = "refound"


#: A founder that comes back with an empty disk, and founds a cluster once more, is more than a cluster survives.
ALL: Final = tuple(kind for kind in Fault if kind is not Fault.REFOUND)
#: Some seeds have a fault every few milliseconds, others one in several seconds.
_GAPS_US: Final = (100 * MS, 400 * MS, 1500 * MS, 4000 * MS)
_ENDS: Final = tuple(End)
_THEMES: Final = (
    (),
    (Fault.AMBUSH, Fault.KILL, Fault.PARTITION, Fault.PAUSE),
    (Fault.AMBUSH, Fault.AMBUSH, Fault.MEMBERSHIP, Fault.MEMBERSHIP, Fault.TRANSFER, Fault.PARTITION),
    (Fault.AMBUSH, Fault.AMBUSH, Fault.SNAPSHOT, Fault.PARTITION, Fault.BROKEN_STREAM),
    (Fault.AMBUSH, Fault.HELD, Fault.DELAY, Fault.SLOW_LINK, Fault.SLOW_DISK),
    (Fault.AMBUSH, Fault.POWER, Fault.KILL, Fault.SNAPSHOT),
)
#: About so many calls to the disk a start makes that finds files of an older version.
_STARTING_CALLS: Final = 28


class Schedule:
    """The faults of one run.  ``kinds`` limits them, ``keep`` names the numbers that happen (None: all)."""

    def __init__(self, world: World, kinds: Sequence[Fault], keep: Collection[int] | None = None) -> None:
        self._world = world
        self._keep = keep
        self._active = True
        chance = world.stream("schedule")
        self._gap = chance.choice(_GAPS_US)
        # Not all kinds at once: some bugs need one kind of trouble again and again, and quiet otherwise.
        self._kinds = chance.sample(kinds, chance.randrange(1, len(kinds) + 1)) if kinds else []
        # Some seeds are about one part of the product, and most of their faults are of its kinds.
        theme = [kind for kind in chance.choice(_THEMES) if kind in kinds]
        self._kinds += theme * (1 + len(self._kinds) // 4)
        self._chance = chance
        self._faults = Faults(world)
        #: What has happened: number, moment, description.
        self.log: list[tuple[int, int, str]] = []
        self._number = 0
        if self._kinds:
            self._next()

    def _next(self) -> None:
        self._number += 1
        number, kind = self._number, self._chance.choice(self._kinds)
        gap = self._chance.skewed(self._gap // 8, 3 * self._gap)
        self._world.timeline.after(gap, self._strike, number, kind)

    def _strike(self, number: int, kind: Fault) -> None:
        if not self._active:
            return
        self._next()
        if self._keep is not None and number not in self._keep:
            return
        text = self._faults.strike(kind, self._world.stream("fault", number))
        if text:
            self._world.count(kind)
            self.log.append((number, self._world.timeline.now, f"{kind}: {text}"))
            self._world.note(WORLD, f"#{number} {kind}: {text}")

    def stop(self) -> None:
        """No more faults, and those that last are over."""
        self._active = False
        self._faults.are_on = False
        self._faults.end_all()


class Faults:
    """Makes things go wrong, and right again after a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.are_on = True
        self._ambushes = Ambushes(world, self)
        self._strikes: dict[Fault, Callable[[Chance], str]] = {
            Fault.DELAY: self._delay,
            Fault.LOSS: self._loss,
            Fault.DUPLICATION: self._duplication,
            Fault.REORDERING: self._reordering,
            Fault.PARTITION: self._partition,
            Fault.ONE_WAY: self._one_way,
            Fault.PARTIAL: self._partial,
            Fault.SLOW_LINK: self._slow_link,
            Fault.BROKEN_STREAM: self._broken_stream,
            Fault.POWER: self._power,
            Fault.TORN_SECTOR: self._torn_sector,
            Fault.ROT: self._rot,
            Fault.WRITE_ERROR: self._write_error,
            Fault.SYNC_ERROR: self._sync_error,
            Fault.FULL_DISK: self._full_disk,
            Fault.HANGING_DISK: self._hanging_disk,
            Fault.KILL: self._kill,
            Fault.PAUSE: self._pause,
            Fault.ROLLBACK: self._rollback,
            Fault.UPGRADE: self._upgrade,
            Fault.WIPE: self._wipe,
            Fault.DRIFT: self._drift,
            Fault.CLOCK_JUMP: self._clock_jump,
            Fault.MEMBERSHIP: world.operator.change,
            Fault.REJOIN: world.operator.rejoin,
            Fault.TRANSFER: world.operator.transfer,
            Fault.SNAPSHOT: world.operator.snapshot,
            Fault.HELD: self._held,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.AMBUSH: self._ambushes.lie_in_wait,
            Fault.REFOUND: world.operator.refound,
        }

    def strike(self, kind: Fault, chance: Chance) -> str:
        """One fault; says what it was, or ``""`` when it could not happen now."""
        return self._strikes[kind](chance)

    def end_all(self) -> None:
        """Nothing is wrong any more."""
        world = self._world
        world.traps.clear()
        world.network.weather.calm()
        world.snapshot_breaks = 0.0
        for host in world.hosts.values():
            host.resume()
            host.disk.hangs_until = 0
            host.disk.be_quick()
            host.disk.repair()
            host.disk.disarm()
            host.down_until = 0
            host.upsets.clear()
            host.tick_us = world.timing.tick_ms * MS

    def _later(self, delay: int, action: Callable[..., None], *args: object) -> None:
        self._world.timeline.after(delay, action, *args)

    # --- network ---------------------------------------------------------------------------

    def _delay(self, chance: Chance) -> str:
        weather = self._world.network.weather
        weather.latency = chance.choice(((100, 1_500), (500, 20_000), (5_000, 150_000)))
        self._later(chance.skewed(200 * MS, 5 * SECOND), weather.calm_latency)
        return f"up to {weather.latency[1] // MS} ms"

    def _loss(self, chance: Chance) -> str:
        weather = self._world.network.weather
        weather.loss = chance.choice((0.02, 0.1, 0.3))
        self._later(chance.skewed(200 * MS, 5 * SECOND), weather.calm_loss)
        return f"{weather.loss:.0%}"

    def _duplication(self, chance: Chance) -> str:
        weather = self._world.network.weather
        weather.duplication = chance.choice((0.05, 0.2, 0.5))
        self._later(chance.skewed(200 * MS, 5 * SECOND), weather.calm_duplication)
        return f"{weather.duplication:.0%}"

    def _reordering(self, chance: Chance) -> str:
        weather = self._world.network.weather
        weather.reordering = True
        self._later(chance.skewed(200 * MS, 5 * SECOND), weather.calm_reordering)
        return "appends overtake each other"

    def _partition(self, chance: Chance) -> str:
        return self._separate(chance, both_ways=True)

    def _one_way(self, chance: Chance) -> str:
        return self._separate(chance, both_ways=False)

    def _separate(self, chance: Chance, *, both_ways: bool) -> str:
        """Cut some nodes off; clients are on either side or reach both."""
        world = self._world
        names = list(world.hosts)
        group = self._group(chance, names)
        others = set(names) - group
        if not others:
            return ""
        if chance.happens(0.5):
            side = others if chance.happens(0.5) else group
            likely = chance.choice((0.5, 1.0))
            side |= {client.id for client in world.clients if chance.happens(likely)}
        self.cut(chance, [(a, b) for a in sorted(group) for b in sorted(others)], both_ways=both_ways)
        arrow = "|" if both_ways else "cannot reach"
        return f"{', '.join(sorted(group))} {arrow} {', '.join(sorted(others))}"

    def _group(self, chance: Chance, names: list[str]) -> set[str]:
        """Any nodes, the leader among them or not; the leader alone; the leader with those that have no vote."""
        group = set(chance.sample(names, chance.randrange(1, max(2, (len(names) + 1) // 2 + 1))))
        leader = self._world.leader()
        if leader is None or leader.process is None or chance.happens(0.5):
            return group
        servers = leader.process.replica.core.membership.latest.servers
        voteless = {server.id for server in servers if server.suffrage is not Suffrage.VOTER}
        return {leader.id} | chance.choice((set(), set(), group, voteless))

    def _partial(self, chance: Chance) -> str:
        names = list(self._world.hosts)
        pairs = [(a, b) for a in names for b in names if a < b]
        cut = chance.sample(pairs, chance.randrange(1, max(2, len(pairs) // 2)))
        self.cut(chance, cut, both_ways=True)
        return ", ".join(f"{a} | {b}" for a, b in cut)

    def cut(self, chance: Chance, pairs: list[tuple[str, str]], *, both_ways: bool) -> None:
        """These pairs do not reach each other for a while."""
        weather = self._world.network.weather
        cut = set(pairs) | ({(b, a) for a, b in pairs} if both_ways else set())
        weather.cut |= cut
        self._later(chance.skewed(200 * MS, 8 * SECOND), weather.heal, cut)

    def _held(self, chance: Chance) -> str:
        """What is said to one node, or between one pair, is held up and arrives at once: TCP after a loss."""
        names = list(self._world.hosts)
        leader = self._world.leader()
        if leader is not None and len(names) > 1 and chance.happens(0.3):
            followers = [host for host in self._world.hosts.values() if host is not leader]
            return self._appends_behind_snapshot(leader, chance.choice(followers), chance)
        to = leader.id if leader is not None and chance.happens(0.6) else chance.choice(names)
        others = [name for name in names if name != to]
        if not others:
            return ""
        said_by = others if chance.happens(0.6) else [chance.choice(others)]
        return self.hold([(name, to) for name in said_by], chance)

    def _appends_behind_snapshot(self, leader: Host, host: Host, chance: Chance) -> str:
        """Appends arrive so late that the leader sends a snapshot meanwhile, whose bytes arrive later still."""
        world = self._world
        until = world.timeline.now + chance.randrange(900 * MS, 2500 * MS)
        world.network.hold_appends(leader.id, host.id, until)

        def stall(at: Host) -> None:
            if at is host:
                world.network.weather.held[leader.id, host.id] = until + 300 * MS
                self._later(max(0, until - world.timeline.now) + 100 * MS, self._take_snapshot, host)

        if world.traps.has_room(Moment.SNAPSHOT_COMING):
            world.traps.add(Moment.SNAPSHOT_COMING, stall)
        return f"appends {leader.id} -> {host.id}, and a snapshot behind them"

    @staticmethod
    def _take_snapshot(host: Host) -> None:
        if host.process is not None:
            host.process.enter(host.process.replica.snapshot, lambda _meta, _error: None)

    def hold(self, pairs: list[tuple[str, str]], chance: Chance) -> str:
        """What these pairs say arrives late, all at once."""
        if not pairs:
            return ""
        duration = chance.choice((60, 120, 180, 400, 900)) * MS
        until = self._world.timeline.now + duration
        for pair in pairs:
            self._world.network.weather.held[pair] = until
        return f"{', '.join(f'{a} -> {b}' for a, b in pairs)} for {duration // MS} ms"

    def _slow_link(self, chance: Chance) -> str:
        weather = self._world.network.weather
        one, other = chance.sample(list(self._world.hosts), 2) if len(self._world.hosts) > 1 else ("", "")
        factor = chance.choice((10, 100))
        for pair in ((one, other), (other, one)):
            weather.slow[pair] = factor
            self._later(chance.skewed(500 * MS, 8 * SECOND), weather.speed_up, pair)
        return f"{one} - {other} takes {factor} times as long"

    def _broken_stream(self, chance: Chance) -> str:
        world = self._world
        for one in world.hosts:
            for other in world.hosts:
                if one != other and chance.happens(0.5):
                    world.network.break_streams(one, other)
        world.snapshot_breaks = chance.choice((0.0, 0.1, 0.5))
        self._later(chance.skewed(200 * MS, 3 * SECOND), self._mend)
        return f"appends now, {world.snapshot_breaks:.0%} of snapshot pieces for a while"

    def _mend(self) -> None:
        self._world.snapshot_breaks = 0.0

    # --- processes -------------------------------------------------------------------------

    def _victim(self, chance: Chance) -> Host | None:
        """A running node, the leader more often than others."""
        running = [h for h in self._world.hosts.values() if h.process is not None]
        leader = self._world.leader()
        if leader is not None and chance.happens(0.3):
            return leader
        return chance.choice(running) if running else None

    def _kill(self, chance: Chance) -> str:
        return self.end(self._victim(chance), chance, End.KILLED)

    def _power(self, chance: Chance) -> str:
        if chance.happens(0.2):
            return self._blackout(chance)
        return self.end(self._victim(chance), chance, End.POWER)

    def end(self, host: Host | None, chance: Chance, end: End, *, soon: bool = False) -> str:
        """A process ends at once or at a call to its disk; ``soon``: at one of its very next ones."""
        if host is None or (soon and host.process is None):
            return ""
        calls = 0 if chance.happens(0.4) else chance.skewed(1, 8 if soon else 40)
        host.down_until = self._world.timeline.now + chance.skewed(10 * MS, 5 * SECOND)
        host.end_soon(end, calls)
        return f"{host.id} {end.value}" + (f" at its {calls}. call to the disk from now" if calls else "")

    def _blackout(self, chance: Chance) -> str:
        for host in self._world.hosts.values():
            host.down_until = self._world.timeline.now + chance.skewed(10 * MS, SECOND)
            host.lose_power()
        return "all nodes at once"

    def _pause(self, chance: Chance) -> str:
        hosts = [host for host in self._stalled(chance) if not host.paused]
        if not hosts:
            return ""
        duration = chance.skewed(50 * MS, 6 * SECOND)
        for host in hosts:
            host.pause()
            self._later(duration, host.resume)
        names = [host.id for host in hosts]
        return f"{', '.join(names)} for {duration // MS} ms{self._lose_touch(names, duration, chance)}"

    def _stalled(self, chance: Chance) -> list[Host]:
        """One machine, or several that share what stands still."""
        hosts = self._world.hosts
        if chance.happens(0.5):
            victim = self._victim(chance)
            return [] if victim is None else [victim]
        return [hosts[name] for name in sorted(self._group(chance, list(hosts))) if hosts[name].process is not None]

    def _lose_touch(self, names: list[str], duration: int, chance: Chance) -> str:
        """Connections to machines that stand still time out, and are not made again at once."""
        if chance.happens(0.5):
            return ""
        others = [name for name in self._world.hosts if name not in names]
        pairs = {pair for one in names for other in others for pair in ((one, other), (other, one))}
        weather = self._world.network.weather
        weather.cut |= pairs
        self._later(duration + chance.randrange(20 * MS, 500 * MS), weather.heal, pairs)
        return ", its connections to other nodes a little longer"

    def _rollback(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None or host.paused:
            return ""
        return host.roll_back()

    def _upgrade(self, chance: Chance) -> str:
        """The program that ends was an older one; today's starts on its files, and may be interrupted as it does."""
        host = self._victim(chance)
        if host is None or host.is_damaged:
            return ""
        ending = self.end(host, chance, chance.choice(_ENDS))
        upsets = [
            (chance.choice(_ENDS), chance.randrange(1, _STARTING_CALLS)) for _ in range(chance.choice((0, 1, 1, 2)))
        ]
        host.upgrade(upsets)
        told = "".join(f", {end.value} at its {calls}. call" for end, calls in upsets)
        return f"{ending}; a newer program starts on its files{told}"

    def _wipe(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None or not self._world.operator.may_lose(host):
            return ""
        host.lose_disk()
        return f"{host.id} loses its disk"

    # --- disks -----------------------------------------------------------------------------

    def _torn_sector(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None or not self._world.operator.may_lose(host):
            return ""
        host.is_damaged = True
        calls = chance.skewed(1, 20)
        host.down_until = self._world.timeline.now + chance.skewed(10 * MS, 5 * SECOND)
        host.end_soon(End.POWER, calls, tear=True)
        return f"{host.id} loses power at its {calls}. call to the disk from now, inside a sector"

    def _rot(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None or not self._world.operator.may_lose(host):
            return ""
        host.is_damaged = True
        return f"{host.id}: {host.disk.rot_somewhere()}"

    def _write_error(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None:
            return ""
        operation = chance.choice(("pwrite", "pwrite", "create", "rename", "unlink", "fallocate"))
        host.disk.fail_next(operation)
        return f"{host.id}: the next {operation} fails"

    def _sync_error(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None:
            return ""
        host.disk.fail_next("sync")
        return f"{host.id}: the next sync fails"

    def _full_disk(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None:
            return ""
        host.disk.fill()
        self._later(chance.skewed(500 * MS, 6 * SECOND), host.disk.repair)
        return f"{host.id} has no space left"

    def _slow_disk(self, chance: Chance) -> str:
        if chance.happens(0.4):  # they share a storage
            return ", ".join(self.slow_down(host, chance) for host in self._world.hosts.values())
        host = self._victim(chance)
        return "" if host is None else self.slow_down(host, chance)

    def slow_down(self, host: Host, chance: Chance) -> str:
        """Every write takes about as long as an election, or a good part of that."""
        host.disk.latency = chance.choice(((5 * MS, 60 * MS), (20 * MS, 250 * MS)))
        self._later(chance.skewed(500 * MS, 5 * SECOND), host.disk.be_quick)
        return f"{host.id}: up to {host.disk.latency[1] // MS} ms for a write"

    def _hanging_disk(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None:
            return ""
        duration = chance.skewed(100 * MS, 8 * SECOND)
        host.disk.hangs_until = self._world.timeline.now + duration
        return f"{host.id} for {duration // MS} ms"

    # --- clocks ----------------------------------------------------------------------------

    def _drift(self, chance: Chance) -> str:
        host = self._victim(chance)
        if host is None:
            return ""
        tick = self._world.timing.tick_ms * MS
        host.tick_us = tick * chance.choice((50, 80, 95, 105, 125, 200)) // 100
        return f"{host.id} ticks every {host.tick_us} us"

    def _clock_jump(self, chance: Chance) -> str:
        host = chance.choice(list(self._world.hosts.values()))
        jump = chance.choice((-3600, -60, -1, 1, 60, 700))
        host.wall_offset_ns += jump * SECOND * 1000
        return f"the wall clock of {host.id} jumps by {jump} s"
