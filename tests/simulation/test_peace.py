"""When the faults are over, nothing goes wrong any more: what was armed and has not struck does not strike."""

from __future__ import annotations

import pytest

from matchengine.testing.simulator import Fault, Plan, run, simulation
from matchengine.testing.simulator.faults import Schedule
from matchengine.testing.simulator.host import Host

STRIKES_LATER = (Fault.POWER, Fault.KILL, Fault.SYNC_ERROR, Fault.WRITE_ERROR)


def test_no_process_ends_after_the_last_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    stop, fell = Schedule.stop, Host.fell

    def stop_and_look(self: Schedule) -> None:
        stop(self)
        ended.clear()

    def note(self: Host) -> None:
        ended.append(self.id)
        fell(self)

    # The last act of a run restarts a node on purpose.
    monkeypatch.setattr(simulation._Simulation, "_ask_a_restarted_node", lambda _self: None)
    monkeypatch.setattr(Schedule, "stop", stop_and_look)
    monkeypatch.setattr(Host, "fell", note)
    for seed in range(8):
        assert run(Plan(seed, 2000, faults=STRIKES_LATER)).failure is None
        assert not ended, f"seed {seed}"
