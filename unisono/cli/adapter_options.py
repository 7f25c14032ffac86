"""Adapters on the command line: ``--adapter sql=./sql-lora``."""

from __future__ import annotations

from pathlib import Path

from unisono.core.adapter_names import MAX_ADAPTERS
from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError


def named_adapters(given: list[str] | None) -> tuple[tuple[str, Path], ...]:
    """Names and folders, from ``NAME=FOLDER``.

    Raises:
        ConfigError: it is not written so.
    """
    pairs = []
    for text in given or ():
        name, separator, folder = text.partition("=")
        if not (name and separator and folder):
            raise ConfigError(
                f"--adapter {text!r:.200} is no NAME=FOLDER.",
                hint="Write it like sql=./sql-lora.",
            )
        pairs.append((name, Path(folder).expanduser().absolute()))
    return tuple(pairs)


def with_room(config: EngineConfig, num_adapters: int, *, more_may_come: bool) -> EngineConfig:
    """The same, with memory kept for the adapters.

    Raises:
        ConfigError: more are given than may be loaded.
    """
    if config.max_adapters is None:
        if not num_adapters and not more_may_come:
            return config
        least = MAX_ADAPTERS if more_may_come else 0
        return config.but(max_adapters=max(num_adapters, least))
    if num_adapters > config.max_adapters:
        raise ConfigError(
            f"{num_adapters} adapters are more than --max-adapters {config.max_adapters}.",
            hint="Raise it, or leave it out.",
        )
    return config
