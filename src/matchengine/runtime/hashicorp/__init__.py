"""HashiCorp Raft as the engine: a process of its own, and the bridge between it and the state machine here."""
