"""Checks of the runtime: memory, copies, streams, random numbers."""
