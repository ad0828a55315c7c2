"""A simulator of the whole system: nodes, disks, network, clocks, clients and operators out of one seed.

It runs the program's own code (core, storage, node logic, sessions, state machine, the client's session logic and the
wire format) in one thread, breaks everything around it, and checks the rules of Raft, of sessions and of reads after
every step.  A state machine of your own is simulated by a :class:`Workload`::

    result = run(Plan(seed=7, nodes=3), MyWorkload())
    if result.failure:
        print(failure_report(result, shrink(result, MyWorkload()), MyWorkload()))
"""

from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.faults import Fault
from matchengine.testing.simulator.invariants import InvariantError
from matchengine.testing.simulator.report import failure_report
from matchengine.testing.simulator.shrink import shrink
from matchengine.testing.simulator.simulation import Plan, Result, run
from matchengine.testing.simulator.workloads import ExchangeWorkload, Workload

__all__ = [
    "Chance",
    "ExchangeWorkload",
    "Fault",
    "InvariantError",
    "Plan",
    "Result",
    "Workload",
    "failure_report",
    "run",
    "shrink",
]
