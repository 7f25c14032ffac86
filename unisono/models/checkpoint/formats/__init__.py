"""Stored formats of quantised weights: one file a format."""
