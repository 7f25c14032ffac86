"""The command line: one file for each verb. Start-up imports no torch and no web framework."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``unisono`` program."""
    import sys

    from unisono.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    app()
