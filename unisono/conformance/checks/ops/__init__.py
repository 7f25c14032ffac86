"""Checks of the op table, one file for each part of it."""
