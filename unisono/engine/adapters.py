"""The names of an engine's adapters. Pure: whoever holds their weights is asked by a protocol.

A name stands for one key at a time, and a key for the same weights for ever: requests carry the
key, so one that is in flight when its adapter is removed goes on with the weights it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from unisono.core.adapter_names import check_adapter_name
from unisono.core.errors import AdapterError, InvalidRequestError


class AdapterHolder(Protocol):
    """Any runner that can hold adapters."""

    def load_adapter(self, key: str, folder: Path) -> int:
        """Read an adapter; gives its bytes.

        Raises:
            AdapterError: it cannot be read, or is not of this model.
        """
        ...

    def drop_adapter(self, key: str) -> None:
        """Forget one that no request has."""
        ...


class EngineAdapters:
    """Adapters by name.

    Args:
        most: that may be held at a time, those among them that are only finishing requests.
    """

    def __init__(self, holder: AdapterHolder, most: int) -> None:
        self._holder, self._most = holder, most
        self._keys: dict[str, str] = {}
        self._leaving: set[str] = set()
        self._num_loaded = 0

    @property
    def names(self) -> list[str]:
        """Names that a request may have, in the order of loading."""
        return list(self._keys)

    @property
    def has_leaving(self) -> bool:
        """True where some are held for the requests that still have them."""
        return bool(self._leaving)

    def load(self, name: str, folder: Path) -> int:
        """Raises AdapterError: the name is taken or none, there are too many, or the folder does
        not hold an adapter of this model."""
        check_adapter_name(name)
        if name in self._keys:
            raise AdapterError(f"An adapter {name!r} is loaded already.", hint="Remove it first.")
        if len(self._keys) + len(self._leaving) >= self._most:
            finishing = f", {len(self._leaving)} of them finishing" if self._leaving else ""
            raise AdapterError(
                f"As many adapters are loaded as may be: {self._most}{finishing}.",
                hint="Remove one, or raise --max-adapters (max_adapters).",
            )
        self._num_loaded += 1
        key = f"{self._num_loaded}:{name}"
        num_bytes = self._holder.load_adapter(key, folder)
        self._keys[name] = key
        return num_bytes

    def remove(self, name: str) -> None:
        """From now on nobody may ask for it; ``sweep`` frees it.

        Raises:
            AdapterError: there is none of that name.
        """
        if name not in self._keys:
            raise AdapterError(f"There is no adapter {name!r:.200}.", hint=self._known())
        self._leaving.add(self._keys.pop(name))

    def sweep(self, keys_in_use: Callable[[], Collection[str]]) -> None:
        """Free those that were removed and that no request has any more."""
        if self._leaving:
            for key in self._leaving.difference(keys_in_use()):
                self._leaving.remove(key)
                self._holder.drop_adapter(key)

    def key(self, name: str) -> str:
        """Raises InvalidRequestError: there is no adapter of that name."""
        if not name:
            return ""
        if name not in self._keys:
            raise InvalidRequestError(
                f"There is no adapter {name!r:.200}.", param="adapter", hint=self._known()
            )
        return self._keys[name]

    def _known(self) -> str:
        return f"Loaded: {', '.join(self._keys)}." if self._keys else "None is loaded."
