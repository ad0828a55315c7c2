"""Replays recorded order flow through an engine in this process or through nodes, and judges the fills."""
