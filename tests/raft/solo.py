"""One core driven by hand, and what it says kept for the tests."""

from __future__ import annotations

from typing import Any

from cluster import TIMING
from matchengine.raft.config import RaftConfig
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.messages import (
    Answered,
    AppendEntries,
    AppendEntriesResponse,
    Applied,
    Received,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    Unanswered,
    Written,
)
from matchengine.raft.proposals import (
    Proposal,
)
from matchengine.raft.raft import Raft
from matchengine.raft.ready import Ready, Respond, Send
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Restored,
    Role,
    Server,
)

MEMBERS = Configuration(tuple(Server(i, f"{i}:1") for i in ("n1", "n2", "n3")))
FIRST = Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(MEMBERS))
#: So many times may the core have work without an event from outside.
MAX_ROUNDS = 1000
SHORTEST = type("Shortest", (), {"randrange": lambda self, start, stop: start})()


def log(*terms: int) -> tuple[Entry, ...]:
    """The bootstrap entry and one command per term."""
    return (FIRST, *(Entry(i, t, data=b"%d" % i) for i, t in enumerate(terms, 2)))


class Bench:
    """n1 with its disk and its callers, everything it says kept until asked for."""

    def __init__(self, *terms: int, term: int = 0, vote: str = "", restored: Restored | None = None, **limits: int):
        entries = log(*terms)
        hard_state = HardState(term or entries[-1].term, vote)
        self.raft = Raft(
            RaftConfig("n1", "n1:1", TIMING, **limits), restored or Restored(hard_state, None, entries), SHORTEST
        )
        self.auto_write = self.auto_apply = True
        self.writes: list[Any] = []
        self.sent: list[Send] = []
        self.responses: dict[int, Respond] = {}
        self.outcomes: dict[int, object] = {}
        self.applied: list[Entry] = []
        self.ready: list[Ready] = []
        self.tokens = 0
        self.keys = 0

    def pump(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not self.raft.has_ready():
                return
            ready = self.raft.ready()
            self.raft.advance()
            self.ready.append(ready)
            self.sent += ready.requests
            self.responses.update({r.token: r for r in ready.responses})
            self.outcomes.update({o.key: o for o in (*ready.accepted, *ready.refused, *ready.done, *ready.reads)})
            self.applied += ready.apply
            if ready.write is not None:
                self.writes.append(ready.write)
                if self.auto_write:
                    self.raft.step(Written(ready.write.number))
            if ready.apply and self.auto_apply:
                self.raft.step(Applied(ready.apply[-1].index))
        raise AssertionError(f"the core has work after {MAX_ROUNDS} rounds, although nothing happens")

    def written(self) -> None:
        self.raft.step(Written(self.writes[-1].number))
        self.pump()

    def receive(self, request: Request, sender: str = "n2") -> Respond | None:
        self.tokens += 1
        self.raft.step(Received(self.tokens, sender, f"{sender}:1", request))
        self.pump()
        return self.responses.get(self.tokens)

    def ask(self, request: Request, sender: str = "n2") -> Any:
        answer = self.receive(request, sender)
        assert answer is not None, "no answer yet"
        assert answer.response is not None, answer.error
        return answer.response

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.raft.tick()
            self.pump()

    def propose(self, proposal: Proposal) -> Any:
        self.keys += 1
        self.raft.propose(self.keys, proposal)
        self.pump()
        return self.outcomes.get(self.keys)

    def answer(self, peer: str, request: Request, response: Response) -> None:
        self.raft.step(Answered(peer, request, response))
        self.pump()

    def take(self, kind: type, to: str | None = None) -> list[Any]:
        """Requests of a kind that were sent since the last call."""
        taken = [s for s in self.sent if isinstance(s.request, kind) and to in (None, s.to.id)]
        self.sent = [s for s in self.sent if s not in taken]
        return [s.request for s in taken]

    def appends(self, to: str) -> list[AppendEntries]:
        return [a for a in self.take(AppendEntries, to) if not a.is_heartbeat]

    def accept(self, *peers: str) -> None:
        """These peers say yes to every append under way."""
        for peer in peers:
            for request in self.take(AppendEntries, peer):
                self.answer(peer, request, AppendEntriesResponse(request.term, 0, True))

    def fail(self, peer: str, request: Request) -> None:
        self.raft.step(Unanswered(peer, request))
        self.pump()

    def stand_slowly(self, write: int) -> RequestVote:
        """As :meth:`stand`, with a disk that takes ``write`` ticks for the own vote."""
        self.tick(20)
        ask = self.take(RequestPreVote)[0]
        self.answer("n2", ask, RequestPreVoteResponse(ask.term, True))
        self.tick(write)
        self.written()
        return self.take(RequestVote)[0]

    def stand(self) -> RequestVote:
        """Time passes until n1 is a candidate."""
        self.tick(20)
        ask = self.take(RequestPreVote)[0]
        self.answer("n2", ask, RequestPreVoteResponse(ask.term, True))
        return self.take(RequestVote)[0]

    def lead(self, *, commit: bool = True) -> Bench:
        """n1 becomes leader; with ``commit`` its no-op is committed."""
        ballot = self.stand()
        self.answer("n2", ballot, RequestVoteResponse(ballot.term, True))
        assert self.status.role is Role.LEADER
        if commit:
            self.accept("n2", "n3")
        return self

    @property
    def status(self) -> Any:
        return self.raft.status()
