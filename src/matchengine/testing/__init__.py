"""What tests of a state machine, of a cluster and of this package itself have in common."""
