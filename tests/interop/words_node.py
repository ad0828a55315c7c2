"""``examples/words.py`` with a journal of what it applied, and with bounds that bring snapshots early.

python words_node.py RAFT_ID ADDRESS FOLDER AUDIT SNAPSHOT_ENTRIES TRAILING_ENTRIES [--raft_bootstrap]

Each applied command is one line of AUDIT, as the Go node writes it: index, term, hex of the data.
"""

import importlib.util
import os
import sys
from pathlib import Path

from matchengine import NodeConfig
from matchengine.cli.loop import run
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.config import HASHICORP
from matchengine.runtime.node import Node
from matchengine.runtime.process import run_node
from matchengine.service import serve

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "words.py"


def example():
    spec = importlib.util.spec_from_file_location("words", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def audited(tracker_class, path):
    audit = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    class AuditedTracker(tracker_class):
        def apply(self, entries):
            os.write(audit, b"".join(b"%d %d %s\n" % (e.index, e.term, e.data.hex().encode()) for e in entries))
            return super().apply(entries)

    return AuditedTracker()


def main(raft_id, address, folder, audit, snapshot_entries, trailing_entries, *more):
    words = example()
    config = NodeConfig(
        raft_id,
        address,
        Path(folder) / raft_id,
        bootstrap="--raft_bootstrap" in more,
        timing=HASHICORP,
        snapshots=SnapshotPolicy(entries=int(snapshot_entries)),
        trailing_entries=int(trailing_entries),
    )
    run(run_node(Node(config, audited(words.WordTracker, audit), [serve(words.Example().add_to)])))


if __name__ == "__main__":
    main(*sys.argv[1:])
