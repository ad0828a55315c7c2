"""Who leads during a replay: noted at every answer, and changed on purpose where both engines shall have led."""

from __future__ import annotations

from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster


class Leaders:
    """``engines``: of each leader that has answered, one after the other."""

    def __init__(self, cluster: LocalCluster, client: ExchangeClient) -> None:
        self.engines: list[str] = []
        self._cluster = cluster
        self._session = client.session
        self._answered = self._session.acknowledged
        self._last = ""

    @property
    def differ(self) -> bool:
        """Whether nodes on different engines have led."""
        return len(set(self.engines)) > 1

    def look(self) -> None:
        """Called after every batch written and every answer."""
        session = self._session
        if session.acknowledged == self._answered:
            return
        self._answered = session.acknowledged
        if session.leader != self._last:
            self._last = session.leader
            self.engines.append(self._cluster.node_at(self._last).engine)

    async def hand_over(self) -> None:
        """Have a node lead that runs on another engine than the one that leads; nothing is under way."""
        leader = self._cluster.node_at(self._session.leader)
        await self._cluster.let_lead(next(node for node in self._cluster.nodes if node.engine != leader.engine))
