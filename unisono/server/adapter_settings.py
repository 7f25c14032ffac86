"""Checks of the adapters that a server is started with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unisono.core.adapter_names import check_adapter_name
from unisono.core.errors import AdapterError, ConfigError


def check_adapters(
    adapters: Sequence[tuple[str, Path]], folder: Path | None, model_names: Sequence[str]
) -> None:
    """Raises ConfigError: a name is none, or taken; or the adapters' folder is not there."""
    taken = set(model_names)
    for name, _ in adapters:
        try:
            check_adapter_name(name)
        except AdapterError as error:
            raise ConfigError(error.message, hint=error.hint) from error
        if name in taken:
            raise ConfigError(
                f"Two models are called {name!r}.", hint="Give the adapter a name of its own."
            )
        taken.add(name)
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}.", hint="--adapters-dir names one.")
