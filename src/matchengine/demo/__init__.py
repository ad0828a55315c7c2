"""The demonstration: a cluster under load loses its leader, and nothing else."""
