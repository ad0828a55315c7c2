"""Raft messages over gRPC, as HashiCorp nodes with raft-grpc-transport speak them."""
