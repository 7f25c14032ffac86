"""From a configuration to what drafts for an engine."""

from __future__ import annotations

from unisono.core.config import SPECULATION_HINT, EngineConfig
from unisono.core.errors import ConfigError
from unisono.engine.drafting.ngram import NgramDrafter
from unisono.engine.drafting.speculation import Speculation


def make_speculation(config: EngineConfig, eos_token_ids: frozenset[int]) -> Speculation | None:
    """None: nothing is drafted.

    Raises:
        ConfigError: a drafter that there is not.
    """
    if config.speculate == "off":
        return None
    if config.speculate != "ngram":
        raise ConfigError(f"Unknown drafter {config.speculate!r}.", hint=f"Use {SPECULATION_HINT}.")
    return Speculation(NgramDrafter(), config.speculate_tokens, eos_token_ids)
