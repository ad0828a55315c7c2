"""The three longest words, replicated: python examples/words.py --raft_bootstrap --raft_id=nodeA --raft_data_dir DIR"""

from pathlib import Path

import cyclopts

from matchengine import NodeConfig
from matchengine.cli.serving import explained, run_process
from matchengine.raft.config import HASHICORP
from matchengine.service import serve
from matchengine.service.errors import InvalidArgumentError
from matchengine.service.reads import reach_read_index
from matchengine.service.retriable import retriable
from matchengine.wire.example_pb2 import AddWordResponse, GetWordsResponse
from matchengine.wire.example_pb2_grpc import ExampleServicer, add_ExampleServicer_to_server

HERE = "localhost:50051"


class WordTracker:
    words = (b"", b"", b"")

    def apply(self, entries):
        for entry in entries:
            self.words = tuple(sorted((*self.words, entry.data), key=lambda word: (-len(word), word))[:3])
        return [b""] * len(entries)

    def snapshot(self):
        return iter([b"\n".join(self.words)])

    def restore(self, chunks):
        self.words = (*b"".join(chunks).split(b"\n"), b"", b"")[:3]


class Example(ExampleServicer):
    def add_to(self, node, server):
        self.node = node
        add_ExampleServicer_to_server(self, server)
        return ["Example"]

    @retriable
    async def AddWord(self, request):
        if "\n" in request.word:
            raise InvalidArgumentError(f"word: {request.word[:40]!r} would be two in a snapshot")
        return AddWordResponse(commit_index=(await self.node.propose(request.word.encode())).index)

    @retriable
    async def GetWords(self, request):
        index = await reach_read_index(self.node)
        words = [word.decode(errors="replace") for word in self.node.machine.words]
        return GetWordsResponse(read_at_index=index, best_words=words)


@explained
def main(*, raft_id, address=HERE, listen="", raft_data_dir=Path("data"), raft_bootstrap=False, engine="matchengine"):
    config = NodeConfig(raft_id, address, raft_data_dir / raft_id, listen, raft_bootstrap, HASHICORP, engine=engine)
    return run_process(config, WordTracker(), serve(Example().add_to))


if __name__ == "__main__":
    cyclopts.run(main)
