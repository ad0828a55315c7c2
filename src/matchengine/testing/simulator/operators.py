"""Whoever runs the cluster: starts what has stopped, replaces what is damaged, and changes it while it works.

Operators do what manuals tell them: no more than a minority of any configuration is ever past help at one time, a
damaged node is removed and a new one with an empty disk and a new id takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from matchengine.errors import UnknownOutcomeError
from matchengine.node.engine import Outcome
from matchengine.raft.configuration import changed
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.quorum import majority
from matchengine.raft.types import Configuration, ServerId
from matchengine.sessions import raise_levels_envelope
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.timeline import MS, SECOND

if TYPE_CHECKING:
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.world import World

_ROUND_US: Final = 500 * MS
#: How often an operator raises the feature levels, and until when.
_RAISES: Final = 0.7
_RAISED_US: Final = 20 * SECOND
#: How often an operator asks for two changes at once.
_HASTE: Final = 0.3
#: How often a member that was removed is looked at, and for how long it may be added again.
_RETRY_US: Final = 5 * MS
_REJOIN_US: Final = 2 * SECOND
_SETTLED_US: Final = 2 * SECOND
#: A member is removed to be added again only while so many voters are there.
_FEWEST_TO_REJOIN: Final = 3
#: By what factor the link is slow of a member that is replaced for it, and for how long.
_SLOW: Final = 100
_SLOW_US: Final = SECOND
#: For so long an operator waits for a change before it goes on to replace a server.
_PATIENCE_US: Final = 2 * SECOND
#: More changes than these are not under way at one time: every set of them may be what comes into force.
_MOST_PENDING: Final = 4
#: For so long a change whose outcome is unknown may still come into force.
_UNKNOWN_US: Final = 30 * SECOND


class Operator:
    """Looks after the cluster every now and then; the faults ask it to change things."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.stream("operator")
        self._pending: dict[int, tuple[ChangeMembership, int]] = {}
        self._changes = 0
        world.timeline.after(_ROUND_US, self._round)
        if self._chance.happens(_RAISES):
            world.timeline.after(self._chance.skewed(0, _RAISED_US), self._raise_levels)

    # --- looking after ---------------------------------------------------------------------

    def _round(self) -> None:
        world = self._world
        for host in list(world.hosts.values()):
            if host.process is None and not host.damaged and world.timeline.now >= host.down_until:
                host.start()
        self._replace_damaged()
        world.timeline.after(_ROUND_US, self._round)

    def _raise_levels(self) -> None:
        """Raise the cluster's feature levels to what the program has, again and again until the leader has done so."""
        leader = self._world.leader()
        process = None if leader is None else leader.process

        def done(outcome: Outcome | None, _error: Exception | None) -> None:
            if outcome is None:
                self._world.timeline.after(_ROUND_US, self._raise_levels)
            else:
                self._world.count("levels raised")

        if process is None:
            self._world.timeline.after(_ROUND_US, self._raise_levels)
        else:
            process.enter(process.replica.apply, raise_levels_envelope(process.sessions.newest_levels), done)

    def _replace_damaged(self) -> None:
        leader = self._world.leader()
        if leader is None or self._waits():
            return
        configuration = self._configuration(leader)
        lost = [h for h in self._world.hosts.values() if h.damaged and configuration.get(h.id) is not None]
        if lost:
            self._change(leader, ChangeKind.REMOVE_SERVER, lost[0].id)
        elif len(configuration.voters()) < self._world.wanted_voters:
            host = self._spare(configuration) or self._world.new_host(self._vacant_address(configuration))
            host.start()
            self._change(leader, ChangeKind.ADD_VOTER, host.id)

    def _waits(self) -> bool:
        """Whether something asked for a short while ago has no known outcome yet."""
        now = self._world.timeline.now
        return any(now - asked < _PATIENCE_US for _, asked in self._pending.values())

    def _vacant_address(self, configuration: Configuration) -> str:
        """Where a server was that is past help and no member any more, or ``""``."""
        gone = [h for h in self._world.hosts.values() if h.damaged and configuration.get(h.id) is None]
        return next((h.address for h in gone if self._world.host_at(h.address) is h), "")

    def _spare(self, configuration: Configuration) -> Host | None:
        """A machine that works and is no voter."""
        hosts = self._world.hosts.values()
        return next((h for h in hosts if not h.is_damaged and not configuration.is_voter(h.id)), None)

    # --- changing --------------------------------------------------------------------------

    def change(self, chance: Chance) -> str:
        """Change one member, whichever; says what, or ``""`` when there is nothing that may be done."""
        leader = self._world.leader()
        if leader is None:
            return ""
        kind = chance.choice(tuple(ChangeKind))
        target = self._target(kind, self._configuration(leader), chance, least=self._world.fewest_voters)
        if target is None or not self._may_change(kind, target):
            return ""
        self._change(leader, kind, target.id)
        told = f"{kind.name.lower()} {target.id} at {leader.id}"
        return f"{told}, {self._and_another(leader, chance)}" if chance.happens(_HASTE) else told

    def _and_another(self, leader: Host, chance: Chance) -> str:
        """A hasty operator does not wait for the first change: the leader has to."""
        kind = chance.choice(tuple(ChangeKind))
        if leader.process is None:
            return "no other"
        target = self._target(
            kind,
            self._configuration(leader),
            chance,
            most=self._world.most_members - 1,
            least=self._world.fewest_voters + 1,
        )
        if target is None or not self._may_change(kind, target):
            return "no other"
        self._change(leader, kind, target.id)
        return f"{kind.name.lower()} {target.id}"

    def rejoin(self, chance: Chance) -> str:
        """Remove a member, give it an empty disk, and add it again under its old id."""
        leader = self._world.leader()
        if leader is None or not self._is_settled(leader):
            return ""
        configuration = self._configuration(leader)
        others = [s.id for s in configuration.servers if s.id != leader.id]
        if len(configuration.voters()) < _FEWEST_TO_REJOIN or not others:
            return ""
        return self._replace(leader, self._world.hosts[chance.choice(others)], chance)

    def refound(self, chance: Chance) -> str:
        """The same with a founder whose command line still tells it to found a cluster."""
        leader = self._world.leader()
        if leader is None or not self._is_settled(leader):
            return ""
        members = self._configuration(leader)
        founders = [h for h in self._world.hosts.values() if h.has_founded and h is not leader and members.get(h.id)]
        if not founders or len(members.voters()) < _FEWEST_TO_REJOIN:
            return ""
        return self._replace(leader, chance.choice(founders), chance, founds_again=True)

    def _replace(self, leader: Host, target: Host, chance: Chance, *, founds_again: bool = False) -> str:
        if not self._may_change(ChangeKind.REMOVE_SERVER, target):
            return ""
        kind = ChangeKind.ADD_VOTER if chance.happens(0.5) else ChangeKind.ADD_NONVOTER
        if chance.happens(0.5):
            self._slow_down(target, leader)
        until = self._world.timeline.now + _REJOIN_US

        def wipe_and_add() -> None:
            self._rejoin(leader, target, kind, until, founds_again)

        self._change(leader, ChangeKind.REMOVE_SERVER, target.id, wipe_and_add)
        return f"{target.id} is removed, wiped and added again at {leader.id}"

    def _slow_down(self, target: Host, leader: Host) -> None:
        """Why it is replaced: its answers take long, and the last ones arrive when it is somebody else."""
        pair, weather = (target.id, leader.id), self._world.network.weather
        weather.slow[pair] = _SLOW
        self._world.timeline.after(_SLOW_US, weather.speed_up, pair)

    def _rejoin(self, leader: Host, target: Host, kind: ChangeKind, until: int, founds_again: bool) -> None:
        """Wipe and add again, once nobody believes any more that the target is a member."""
        if not self._is_settled(leader) or self._world.timeline.now > until:
            return
        if any(c.get(target.id) is not None for c in self._in_play(but=target)):
            self._world.timeline.after(_RETRY_US, self._rejoin, leader, target, kind, until, founds_again)
            return
        if self._world.host_at(target.address) is not target or not self._may_change(kind, target):
            return  # it was damaged, and another server has its place, or there are too few others by now
        target.wipe(founds_again=founds_again)
        target.start()
        self._change(leader, kind, target.id)

    def _is_settled(self, leader: Host) -> bool:
        """Whether it has led for so long that no request for a vote of its term, or of an earlier one, is under way.

        Whoever is wiped has forgotten its votes, and would give a second one.
        """
        process = leader.process
        return process is not None and process.leads and self._world.timeline.now - process.led_from >= _SETTLED_US

    def _target(
        self, kind: ChangeKind, configuration: Configuration, chance: Chance, *, most: int = 0, least: int
    ) -> Host | None:
        members = [h for h in self._world.hosts.values() if configuration.get(h.id) is not None]
        others = [h for h in self._world.hosts.values() if configuration.get(h.id) is None and not h.damaged]
        if kind in (ChangeKind.ADD_VOTER, ChangeKind.ADD_NONVOTER):
            if len(configuration.servers) >= (most or self._world.most_members):
                return None
            nonvoters = [h for h in members if not configuration.is_voter(h.id) and not h.damaged]
            if kind is ChangeKind.ADD_VOTER and nonvoters:
                return chance.choice(nonvoters)
            host = chance.choice(others) if others else self._world.new_host()
            host.start()
            return host
        if len(configuration.voters()) <= least:
            return None
        return chance.choice(members) if members else None

    def _change(
        self, leader: Host, kind: ChangeKind, server_id: ServerId, then: Callable[[], None] | None = None
    ) -> None:
        process = leader.process
        assert process is not None
        change = _asked(kind, self._world.hosts[server_id])
        self._changes += 1
        number, now = self._changes, self._world.timeline.now
        self._pending[number] = (change, now)

        def done(outcome: Outcome | None, error: Exception | None) -> None:
            if not isinstance(error, UnknownOutcomeError):
                self._pending.pop(number, None)
            if outcome is not None:
                self._world.count("membership changes")
                if then is not None:
                    self._world.timeline.after(0, then)

        process.enter(process.replica.change_membership, kind, server_id, change.address, 0, done)

    def _forget(self) -> None:
        now = self._world.timeline.now
        self._pending = {n: p for n, p in self._pending.items() if now - p[1] < _UNKNOWN_US}

    def transfer(self, chance: Chance) -> str:
        """Hand leadership over."""
        leader = self._world.leader()
        if leader is None or leader.process is None:
            return ""
        voters = self._configuration(leader).voters()
        target = chance.choice(voters) if chance.happens(0.5) else None
        leader.process.enter(leader.process.replica.transfer_leadership, target, lambda _outcome, _error: None)
        return f"transfer from {leader.id} to {target or 'the best'}"

    def snapshot(self, chance: Chance) -> str:
        """Have a node take a snapshot."""
        running = [h for h in self._world.hosts.values() if h.process is not None]
        if not running:
            return ""
        host = chance.choice(running)
        assert host.process is not None
        host.process.enter(host.process.replica.snapshot, lambda _meta, _error: None)
        return f"snapshot at {host.id}"

    # --- what may be lost ------------------------------------------------------------------

    def may_lose(self, host: Host) -> bool:
        """Whether every configuration that is or may come into force keeps a majority without this disk."""
        return _all_survive(self._in_play(), self._lost() | {host.id})

    def _may_change(self, kind: ChangeKind, host: Host) -> bool:
        """Whether every configuration that may come into force, this change included, keeps a majority of good disks.

        Whatever else is damaged or under way is no reason to wait.
        """
        self._forget()
        if len(self._pending) >= _MOST_PENDING:
            return False
        return _all_survive(_with(self._in_play(), _asked(kind, host)), self._lost())

    def _lost(self) -> set[ServerId]:
        return {host.id for host in self._world.hosts.values() if host.is_damaged}

    def _in_play(self, but: Host | None = None) -> set[Configuration]:
        """Every configuration that some server but ``but`` holds, and what the changes under way make of them."""
        self._forget()
        found = {c for host in self._world.hosts.values() if host is not but for c in host.configurations()}
        for change, _ in self._pending.values():
            found = _with(found, change)
        return found

    def _configuration(self, leader: Host) -> Configuration:
        assert leader.process is not None
        return leader.process.replica.core.membership.latest


def _asked(kind: ChangeKind, host: Host) -> ChangeMembership:
    return ChangeMembership(kind, host.id, host.address)


def _all_survive(configurations: Iterable[Configuration], lost: set[ServerId]) -> bool:
    """Whether each of them keeps a majority when these are lost."""
    return all(_survives(configuration, lost) for configuration in configurations)


def _survives(configuration: Configuration, lost: set[ServerId]) -> bool:
    voters = configuration.voters()
    return not voters or len([v for v in voters if v not in lost]) >= majority(len(voters))


def _with(configurations: set[Configuration], change: ChangeMembership) -> set[Configuration]:
    """These configurations, and what the change makes of them."""
    return configurations | {result for c in configurations if (result := _changed(c, change)) is not None}


def _changed(configuration: Configuration, change: ChangeMembership) -> Configuration | None:
    try:
        return changed(configuration, change)
    except ValueError:
        return None
