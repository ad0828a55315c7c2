"""Faults that wait for their moment: a leader just elected, a change pending, a snapshot under way, a log just cut.

By chance alone such moments are rarely hit, since each lasts some milliseconds.  A trap is set by the schedule like
any other fault and draws from a stream of its own; it strikes when its moment comes, at the node to which that happens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.host import End
from matchengine.testing.simulator.moments import Moment
from matchengine.testing.simulator.timeline import MS, SECOND
from matchengine.testing.simulator.trace import WORLD

if TYPE_CHECKING:
    from matchengine.testing.simulator.faults import Faults
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.world import World


Deed: TypeAlias = Callable[["Host", Chance], str]
_BURST: Final = 3


class Ambushes:
    """All traps of a run, and what they do."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._deeds: dict[Moment, tuple[Deed, ...]] = {
            Moment.ELECTED: (self.cut_off, self.change, self.change, self.transfer, self.kill, self.hold_answers),
            Moment.FIRST_COMMIT: (self.heal, self.heal, self.cut_off, self.kill, self.snapshots),
            Moment.DEPOSED: (self.read, self.read, self.heal, self.hold_answers),
            Moment.CHANGE_PENDING: (
                *(self.cut_off, self.cut_off, self.kill, self.power, self.pause, self.snapshots),
                *(self.transfer, self.change, self.hold_answers, self.hold_appends),
            ),
            Moment.TRUNCATED: (self.power, self.kill, self.cut_off, self.heal, self.slow_disk),
            Moment.SNAPSHOT_COMING: (
                self.hold_appends,
                self.power,
                self.cut_off,
                self.change,
                self.transfer,
                self.kill,
            ),
            Moment.SNAPSHOT_DURABLE: (self.power, self.power, self.kill, self.change, self.hold_appends),
            Moment.RESTORING: (self.power, self.kill, self.change, self.snapshots, self.transfer, self.cut_off),
            Moment.STARTED: (self.power, self.kill, self.cut_off, self.slow_disk),
        }

    def lie_in_wait(self, chance: Chance) -> str:
        """Set a trap; says which."""
        moment = chance.choice(tuple(Moment))
        deed = chance.choice(self._deeds[moment])
        if not self._world.traps.has_room(moment):
            return ""
        self._world.traps.add(moment, partial(self._spring, moment, deed, chance, chance.randrange(1, 4)))
        return f"when {moment.value}: {_name(deed)}"

    def _spring(self, moment: Moment, deed: Deed, chance: Chance, times: int, host: Host) -> None:
        """The moment has come for ``host``: strike at once or a little later, not within what happens now."""
        if times > 1:
            self._world.traps.add(moment, partial(self._spring, moment, deed, chance, times - 1))
        delay = 0 if chance.happens(0.5) else chance.skewed(0, 50 * MS)
        self._world.timeline.after(delay, self._strike, moment, host, deed, chance)

    def _strike(self, moment: Moment, host: Host, deed: Deed, chance: Chance) -> None:
        if not self._faults.are_on:
            return
        told = deed(host, chance)
        if told:
            self._world.count("ambushes")
            self._world.note(WORLD, f"ambush, as {moment.value}: {_name(deed)}: {told}")

    # --- what is done ----------------------------------------------------------------------

    def cut_off(self, host: Host, chance: Chance) -> str:
        """It reaches nobody, or nobody reaches it, or both; some clients are on its side."""
        others = [name for name in self._world.hosts if name != host.id]
        if chance.happens(0.5):
            others += [client.id for client in self._world.clients if chance.happens(0.5)]
        way = chance.choice(("both", "both", "out", "in"))
        pairs = [(host.id, other) if way != "in" else (other, host.id) for other in others]
        self._faults.cut(chance, pairs, both_ways=way == "both")
        return f"{host.id}, {way}"

    def kill(self, host: Host, chance: Chance) -> str:
        """Its process is killed, at once or at one of its next calls to the disk."""
        return self._faults.end(host, chance, End.KILLED, soon=True)

    def power(self, host: Host, chance: Chance) -> str:
        """It loses power, at once or at one of its next calls to the disk."""
        return self._faults.end(host, chance, End.POWER, soon=True)

    def pause(self, host: Host, chance: Chance) -> str:
        """It stands still for about as long as an election takes, or much longer."""
        if host.process is None or host.paused:
            return ""
        host.pause()
        duration = chance.skewed(50 * MS, 3 * SECOND)
        self._world.timeline.after(duration, host.resume)
        return f"{host.id} for {duration // MS} ms"

    def hold_answers(self, host: Host, chance: Chance) -> str:
        """What others say to it arrives late, all at once."""
        others = [name for name in self._world.hosts if name != host.id]
        return self._faults.hold([(other, host.id) for other in others], chance)

    def hold_appends(self, host: Host, chance: Chance) -> str:
        """The appends on their way to it, and those to come, arrive late; all else is as quick as ever."""
        until = self._world.timeline.now + chance.skewed(50 * MS, 2 * SECOND)
        for other in self._world.hosts:
            if other != host.id:
                self._world.network.hold_appends(other, host.id, until)
        return f"to {host.id}"

    def slow_disk(self, host: Host, chance: Chance) -> str:
        """Its disk takes as long as an election does."""
        return self._faults.slow_down(host, chance)

    def change(self, host: Host, chance: Chance) -> str:
        """Members are changed, at the leader that is known now."""
        del host
        return self._world.operator.change(chance)

    def transfer(self, host: Host, chance: Chance) -> str:
        """Leadership is handed over."""
        del host
        return self._world.operator.transfer(chance)

    def snapshots(self, host: Host, chance: Chance) -> str:
        """Every node takes a snapshot, or this one does."""
        everywhere = chance.happens(0.5)
        for each in self._world.hosts.values() if everywhere else (host,):
            if each.process is not None:
                each.process.enter(each.process.replica.snapshot, lambda _meta, _error: None)
        return "everywhere" if everywhere else host.id

    def heal(self, host: Host, chance: Chance) -> str:
        """Everybody reaches everybody again, just now."""
        del host, chance
        weather = self._world.network.weather
        weather.cut.clear()
        weather.slow.clear()
        weather.calm_latency()
        return "all links"

    def read(self, host: Host, chance: Chance) -> str:
        """Clients read there, again and again."""
        for client in self._world.clients:
            for _ in range(_BURST):
                self._world.timeline.after(chance.skewed(0, 200 * MS), client.read_at, host)
        return host.id


def _name(deed: Deed) -> str:
    return deed.__name__.replace("_", " ")
