"""Raft's messages over gRPC, as HashiCorp Raft nodes speak them."""
