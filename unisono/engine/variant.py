"""The variant of a sequence: all that its cached keys and values depend on beside tokens. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

_SALT_BYTES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Sequences share blocks only where all of this is equal; a further field is all it takes to
    keep more apart.

    Args:
        tenant: who asks.
        cache_salt: the client's own; it divides what a tenant's sequences share.
        adapter: key of the adapter, which no other has that is loaded under the same name.
        rope_length: tokens that the positions are rotated for; 0 where the rotation is fixed.
    """

    tenant: str = ""
    cache_salt: str = ""
    adapter: str = ""
    rope_length: int = 0

    def salt(self) -> bytes:
        """The key before a sequence's first block."""
        digest = hashlib.blake2b(digest_size=_SALT_BYTES, person=b"unisono-variant")
        for value in astuple(self):
            content = str(value).encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.digest()
