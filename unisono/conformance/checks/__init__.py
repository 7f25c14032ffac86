"""The checks, one file for each part of a group."""

__all__: list[str] = []
