"""The consensus core: pure, single-threaded, deterministic.  ``raft.Raft`` is its only door."""
