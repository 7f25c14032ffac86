"""Held formats of weights: as loaded, or quantised in groups that share a scale."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from unisono.core.errors import ConfigError

_GROUPS = (32, 64, 128)
_USUAL_GROUP = {4: 32, 8: 128}
_TEXT = re.compile(r"int([48])(-asym)?(?:-g([0-9]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFormat:
    """A quantised format of linear weights [N, K].

    A value is (level - zero) * scale; ``group_size`` consecutive inputs of a row share scale and
    zero. Symmetric formats have their zero in the middle of the levels.
    """

    bits: int
    group_size: int = 32
    symmetric: bool = True

    @classmethod
    def parse(cls, text: str) -> WeightFormat | None:
        """``"int4"``, ``"int8-g32"``, ``"int4-asym-g64"``; ``"auto"`` is None: as loaded. Without a
        size, groups are as large as costs no quality: 32 with 4 bits, 128 with 8.

        Raises:
            ConfigError: no such format.
        """
        if text == "auto":
            return None
        match = _TEXT.fullmatch(text)
        if match is None or int(match[3] or 32) not in _GROUPS or (match[2] and match[1] == "8"):
            raise ConfigError(
                f"Unknown weight format {text!r}.",
                hint="Use auto, int8 or int4; also int4-asym, and -g32, -g64 or -g128 behind.",
            )
        bits = int(match[1])
        return cls(
            bits=bits, symmetric=not match[2], group_size=int(match[3] or _USUAL_GROUP[bits])
        )

    def __str__(self) -> str:
        kind = "" if self.symmetric else "-asym"
        return f"int{self.bits}{kind}-g{self.group_size}"

    @property
    def of_head(self) -> WeightFormat:
        """The head's: it is read once a token and decides it, so it keeps 8 bits."""
        return replace(self, bits=8, symmetric=True)

    @property
    def bits_per_weight(self) -> float:
        """With its share of scale (bfloat16) and zero (8 bits)."""
        return self.bits + (16 + (0 if self.symmetric else 8)) / self.group_size
