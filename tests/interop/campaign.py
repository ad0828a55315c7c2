"""The scenes of one cluster with each old version of HashiCorp Raft, many times over: ``make interop ROUNDS=10``.

python tests/interop/campaign.py --rounds 10 --versions 1.1.2 1.5.0 --mate py

A cluster of two of theirs and one of ours goes through the rounds, then one of one of theirs and two of ours.  Kills
are of the leader and of a follower of either kind, by SIGKILL and by SIGTERM, and of all members at once.
``--mate go-1.7.0`` puts HashiCorp's own node in the place of ours.  One line for each version and cluster says what
held, and how long the others were without a leader; a cluster that stands still for a minute has failed, and its
rounds end there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import scenes
from words_cluster import WordsCluster

from go_programs import GoPrograms

#: Rounds of kills between those with transfers and snapshots.
OTHERS_EVERY = 3


def kills(cluster: WordsCluster) -> list[tuple[str, Callable[[], float]]]:
    """Each kind of kill that the cluster can stand, with its name; a call says how long nobody led."""
    found: list[tuple[str, Callable[[], float]]] = [("all at once", lambda: scenes.kill_all(cluster))]
    for kind in scenes.kinds_of(cluster):
        found += [
            (f"{kind} leading", lambda kind=kind: scenes.kill_the_leader(cluster, kind)),
            (f"{kind} leading, SIGTERM", lambda kind=kind: scenes.stop_the_leader(cluster, kind)),
            (f"{kind} following", lambda kind=kind: scenes.kill_a_follower(cluster, kind)),
        ]
    return found


class Tally:
    """What was begun and what held, by name; and the waits for a leader in seconds."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.waits: list[float] = []

    def play(self, name: str, scene: Callable[[], float | None]) -> None:
        self.begun[name] = self.begun.get(name, 0) + 1
        took = scene()
        self.held[name] = self.held.get(name, 0) + 1
        if took is not None and name.endswith("leading"):
            self.waits.append(took)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {self.held.get(name, 0)}/{count}" for name, count in self.begun.items())
        if not self.waits:
            return told
        waits = f"{statistics.median(self.waits):.1f} s (median), {max(self.waits):.1f} s (most)"
        return f"{told}; without a leader after it was killed for {waits}"


def one_round(cluster: WordsCluster, tally: Tally, number: int) -> None:
    for name, kill in kills(cluster):
        tally.play(name, kill)
    if number % OTHERS_EVERY == 0:
        tally.play("transfers", lambda: scenes.leadership_goes_back_and_forth(cluster))
        tally.play("snapshots", lambda: scenes.snapshots_travel_both_ways(cluster))


def run(kinds: list[str], rounds: int, programs: GoPrograms) -> tuple[bool, Tally]:
    """Whether all rounds held, logs included."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        cluster = WordsCluster(Path(folder), programs)
        try:
            cluster.found(kinds)
            for number in range(rounds):
                one_round(cluster, tally, number)
            if "py" in kinds:
                tally.play("replaced by ours", lambda: scenes.ours_replace_theirs(cluster))
            tally.play("equal logs", lambda: cluster.check_logs() and None)
        except Exception:  # noqa: BLE001 - what got stuck is what the table is about
            traceback.print_exc()
            print(cluster.last_words(), file=sys.stderr)
            return False, tally
        finally:
            cluster.close()
    return True, tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--versions", nargs="*", default=scenes.VERSIONS)
    parser.add_argument("--mate", default="py")
    chosen = parser.parse_args()
    programs, all_held = GoPrograms(), True
    for version in chosen.versions:
        old, mate = f"go-{version}", chosen.mate
        for kinds in ([old, mate, old], [mate, old, mate]):
            held, tally = run(kinds, chosen.rounds, programs)
            all_held &= held
            print(f"{'+'.join(kinds)}: {'held' if held else 'STUCK'}: {tally}", flush=True)
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
