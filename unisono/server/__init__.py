"""HTTP in front of an engine: the OpenAI routes, streaming, keys, limits, metrics.

Two processes. The API process parses, tokenizes, detokenizes and streams; it never imports torch.
The engine process computes. A Unix socket joins them. If the engine process dies, the API process
stays up and starts another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unisono.server.settings import KEY_VARIABLE, Limits, ServerSettings, read_keys

if TYPE_CHECKING:
    from unisono.server.run import serve

__all__ = ["KEY_VARIABLE", "Limits", "ServerSettings", "read_keys", "serve"]


def __getattr__(name: str) -> Any:
    if name == "serve":  # the engine process imports this package too, and wants no HTTP
        from unisono.server.run import serve

        return serve
    raise AttributeError(f"module 'unisono.server' has no attribute {name!r}")
