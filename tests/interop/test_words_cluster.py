"""The judge of the cluster tests sees what it is there to see."""

import pytest
from words_cluster import WordsCluster, WordsNode

COMMANDS = {2: (1, b"one"), 3: (1, b"two"), 5: (2, b"three")}
LOG = {
    1: (1, "CONFIGURATION", b""),
    **{index: (term, "COMMAND", data) for index, (term, data) in COMMANDS.items()},
    4: (2, "NOOP", b""),
}


class Still(WordsNode):
    """A node that has stood still since it left this audit and this log."""

    def __init__(self, raft_id, folder, commands, log, words):
        super().__init__("py", raft_id, folder, {})
        lines = "".join(f"{index} {term} {data.hex()}\n" for index, (term, data) in commands.items())
        self.audit.write_text(lines)
        self.log_entries, self.best = log, words

    def stats(self):
        return {"last_snapshot_index": min(self.log_entries) - 1}

    def entries(self):
        return self.log_entries

    def words(self):
        return self.best


@pytest.fixture
def judge(tmp_path):
    """Judges a node that is right beside one that may not be."""

    def run(commands=COMMANDS, log=LOG, words=("three",), promised=("one", "two", "three")):
        cluster = WordsCluster(tmp_path, {})
        cluster.settle = lambda: None
        cluster.all = [
            Still("right", tmp_path, COMMANDS, LOG, ["three"]),
            Still("other", tmp_path, commands, log, list(words)),
        ]
        cluster.members, cluster.promised = list(cluster.all), list(promised)
        try:
            cluster.check_logs()
        finally:
            cluster.close()

    return run


def test_what_is_right_passes(judge):
    judge()
    # A node that got a snapshot applied only what followed, and has only that in its log.
    judge({5: COMMANDS[5]}, {5: LOG[5]})


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ({"promised": ["one", "four"]}, "four"),
        ({"words": ["two"]}, "best words differ"),
        ({"commands": {2: COMMANDS[2], 5: COMMANDS[5]}}, r"other passed over \[3\]"),
        ({"commands": {**COMMANDS, 3: (1, b"2")}}, "applied another command at 3"),
        ({"commands": {**COMMANDS, 3: (2, b"two")}}, "applied another command at 3"),
        ({"commands": {**COMMANDS, 4: (2, b"uncommitted")}}, "entry 4 is NOOP"),
        ({"commands": {**COMMANDS, 6: (2, b"uncommitted")}}, "entry 6 was applied"),
        ({"log": {**LOG, 4: (3, "NOOP", b"")}}, "another entry at 4"),
        ({"log": {**LOG, 3: (1, "COMMAND", b"2")}}, "another entry at 3"),
        ({"log": {**LOG, 6: (2, "COMMAND", b"four")}}, "logs end differently"),
    ],
)
def test_what_is_wrong_is_seen(judge, found, what):
    with pytest.raises(AssertionError, match=what):
        judge(**found)


def test_two_commands_at_one_index_of_one_node_are_seen(tmp_path):
    node = Still("node", tmp_path, COMMANDS, LOG, [])
    with node.audit.open("a") as audit:
        audit.write(f"3 1 {b'other'.hex()}\n")
    with pytest.raises(AssertionError, match="two commands at 3"):
        node.applied_commands()
    node.close()
