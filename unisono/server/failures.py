"""Errors in the log: where they happened, never what the client had written.

An exception's own text may quote a prompt, so only its type and the places are logged.
"""

from __future__ import annotations

import logging
import traceback

from unisono.core import errors
from unisono.server.api_error import ApiError

__all__ = ["log_failure"]


def log_failure(log: logging.Logger, error: BaseException) -> None:
    """One line for an error that is meant for people, type and stack for any other."""
    if isinstance(error, ApiError | errors.RequestError):
        log.debug("A request was refused: %s.", type(error).__name__)
    elif isinstance(error, errors.UnisonoError):
        log.warning("A request failed: %s: %s", type(error).__name__, error)
    else:
        stack = "".join(traceback.format_tb(error.__traceback__))
        log.error("A request failed with %s at\n%s", type(error).__name__, stack)
