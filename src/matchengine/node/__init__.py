"""The node's logic: drives the Raft core and a state machine, knowing the world by contract only."""
