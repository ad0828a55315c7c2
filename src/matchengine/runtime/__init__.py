"""Adapters that run the node's logic on asyncio, threads and the wall clock."""
