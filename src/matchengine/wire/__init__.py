"""Generated code of the services shared with HashiCorp Raft nodes (proto/matchengine/wire)."""
