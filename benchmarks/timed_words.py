"""``examples/words.py`` with a timing profile: timed_words.py ID ADDRESS FOLDER PROFILE [bootstrap]"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from matchengine import NodeConfig
from matchengine.cli.loop import run
from matchengine.raft.config import PROFILES
from matchengine.runtime.node import Node
from matchengine.runtime.process import run_node
from matchengine.service import serve

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "words.py"


def main(raft_id: str, address: str, folder: str, profile: str, *more: str) -> None:
    spec = importlib.util.spec_from_file_location("words", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    timing = PROFILES[profile]
    config = NodeConfig(raft_id, address, Path(folder) / raft_id, bootstrap="bootstrap" in more, timing=timing)
    run(run_node(Node(config, words.WordTracker(), [serve(words.Example().add_to)])))


if __name__ == "__main__":
    main(*sys.argv[1:])
