"""Log, stable state and snapshots on disk, behind the contracts in ``contracts.py``."""
