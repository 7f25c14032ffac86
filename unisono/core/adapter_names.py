"""Names of adapters: what a request may call one."""

from __future__ import annotations

import re

from unisono.core.errors import AdapterError

MAX_ADAPTERS = 8
"""The most at a time, where the configuration does not say."""
_NAME = re.compile(r"[A-Za-z0-9][\w.:/@+-]{0,127}", re.ASCII)


def check_adapter_name(name: str) -> None:
    """Raises AdapterError: no name of an adapter."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AdapterError(
            f"{name!r:.60} is no name of an adapter.",
            hint="Take letters, digits and . _ - : / @ +, 128 at most.",
        )
