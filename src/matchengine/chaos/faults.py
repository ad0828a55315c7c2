"""Doing what the schedule says, to whatever is there to do it to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations, product
from typing import Final, TypeVar

import msgspec

from matchengine.chaos.network import Host, Network, Shape
from matchengine.chaos.nodes import Cluster, Place, occupied
from matchengine.chaos.schedule import Fault, Kind, Lane
from matchengine.chaos.traders import Trader
from matchengine.errors import MatchEngineError

T = TypeVar("T")

_LEAST_VOTERS: Final = 3
#: Enough commands arrive in this time for a full disk to be noticed, if the node is reached at all.
_FULL_S: Final = 15.0
_POLL_S: Final = 0.1
_FULL_WORDS: Final = ("no space left", "enospc", "errno 28", "disk is full")


class Faults:
    """Counts what was done, and what went wrong in a way that no fault explains."""

    def __init__(
        self, cluster: Cluster, network: Network, traders: Sequence[Trader], tell: Callable[[str], None]
    ) -> None:
        self.done = Counter[Kind]()
        self.full_disk_stops = 0
        self.problems: list[str] = []
        self._cluster = cluster
        self._network = network
        self._traders = traders
        self._tell = tell

    async def run(self, lane: Lane, seed: int, stop: asyncio.Event) -> None:
        """One lane's faults until ``stop``; the last one is taken back as all others are."""
        for fault in lane.faults(seed):
            if await _stopped(stop, fault.pause_s):
                return
            await self._commit(fault)

    async def watch(self, stop: asyncio.Event) -> None:
        """Find nodes that ended by themselves, and start them again."""
        while not await _stopped(stop, _POLL_S):
            for place in self._cluster.inhabited:
                self._check_alive(place)

    def _check_alive(self, place: Place) -> None:
        process = place.process
        if process is None or not place.is_expected_up or process.running:
            return
        self.problems.append(f"{process.id} ended by itself with code {process.exit_code}: {process.last_words()}")
        self._tell(f"{process.id} ended by itself with code {process.exit_code}")
        place.start()

    # --- one fault -------------------------------------------------------------------------

    async def _commit(self, fault: Fault) -> None:
        acts = {
            Kind.KILL: self._kill,
            Kind.KILL_ALL: self._kill_all,
            Kind.PAUSE: self._pause,
            Kind.FULL_DISK: self._fill_disk,
            Kind.ISOLATE: self._cut,
            Kind.ISOLATE_FROM_NODES: self._cut,
            Kind.SPLIT: self._cut,
            Kind.ONE_WAY: self._cut,
            Kind.SLOW: self._shape,
            Kind.LOSSY: self._shape,
            Kind.TRANSFER: self._transfer,
            Kind.SNAPSHOT: self._snapshot,
            Kind.ADD: self._add,
            Kind.REMOVE: self._remove,
            Kind.DEMOTE: self._demote,
            Kind.READD: self._readd,
            Kind.CLIENT: self._restart_client,
        }
        story = await acts[fault.kind](fault)
        if story:
            self.done[fault.kind] += 1
            self._tell(f"{fault.kind}: {story}")

    async def _choose(self, fault: Fault, *, of: Iterable[Place] | None = None) -> Place | None:
        """A node that nothing is done to; half of the time the leader, if there is one."""
        places = self._cluster.inhabited if of is None else of
        free = [place for place in places if place.process is not None and not place.is_busy]
        if free and fault.dice[0] < 0.5:
            try:
                leader = await self._cluster.leader(0.5)
            except MatchEngineError:
                leader = ""
            for place in free:
                if place.address == leader and not place.is_busy:
                    return place
        free = [place for place in free if not place.is_busy]
        return _pick(free, fault.dice[1]) if free else None

    # --- processes -------------------------------------------------------------------------

    async def _kill(self, fault: Fault) -> str:
        place = await self._choose(fault)
        if place is None:
            return ""
        async with occupied(place):
            place.kill()
            await asyncio.sleep(fault.hold_s)
            place.start()
        return place.node_id

    async def _kill_all(self, fault: Fault) -> str:
        victims = [place for place in self._cluster.inhabited if not place.is_busy]
        for place in victims:
            place.is_busy = True
            place.kill()
        try:
            await asyncio.sleep(fault.hold_s / 4)
        finally:
            for place in victims:
                place.start()
                place.is_busy = False
        return " ".join(place.node_id for place in victims)

    async def _pause(self, fault: Fault) -> str:
        place = await self._choose(fault)
        if place is None or place.process is None:
            return ""
        async with occupied(place):
            place.process.freeze()
            try:
                await asyncio.sleep(fault.hold_s)
            finally:
                place.process.thaw()
        return f"{place.node_id} for {fault.hold_s:.1f} s"

    async def _fill_disk(self, fault: Fault) -> str:
        """The node must stop, and say why; with room again it must come back."""
        place = await self._choose(fault)
        if place is None or place.process is None:
            return ""
        async with occupied(place):
            place.is_expected_up = False
            place.disk.fill()
            try:
                stopped = await _ended(place, _FULL_S)
                if stopped:
                    self._check_full_disk_stop(place)
                    await asyncio.sleep(fault.hold_s / 4)
            finally:
                place.kill()  # one that met no full disk might be about to
                place.disk.free()
                place.start()
        return f"{place.node_id} {'stopped' if stopped else 'had nothing to write'}"

    def _check_full_disk_stop(self, place: Place) -> None:
        self.full_disk_stops += 1
        assert place.process is not None
        words = place.process.last_words()
        if place.process.exit_code != 1 or not any(word in words.lower() for word in _FULL_WORDS):
            code = place.process.exit_code
            self.problems.append(f"{place.node_id} did not stop clearly at a full disk: code {code}: {words}")

    # --- network ---------------------------------------------------------------------------

    async def _cut(self, fault: Fault) -> str:
        place = await self._choose(fault)
        if place is None:
            return ""
        nodes, clients = [each.host for each in self._cluster.places], self._network.clients
        rest = [host for host in nodes if host is not place.host]
        directions = set(product([place.host], rest))
        if fault.kind is Kind.SPLIT:
            with_it = rest[: max(1, int(fault.dice[2] * (len(rest) - 1)))]
            directions = set(product([place.host, *with_it], [host for host in rest if host not in with_it]))
        if fault.kind is Kind.ONE_WAY:
            if fault.dice[2] < 0.5:
                directions = {(b, a) for a, b in directions}
        else:
            directions |= {(b, a) for a, b in directions}
        if fault.kind is Kind.ISOLATE:
            directions |= set(permutations([place.host, clients], 2))
        await self._while_cut(directions, fault.hold_s)
        return f"{place.name} for {fault.hold_s:.1f} s"

    async def _while_cut(self, directions: set[tuple[Host, Host]], hold_s: float) -> None:
        await asyncio.to_thread(self._network.cut, directions)
        try:
            await asyncio.sleep(hold_s)
        finally:
            await asyncio.to_thread(self._network.mend, directions)

    async def _shape(self, fault: Fault) -> str:
        """One node's line, or everybody's."""
        place = await self._choose(fault)
        if place is None:
            return ""
        slow = fault.kind is Kind.SLOW
        delay = 5 + fault.dice[2] * 60
        shape = Shape(delay, delay / 2, 0.0) if slow else Shape(0.5, 0.0, 0.01 + fault.dice[2] * 0.14)
        hosts = [place.host] if fault.dice[3] < 0.6 else [each.host for each in self._cluster.places]
        for host in hosts:
            self._network.shape(host, shape)
        try:
            await asyncio.sleep(fault.hold_s)
        finally:
            for host in hosts:
                self._network.shape(host, None)
        how = f"{shape.delay_ms:.0f} +- {shape.jitter_ms:.0f} ms" if slow else f"{shape.loss:.0%}"
        return f"{place.name if len(hosts) == 1 else 'all nodes'}, {how}, for {fault.hold_s:.1f} s"

    # --- the operator ----------------------------------------------------------------------

    async def _transfer(self, _fault: Fault) -> str:
        done = await self._cluster.change(self._cluster.admin.transfer_leadership)
        return "done" if done else ""

    async def _snapshot(self, fault: Fault) -> str:
        place = await self._choose(fault)
        if place is None:
            return ""
        async with occupied(place):
            done = await self._cluster.change(lambda _: self._cluster.admin.snapshot(place.address))
        return place.node_id if done else ""

    async def _add(self, _fault: Fault) -> str:
        """A new node in an empty place."""
        empty = [place for place in self._cluster.places if place.process is None]
        if not empty:
            return ""
        place = empty[0]
        async with occupied(place):
            place.move_in()
            done = await self._join(place)
        return place.node_id if done else ""

    async def _remove(self, fault: Fault) -> str:
        """A voter leaves; the fewest that are left can still lose one."""
        place = await self._leaving(fault)
        if place is None:
            return ""
        name = place.node_id
        async with occupied(place):
            done = await self._leave(place)
        return name if done else ""

    async def _demote(self, fault: Fault) -> str:
        place = await self._leaving(fault)
        if place is None:
            return ""
        async with occupied(place):
            done = await self._cluster.change(lambda leader: self._cluster.admin.demote_voter(leader, place.node_id))
            await asyncio.sleep(fault.hold_s)
            await self._join(place)
        return place.node_id if done else ""

    async def _readd(self, fault: Fault) -> str:
        """The disk is lost: the node leaves, and comes back empty under a new id."""
        place = await self._leaving(fault)
        if place is None:
            return ""
        before = place.node_id
        async with occupied(place):
            if not await self._leave(place):
                return ""
            place.move_in()
            done = await self._join(place)
        return f"{before}, as {place.node_id}" if done else ""

    async def _leaving(self, fault: Fault) -> Place | None:
        """A voter that can be spared; if none can, a new one is added first."""
        try:
            if len(await self._cluster.voters()) <= _LEAST_VOTERS:
                await self._commit(msgspec.structs.replace(fault, kind=Kind.ADD))
            voters = await self._cluster.voters()
        except Exception:  # noqa: BLE001 - whatever the leader does not answer, nobody can be spared
            return None
        return await self._choose(fault, of=voters) if len(voters) > _LEAST_VOTERS else None

    async def _join(self, place: Place) -> bool:
        admin = self._cluster.admin
        return await self._cluster.change(lambda leader: admin.add_voter(leader, place.node_id, place.address))

    async def _leave(self, place: Place) -> bool:
        """Out of the cluster, and only when that is certain, off the disk: a voter must not forget its vote."""
        admin = self._cluster.admin
        if not await self._cluster.change(lambda leader: admin.remove_server(leader, place.node_id)):
            return False
        place.move_out()
        return True

    # --- clients ---------------------------------------------------------------------------

    async def _restart_client(self, fault: Fault) -> str:
        trader = _pick(self._traders, fault.dice[0])
        trader.restart()
        return f"trader {trader.number}"


def _pick(choices: Sequence[T], dice: float) -> T:
    return choices[int(dice * len(choices))]


async def _stopped(stop: asyncio.Event, after_s: float) -> bool:
    """Whether ``stop`` is set within ``after_s``."""
    try:
        async with asyncio.timeout(after_s):
            return await stop.wait()
    except TimeoutError:
        return False


async def _ended(place: Place, patience_s: float) -> bool:
    try:
        async with asyncio.timeout(patience_s):
            while place.process is not None and place.process.running:  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    return True
