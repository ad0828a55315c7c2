"""matchengine: order books, or any state machine of yours, replicated through a Raft log."""
