"""The command line: one file for each verb. Start-up imports no torch and no web framework."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``unisono`` program."""
    from unisono.cli.app import app
    from unisono.cli.shown_text import prepare_streams, tell_what_was_escaped

    prepare_streams()
    try:
        app(prog_name="unisono")
    finally:
        tell_what_was_escaped()
